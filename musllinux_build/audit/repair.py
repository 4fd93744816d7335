"""``audit repair``: a wheel and a root to a wheel that keeps its promise, or to the reasons why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from musllinux_build.apkdb import NO_DATABASE, read_database
from musllinux_build.arch import Arch
from musllinux_build.audit.apply import Applied, Change, Graft, Patcher, apply_graft, built_in
from musllinux_build.audit.contents import Contents
from musllinux_build.audit.graft import GraftPlan, plan_graft
from musllinux_build.audit.include import find_included, with_needs
from musllinux_build.audit.judge import choose_arch, choose_policy, examine, judge, pure_wheel
from musllinux_build.audit.mend import readable
from musllinux_build.audit.options import PLAIN, RepairOptions
from musllinux_build.audit.output import Result, refused, write_result
from musllinux_build.audit.sbom import SBOM_NAME, earlier_components, sbom_json
from musllinux_build.audit.subject import Inventory, Subject, system_path_of, take_inventory
from musllinux_build.audit.verdict import Verdict
from musllinux_build.elf.closure import Outcome, spared_names, unmatched
from musllinux_build.errors import UsageError
from musllinux_build.policies.load import load_policies
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.ports import Sysroot
from musllinux_build.tags import WheelName, retag
from musllinux_build.wheel.assemble import Product
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.source import opened
from musllinux_build.wheel.writer import EARLIEST

__all__ = ["Graft", "Patcher", "RepairReport", "Verdict", "plan_repair", "repair_wheel"]

NO_SPACE = (28, 122)  # ENOSPC, EDQUOT
SHOWN_FINDINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What was written: ``path`` with its ``sha256`` and ``size`` in bytes, and the verdict on exactly that file.

    ``grafts`` came in, ``changes`` were made to objects of the wheel; without any, and with the right tags, the wheel
    was copied as it is: ``copied``.
    """

    path: Path
    verdict: Verdict
    grafts: Sequence[Graft]
    changes: Sequence[Change] = ()
    floor: MuslVersion
    sha256: str
    size: int
    copied: bool = False


def repair_wheel(
    source: Path,
    output_dir: Path,
    *,
    policy: Policy | None = None,
    arch: Arch | None = None,
    sysroot: Sysroot | None,
    patcher: Patcher = built_in,
    floor: MuslVersion | None = None,
    epoch: int = EARLIEST,
    options: RepairOptions = PLAIN,
) -> RepairReport:
    """Make ``source`` load where ``policy`` promises, with libraries of ``sysroot``, and write it to ``output_dir``.

    What it needs is grafted, what an edit mends in its own objects is mended. A wheel in which there is nothing to do
    is copied as it is. ``epoch`` dates the members (seconds, UTC).

    Raises:
        WheelError: ``source`` cannot be read as what it claims to be.
        PureProjectError: it has no ELF object.
        UsageError: an option means nothing for this wheel, or there is no policy to hold it to.
        RepairError: it would not load where its tag says; the details are all findings.
        DiskFullError: there is no room for the result.
    """
    with opened(source) as opened_source:
        wheel = read_wheel(opened_source, source.name)
        policies = options.policies or load_policies()
        policy = policy or choose_policy(wheel.name, policies)
        inventory = take_inventory(wheel)
        if inventory.is_pure:
            raise pure_wheel(source.name)
        arch = arch or choose_arch(wheel.name, inventory)
        floor = floor or policies.row(policy).floor
        contents = Contents(wheel, sysroot)
        subject, plan = plan_repair(wheel, inventory, contents, options, arch=arch, floor=floor)
        problems = (*judge(plan.after(subject), policy).errors, *plan.conflicts)
        if problems:
            raise refused(source.name, problems)
        applied = apply_graft(plan, contents, patcher, wheel.name.distribution)
        name = _new_name(wheel.name, policy, arch, options, foreign=bool(applied.grafts))
        applied = _described(wheel, applied, name, sysroot, epoch)
        # What a path excluded is known by its names once the root is out of sight.
        seen = options.search(renames=False, spared=spared_names(subject.closure))

        def judged(result: Wheel, found: Inventory) -> Verdict:
            final = examine(
                result,
                found,
                arch=arch,
                floor=floor,
                sysroot=None,
                may_graft=False,
                search=seen,
                policies=policies,
            )
            return judge(final, policy)

        result = Result(name=name, inventory=inventory, applied=applied, epoch=epoch, options=options)
        written, verdict = write_result(wheel, result, output_dir, judged)
    return RepairReport(
        path=output_dir / str(name),
        verdict=replace(verdict, findings=(*verdict.findings, *plan.warnings)),
        grafts=applied.grafts,
        changes=applied.changes,
        floor=verdict.floor,
        sha256=written.sha256,
        size=written.size,
        copied=result.is_input(wheel),
    )


def plan_repair(
    wheel: Wheel, inventory: Inventory, contents: Contents, options: RepairOptions, *, arch: Arch, floor: MuslVersion
) -> tuple[Subject, GraftPlan]:
    """What there is, with everything that will come in, and what to do."""
    search, sysroot = options.search(renames=True), contents.sysroot
    directory = options.libs_directory(wheel.name.distribution)
    system_path = system_path_of(arch, sysroot, search)
    included = find_included(inventory, options, directory, sysroot, system_path)
    given = {item.name: item.path for item in included if item.path}
    subject = examine(
        wheel,
        with_needs(readable(inventory), included),
        arch=arch,
        floor=floor,
        sysroot=sysroot,
        may_graft=True,
        search=replace(search, given=given),
        policies=options.policies,
    )
    _check_exclude(subject, options)
    return subject, plan_graft(subject, contents, options, included, original=inventory)


def _new_name(name: WheelName, policy: Policy, arch: Arch, options: RepairOptions, *, foreign: bool) -> WheelName:
    """The name with the policy's tag; ``foreign``: libraries of a musl root came in."""
    if not options.update_tags:
        return name
    return retag(name, policy, arch, only=options.only_plat, foreign=foreign)


def _described(wheel: Wheel, applied: Applied, name: WheelName, sysroot: Sysroot | None, epoch: int) -> Applied:
    """``applied`` with a document of the libraries that came in or changed, when there are any (PEP 770)."""
    if not applied.bundled:
        return applied
    member = f"{wheel.dist_info}/{SBOM_NAME}"
    database = read_database(sysroot.read) if sysroot else NO_DATABASE
    there = frozenset(wheel.files) - applied.removed - {product.member for product in applied.products}
    earlier = earlier_components(wheel.read(member), there) if member in wheel.files else ()
    document = sbom_json(name, applied.bundled, database, epoch=epoch, earlier=earlier)
    product = Product(member=member, weight=len(document), make=partial(bytes, document))
    return replace(applied, products=(*applied.products, product))


def _check_exclude(subject: Subject, options: RepairOptions) -> None:
    for pattern in unmatched(subject.closure, options.exclude):
        needed = sorted({edge.name for edge in subject.closure.edges if edge.outcome is not Outcome.LIBC})
        raise UsageError(
            f"--exclude {pattern!r} matches no library that {subject.name} needs",
            resolution=f"It needs {', '.join(needed) or 'none but libc'}; patterns match names and whole paths.",
        )
