"""What a wheel is measured against and where its libraries are, when the command line does not say: the image does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import platform_tags

from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.api import OpenWheel
from musllinux_build.arch import Arch
from musllinux_build.audit.judge import choose_arch, choose_policy
from musllinux_build.audit.promise import lacks_promise
from musllinux_build.audit.subject import Search, system_path_of
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.policy import Policy, known_policies
from musllinux_build.ports import Sysroot
from musllinux_build.tags import MusllinuxTag, named_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one wheel is measured against; ``directories`` replace the loader's own list when they are not None."""

    policy: Policy
    arch: Arch
    sysroot: Sysroot | None
    directories: tuple[str, ...] | None

    @property
    def search(self) -> Search:
        """Where libraries are searched last."""
        return Search(system_path=None if self.directories is None else ":".join(self.directories))


def running_musl(tags: Sequence[str] | None = None) -> MusllinuxTag | None:
    """The newest musllinux tag that this interpreter accepts (PEP 656), None without musl."""
    parsed = (MusllinuxTag.parse(tag) for tag in (platform_tags() if tags is None else tags))
    return next((tag for tag in parsed if tag), None)


def choose_target(
    opened: OpenWheel,
    environment: Mapping[str, str],
    *,
    plat: str = "auto",
    root: Path | None = None,
    ldpaths: str | None = None,
    running: MusllinuxTag | None = None,
) -> Target:
    """The platform of ``plat``, the wheel's own, that of the image, or that of the running musl.

    Raises:
        UsageError: one of them is not known, or none says anything of musl.
        WheelError: there is no architecture in the wheel that is known.
    """
    name = opened.wheel.name
    asked = None if plat == "auto" else _platform(plat)
    word = environment.get("AUDITWHEEL_ARCH")
    arch = asked[1] if asked else choose_arch(name, opened.inventory) if opened.inventory.objects else _arch(word)
    if asked:
        policy = asked[0]
    elif named_policy(name):
        policy = choose_policy(name)
    elif chosen := environment.get("AUDITWHEEL_POLICY"):
        policy = _policy(chosen)
    elif running:
        policy = _policy(running.policy.value)
    elif reason := lacks_promise(name):
        raise UsageError(
            f"{name}: {reason}",
            resolution="manylinux wheels are for pypa's auditwheel; AUDITWHEEL_POLICY=musllinux_1_2 measures it here.",
        )
    else:
        policy = choose_policy(name)
    sysroot = find_root(root, arch, running)
    return Target(
        policy=policy, arch=arch, sysroot=sysroot, directories=_directories(ldpaths, environment, arch, sysroot)
    )


def find_root(root: Path | None, arch: Arch, running: MusllinuxTag | None) -> Sysroot | None:
    """``root``, or ``/`` where musl of ``arch`` runs; elsewhere its libraries would be of another libc."""
    if root is None and (running is None or running.arch != arch.value):
        return None
    return DirectorySysroot(root or Path("/"))


def _directories(
    ldpaths: str | None, environment: Mapping[str, str], arch: Arch, sysroot: Sysroot | None
) -> tuple[str, ...] | None:
    """The directories of the environment, then ``ldpaths`` or the system's; None when it is the system's alone."""
    words = (environment.get("AUDITWHEEL_LD_LIBRARY_PATH", ""), environment.get("LD_LIBRARY_PATH", ""))
    added = [part for word in words for part in word.split(":") if part.startswith("/")]
    if not added and ldpaths is None:
        return None
    rest = system_path_of(arch, sysroot, Search()) if ldpaths is None else ldpaths
    return tuple(dict.fromkeys([*added, *(part for part in rest.replace("\n", ":").split(":") if part)]))


def _platform(text: str) -> tuple[Policy, Arch]:
    known = {policy.platform_tag(arch): (policy, arch) for policy in known_policies() for arch in Arch}
    if text not in known:
        why = "this auditwheel knows musllinux alone: manylinux wheels are for pypa's. " if "manylinux" in text else ""
        raise UsageError(f"unknown platform {text!r}", resolution=f"{why}{near_miss(text, list(known))}")
    return known[text]


def _policy(text: str) -> Policy:
    known = [policy.value for policy in known_policies()]
    if text not in known:
        raise UsageError(f"no policy {text!r}", resolution=near_miss(text, known))
    return Policy(text)


def _arch(text: str | None) -> Arch:
    arch = Arch.from_machine(text or "x86_64")
    if arch is None:
        raise UsageError(
            f"unknown architecture {text!r}", resolution=near_miss(str(text), [item.value for item in Arch])
        )
    return arch


def newer_policies(policy: Policy) -> Iterator[Policy]:
    """``policy`` and those of later series, oldest first."""
    return (item for item in known_policies() if item.series >= policy.series)
