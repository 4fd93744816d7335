"""The auditor as a library: ``read``, ``judge``, ``plan_graft``, ``apply``.

What ``__all__`` names is stable, and so are the fields of the values it returns: within a major version they may gain
fields and never lose or change one (docs/api.md). Everything else in this package may change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.arch import Arch
from musllinux_build.audit import judge as judging
from musllinux_build.audit.apply import Change, Graft
from musllinux_build.audit.contents import Contents
from musllinux_build.audit.graft import GraftPlan
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.repair import RepairReport, plan_repair, repair_wheel
from musllinux_build.audit.report import verdict_json
from musllinux_build.audit.subject import Inventory, Search, take_inventory
from musllinux_build.audit.verdict import Finding, FloorReason, Severity, Verdict
from musllinux_build.errors import (
    MusllinuxBuildError,
    PureProjectError,
    RepairError,
    UsageError,
    WheelError,
    near_miss,
)
from musllinux_build.policy import MuslVersion, Policy, known_policies
from musllinux_build.ports import Sysroot
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.writer import EARLIEST

__all__ = [
    "Arch",
    "Change",
    "Finding",
    "FloorReason",
    "Graft",
    "GraftPlan",
    "MuslVersion",
    "MusllinuxBuildError",
    "OpenWheel",
    "Policy",
    "PureProjectError",
    "RepairError",
    "RepairOptions",
    "RepairReport",
    "Severity",
    "Sysroot",
    "UsageError",
    "Verdict",
    "WheelError",
    "apply",
    "judge",
    "plan_graft",
    "read",
    "verdict_json",
]

PLAIN = RepairOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWheel:
    """A wheel whose archive, RECORD and ELF objects were read and agree; ``path`` is where it was read from.

    ``name`` and ``is_pure`` are stable, ``wheel`` and ``inventory`` are the package's own.
    """

    path: Path
    wheel: Wheel
    inventory: Inventory

    @property
    def name(self) -> str:
        """Its file name, tags sorted."""
        return str(self.wheel.name)

    @property
    def is_pure(self) -> bool:
        """Whether there is no ELF object in it: nothing to judge or to repair."""
        return self.inventory.is_pure


def read(path: str | PathLike[str]) -> OpenWheel:
    """The wheel at ``path``; every member is inflated and compared with RECORD once, nothing is executed.

    Raises:
        WheelError: it is not what it claims to be.
        OSError: there is no such file.
    """
    place = Path(path)
    wheel = read_wheel(place.read_bytes(), place.name)
    return OpenWheel(path=place, wheel=wheel, inventory=take_inventory(wheel))


def judge(
    wheel: OpenWheel | str | PathLike[str],
    *,
    policy: Policy | str | None = None,
    arch: Arch | str | None = None,
    floor: MuslVersion | str | None = None,
    root: Sysroot | str | PathLike[str] | None = None,
    whitelist: Iterable[str] = (),
) -> Verdict:
    """Whether ``wheel`` keeps the promise of its tag, with all findings and the effective floor.

    Policy and architecture are those of its name by default, ``floor`` (``"1.2.0"``) is the policy's. With a ``root``
    a library that is there and not in the wheel is reported as such instead of as missing; those in ``whitelist``
    every system is trusted to have.

    Raises:
        WheelError: it cannot be read, or is of no architecture known here.
        PureProjectError: it has no ELF object.
        UsageError: an argument names nothing known, or there is no policy for its tag.
    """
    opened = _open(wheel)
    name = opened.wheel.name
    chosen = _policy(policy) or judging.choose_policy(name)
    subject = judging.examine(
        opened.wheel,
        opened.inventory,
        arch=_arch(arch) or judging.choose_arch(name, opened.inventory),
        floor=_floor(floor) or chosen.row.floor,
        sysroot=_sysroot(root),
        may_graft=False,
        search=Search(whitelist=frozenset(whitelist)),
    )
    return judging.judge(subject, chosen)


def plan_graft(
    wheel: OpenWheel | str | PathLike[str],
    *,
    root: Sysroot | str | PathLike[str] | None = None,
    policy: Policy | str | None = None,
    arch: Arch | str | None = None,
    floor: MuslVersion | str | None = None,
    options: RepairOptions = PLAIN,
) -> GraftPlan:
    """What ``apply`` with the same arguments would do: libraries of ``root``, objects that change, conflicts.

    Raises:
        WheelError, PureProjectError, UsageError: as in ``judge``.
    """
    opened = _open(wheel)
    name = opened.wheel.name
    chosen = _policy(policy) or judging.choose_policy(name)
    _, plan = plan_repair(
        opened.wheel,
        opened.inventory,
        Contents(opened.wheel, _sysroot(root)),
        options,
        arch=_arch(arch) or judging.choose_arch(name, opened.inventory),
        floor=_floor(floor) or chosen.row.floor,
    )
    return plan


def apply(
    wheel: OpenWheel | str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    root: Sysroot | str | PathLike[str] | None = None,
    policy: Policy | str | None = None,
    arch: Arch | str | None = None,
    floor: MuslVersion | str | None = None,
    options: RepairOptions = PLAIN,
    epoch: int = EARLIEST,
) -> RepairReport:
    """Graft, edit, retag and write ``wheel`` to ``output_dir``, and judge what was written.

    Nothing is left there when it fails. ``epoch`` (seconds, UTC) dates the members; no environment is read.

    Raises:
        RepairError: it would not load where its tag says; the details are all findings.
        WheelError, PureProjectError, UsageError: as in ``judge``.
        DiskFullError: there is no room for it.
    """
    return repair_wheel(
        wheel.path if isinstance(wheel, OpenWheel) else Path(wheel),
        Path(output_dir),
        policy=_policy(policy),
        arch=_arch(arch),
        sysroot=_sysroot(root),
        floor=_floor(floor),
        epoch=epoch,
        options=options,
    )


def _open(given: OpenWheel | str | PathLike[str]) -> OpenWheel:
    opened = given if isinstance(given, OpenWheel) else read(given)
    if opened.is_pure:
        raise judging.pure_wheel(opened.path.name)
    return opened


def _policy(given: Policy | str | None) -> Policy | None:
    if not isinstance(given, str):
        return given
    known = [policy.value for policy in known_policies()]
    if given not in known:
        raise UsageError(f"unknown policy {given!r}", resolution=near_miss(given, known))
    return Policy(given)


def _arch(given: Arch | str | None) -> Arch | None:
    try:
        return Arch(given) if isinstance(given, str) else given
    except ValueError:
        known = [arch.value for arch in Arch]
        raise UsageError(f"unknown architecture {given!r}", resolution=near_miss(str(given), known)) from None


def _floor(given: MuslVersion | str | None) -> MuslVersion | None:
    try:
        return MuslVersion.parse(given) if isinstance(given, str) else given
    except ValueError:
        raise UsageError(f"{given!r} is not a musl release", resolution="Write it as 1.2.2.") from None


def _sysroot(given: Sysroot | str | PathLike[str] | None) -> Sysroot | None:
    return DirectorySysroot(Path(given)) if isinstance(given, str | PathLike) else given
