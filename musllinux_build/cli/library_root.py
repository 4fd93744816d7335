"""The root that libraries are searched in: a directory, the tar archive of a root file system, or an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.ports import Sysroot

if TYPE_CHECKING:  # only images need engines
    from musllinux_build.builds.session import Session


@contextmanager
def open_root(root: Path | None, image: str | None, arch: Arch | None) -> Iterator[Sysroot | None]:
    """Where libraries are searched: a directory, the tar archive of a root, or an image; nothing of it is executed.

    Raises:
        UsageError: both are asked for.
    """
    if root and image:
        raise UsageError("--root and --image are two roots", resolution="Give one of them.")
    if image:
        with _open_image(image, arch) as sysroot:
            yield sysroot
    elif root and root.is_dir():
        from musllinux_build.adapters.sysroot import DirectorySysroot  # noqa: PLC0415 - most wheels need no root

        yield DirectorySysroot(root)
    elif root:
        from musllinux_build.adapters.archive_sysroot import ArchiveSysroot  # noqa: PLC0415

        yield ArchiveSysroot(root)
    else:
        yield None


@contextmanager
def _open_image(name: str, arch: Arch | None) -> Iterator[Sysroot]:
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - only images need engines
    from musllinux_build.builds.session import Session, signals_as_errors  # noqa: PLC0415
    from musllinux_build.cli.options import progress  # noqa: PLC0415

    lines = progress(0, 0)
    with signals_as_errors(), closing(Session(connect(), lines)) as session, image_root(session, name, arch) as root:
        yield root


@contextmanager
def image_root(session: Session, name: str, arch: Arch | None) -> Iterator[Sysroot]:
    """The files of the image ``name``, for ``arch`` where the engine has to fetch it, in a stopped container."""
    from musllinux_build.adapters.container_sysroot import ContainerSysroot  # noqa: PLC0415 - only images need engines
    from musllinux_build.ports import ContainerSpec  # noqa: PLC0415

    engine = session.engine
    wanted = (arch or engine.info().arch or Arch.X86_64).oci_platform
    with session.progress.step(f"open {name}"):
        info = engine.image(name) or engine.pull(name, wanted)
    platform = info.arch.oci_platform if info.arch else wanted
    with session.container(ContainerSpec(image=name, platform=platform, purpose="audit", network=False)) as container:
        engine.stop(container)  # what is read cannot change under the reader
        yield ContainerSysroot(engine, container)
