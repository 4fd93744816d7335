"""What the platform tags of a wheel's name promise about musl, and what that is measured against."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.policy import Policy
from musllinux_build.tags import MusllinuxTag, WheelName

DEFAULT_POLICY = Policy.MUSLLINUX_1_2
ARCHS = tuple(arch.value for arch in Arch)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAudited:
    """A wheel that has no verdict and needs none: ``reason`` says that its tag does not speak of musl."""

    wheel: str
    reason: str


def lacks_promise(name: WheelName) -> str | None:
    """Why there is nothing to hold the wheel to, None when some tag of ``name`` takes in systems with musl.

    ``linux_*`` and ``any`` do, and so does whatever calls itself musllinux, known to us or not.
    """
    if any(tag == "any" or tag.startswith(("linux_", "musllinux")) for tag in name.platforms):
        return None
    return f"its tag ({'.'.join(name.platforms)}) promises no musllinux"


def promised_policy(name: WheelName, rows: Collection[Policy]) -> Policy:
    """The lowest policy of ``rows`` that the name promises; the default one for ``linux_*`` and ``any`` alone.

    Raises:
        UsageError: it promises no musllinux, or only series and architectures that are not known here.
    """
    known = ", ".join(policy.value for policy in rows)
    measure = f"Audit it against one with --policy: {known}."
    if reason := lacks_promise(name):
        raise UsageError(f"{name}: {reason}", resolution=measure)
    if not any(platform.startswith("musllinux") for platform in name.platforms):
        return DEFAULT_POLICY
    tags = [tag for tag in map(MusllinuxTag.parse, name.platforms) if tag]
    ours = [tag.policy for tag in tags if tag.arch in ARCHS]
    promised = min((policy for policy in ours if policy in rows), key=lambda policy: policy.series, default=None)
    if promised:
        return promised
    if ours:
        raise UsageError(f"{name}: no policy for the series of its tag", resolution=measure)
    if tags:
        told = f"no policy for the architecture of its tag, {tags[0].arch}"
        raise UsageError(f"{name}: {told}", resolution=f"Known: {', '.join(ARCHS)}.")
    raise UsageError(f"{name}: its tag is not of the form musllinux_X_Y_ARCH (PEP 656)", resolution=measure)
