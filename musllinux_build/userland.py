"""The native userland of foreign containers: shell, coreutils, make and tar of the engine's own architecture.

A configure script starts thousands of processes, each of which costs an emulator 15 ms and a kernel half of one. What a
container has of busybox, make and tar is run as its native twin of the same Alpine release, by ``toolchains/applet.c``.
What answers for the machine (``uname``) is not among them. ``/bin/sh``, where every script begins, is replaced in the
build container alone, and put back before anybody reads its root.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.builds.volumes import DataVolume
from musllinux_build.ports import Engine
from musllinux_build.tarstream import tar_stream

USERLAND_MOUNT = "/opt/musllinux-build/userland"
"""Where build containers see it, read-only."""

USERLAND_PACKAGES = ("make", "tar", "patch")
"""What is native besides busybox: programs of the images that need no library but libc."""

FOREIGN = ("arch", "dmesg", "getconf", "hostid", "ldd", "lsof", "nsenter", "uname", "unshare")
"""Of busybox what stays as it is: it answers for the machine or the container."""

SHELL = "/bin/sh"
KEPT_SHELL = "/bin/.sh.musllinux-build"
"""A link to where the container's own shell is, while it has another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Userland:
    """A filled volume for containers of other architectures on an engine of ``arch``."""

    volume: str
    arch: Arch

    @property
    def loader(self) -> str:
        """Where its programs look for their loader, which a foreign root does not have."""
        return f"/lib/{self.arch.row.loader}"


def userland_volume(image_tag: str, arch: Arch) -> DataVolume:
    """The volume with the userland of a data image, on an engine of ``arch``."""
    return DataVolume(
        what="userland",
        name=f"musllinux-build-userland-{image_tag.rpartition('-')[2]}",
        image=image_tag,
        platform=arch.oci_platform,
        mount=USERLAND_MOUNT,
        # The data image has nothing else: its loader is told by name.
        command=(f"{USERLAND_MOUNT}/root/lib/{arch.row.loader}", f"{USERLAND_MOUNT}/root/bin/busybox", "true"),
        expected=("applet", "bin/sed", "bin/make", f"root/lib/{arch.row.loader}"),
    )


def path_with_userland(path: str) -> str:
    """The value of PATH in which native programs come first."""
    return f"{USERLAND_MOUNT}/bin:{path}"


def enter(engine: Engine, container: str, userland: Userland) -> None:
    """Make a container's scripts and native programs run. A container whose shell is no link keeps it."""
    links = {userland.loader: f"{USERLAND_MOUNT}/root/lib/{userland.arch.row.loader}"}
    found = engine.stat(container, SHELL)
    if found is not None and found.is_link:
        links |= {KEPT_SHELL: found.link_target, SHELL: f"{USERLAND_MOUNT}/root/bin/busybox"}
    engine.put(container, "/", tar_stream((_link(path, target), b"") for path, target in links.items()))


def leave(session: Session, container: str, userland: Userland) -> None:
    """Give a running container its own shell back, and take away what ``enter`` put there."""
    kept = session.engine.stat(container, KEPT_SHELL)
    if kept is not None and kept.is_link:
        session.engine.put(container, "/", tar_stream([(_link(SHELL, kept.link_target), b"")]))
    session.check(container, ["/bin/rm", "-f", userland.loader, KEPT_SHELL])


def _link(path: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    return entry
