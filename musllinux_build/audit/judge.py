"""A wheel and a policy to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musllinux_build.arch import Arch
from musllinux_build.audit.needs import find_needs
from musllinux_build.audit.promise import lacks_promise, promised_policy
from musllinux_build.audit.rules import CHECKS
from musllinux_build.audit.subject import Inventory, Search, Subject, take_inventory, trace
from musllinux_build.audit.symbols import floor_reasons
from musllinux_build.audit.verdict import Severity, Verdict
from musllinux_build.elf.closure import Outcome
from musllinux_build.errors import PureProjectError, WheelError
from musllinux_build.policies.load import Policies, load_policies
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.tags import WheelName, named_arch
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.crew import ROOM
from musllinux_build.wheel.source import opened

if TYPE_CHECKING:  # a protocol, named in annotations alone
    from musllinux_build.ports import Sysroot

SEVERITIES = tuple(Severity)
EVERYWHERE = Search()


def choose_policy(name: WheelName, policies: Policies | None = None) -> Policy:
    """The lowest policy the file name promises; the default one for ``linux_*`` and ``any``.

    ``policies`` are those that ship by default.

    Raises:
        UsageError: it promises no musllinux, or none that is known here.
    """
    return promised_policy(name, (policies or load_policies()).rows)


def choose_arch(name: WheelName, inventory: Inventory) -> Arch:
    """The architecture of the file name, or of the objects where the name has none.

    Raises:
        WheelError: neither names one we know.
    """
    arch = named_arch(name)
    if arch is None:
        found = {facts.arch for facts in inventory.objects.values() if facts.arch}
        arch = min(found, key=lambda arch: arch.value) if found else None
    if arch is None:
        known = ", ".join(arch.value for arch in Arch)
        raise WheelError(f"{name}: neither its name nor its objects are of an architecture known here ({known})")
    return arch


def examine(
    wheel: Wheel,
    inventory: Inventory,
    *,
    arch: Arch,
    floor: MuslVersion,
    sysroot: Sysroot | None,
    may_graft: bool,
    search: Search = EVERYWHERE,
    policies: Policies | None = None,
) -> Subject:
    """What the rules look at; libraries are searched in ``sysroot`` too when there is one.

    Raises:
        UsageError: ``floor`` is older than any musl we know of.
    """
    policies = policies or load_policies()
    table, closure = policies.table(arch), trace(inventory, arch, sysroot, search)
    table.check_known(floor)
    return Subject(
        name=wheel.name,
        wheel_tags=wheel.wheel_file.tags,
        root_is_purelib=(wheel.wheel_file.first("Root-Is-Purelib") or "").lower() == "true",
        arch=arch,
        floor=floor,
        table=table,
        inventory=inventory,
        closure=closure,
        may_graft=may_graft,
        needs=find_needs(table, closure),
        libraries=policies.libraries,
        executables=frozenset(
            path for path, member in inventory.members.items() if wheel.archive.members[member].executable
        ),
    )


def judge(subject: Subject, policy: Policy) -> Verdict:
    """All findings, worst first, and the effective floor."""
    findings = [finding for check in CHECKS for finding in check(subject)]
    reasons = floor_reasons(subject)
    spared = [edge for edge in subject.closure.edges if edge.outcome is Outcome.EXCLUDED]
    return Verdict(
        wheel=str(subject.name),
        policy=policy,
        arch=subject.arch,
        wanted=subject.floor,
        floor=max((reason.version for reason in reasons), default=subject.table.oldest),
        reasons=reasons,
        findings=tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))),
        objects=len(subject.inventory.objects),
        excluded=frozenset(text for edge in spared for text in (edge.name, edge.target, edge.why) if text),
    )


def pure_wheel(name: str) -> PureProjectError:
    """The error for a wheel without a single ELF object."""
    if reason := lacks_promise(WheelName.parse(name)):  # .pyd and Mach-O are compiled code, too
        return PureProjectError(f"{name} has no ELF object: there is nothing to audit", details=reason)
    return PureProjectError(
        f"{name} has no compiled code: there is nothing to audit",
        resolution="Publish it as py3-none-any, which every platform installs.",
    )


def judge_wheel(
    path: Path,
    policy: Policy | None = None,
    arch: Arch | None = None,
    sysroot: Sysroot | None = None,
    *,
    floor: MuslVersion | None = None,
    search: Search = EVERYWHERE,
    policies: Policies | None = None,
) -> Verdict:
    """The verdict on the wheel at ``path``; policy, architecture and floor are those of its name by default.

    ``policies`` are those that ship by default.

    Raises:
        WheelError: it cannot be read.
        PureProjectError: it has no ELF object.
        UsageError: it promises no musllinux, or none that is known here.
    """
    policies = policies or load_policies()
    with opened(path) as source:
        wheel = read_wheel(source, path.name)
        policy = policy or choose_policy(wheel.name, policies)
        inventory = take_inventory(wheel, beside=ROOM)
    if inventory.is_pure:
        raise pure_wheel(path.name)
    subject = examine(
        wheel,
        inventory,
        arch=arch or choose_arch(wheel.name, inventory),
        floor=floor or policies.row(policy).floor,
        sysroot=sysroot,
        may_graft=False,
        search=search,
        policies=policies,
    )
    return judge(subject, policy)
