"""``audit repair``: a wheel and a root to a wheel that keeps its promise, or to the reasons why there is none."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musllinux_build.apkdb import NO_DATABASE, read_database
from musllinux_build.arch import Arch
from musllinux_build.audit.apply import Applied, Change, Graft, Patcher, apply_graft, built_in
from musllinux_build.audit.contents import Contents
from musllinux_build.audit.graft import GraftPlan, plan_graft
from musllinux_build.audit.include import find_included, with_needs
from musllinux_build.audit.judge import choose_arch, choose_policy, examine, judge, judge_wheel, pure_wheel
from musllinux_build.audit.mend import readable
from musllinux_build.audit.options import PLAIN, RepairOptions
from musllinux_build.audit.sbom import SBOM_NAME, earlier_components, sbom_json
from musllinux_build.audit.subject import Inventory, Subject, system_path_of, take_inventory
from musllinux_build.audit.verdict import Finding, Verdict
from musllinux_build.elf.closure import Outcome, spared_names, unmatched
from musllinux_build.errors import DiskFullError, RepairError, UsageError
from musllinux_build.policies.load import load_policies
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.ports import Sysroot
from musllinux_build.tags import WheelName, retag
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.record import encode_digest, format_record
from musllinux_build.wheel.source import chunks
from musllinux_build.wheel.writer import EARLIEST, LEVEL, Packed, member_order, pack, write_archive

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
        UsageError: an option means nothing for this wheel.
        RepairError: it would not load where its tag says; the details are all findings.
        DiskFullError: there is no room for the result.
    """
    wheel = read_wheel(source.read_bytes(), source.name)
    inventory = take_inventory(wheel)
    if inventory.is_pure:
        raise pure_wheel(source.name)
    policy = policy or choose_policy(wheel.name)
    arch = arch or choose_arch(wheel.name, inventory)
    floor = floor or load_policies().row(policy).floor
    contents = Contents(wheel, sysroot)
    subject, plan = plan_repair(wheel, inventory, contents, options, arch=arch, floor=floor)
    problems = (*judge(plan.after(subject), policy).errors, *plan.conflicts)
    if problems:
        raise _refused(source.name, problems)
    applied = apply_graft(plan, contents, patcher, wheel.name.distribution)
    name = _new_name(wheel.name, policy, arch, options, foreign=bool(applied.grafts))
    applied = _described(wheel, applied, name, sysroot, epoch)
    chunks = _chunks(wheel, applied, name, inventory, epoch=epoch, options=options)
    target = output_dir / str(name)
    # What a path excluded is known by its names once the root is out of sight.
    seen = options.search(renames=False, spared=spared_names(subject.closure))
    verdict = _write(chunks, target, lambda path: judge_wheel(path, policy, arch, floor=floor, search=seen))
    content = target.read_bytes()
    return RepairReport(
        path=target,
        verdict=replace(verdict, findings=(*verdict.findings, *plan.warnings)),
        grafts=applied.grafts,
        changes=applied.changes,
        floor=verdict.floor,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        copied=_is_right(wheel, applied, name, name.expanded if options.update_tags else wheel.wheel_file.tags),
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
    there = frozenset(wheel.files) - applied.removed - applied.changed.keys()
    earlier = earlier_components(wheel.read(member), there) if member in wheel.files else ()
    document = sbom_json(name, applied.bundled, database, epoch=epoch, earlier=earlier)
    return replace(applied, added={**applied.added, member: document})


def _check_exclude(subject: Subject, options: RepairOptions) -> None:
    for pattern in unmatched(subject.closure, options.exclude):
        needed = sorted({edge.name for edge in subject.closure.edges if edge.outcome is not Outcome.LIBC})
        raise UsageError(
            f"--exclude {pattern!r} matches no library that {subject.name} needs",
            resolution=f"It needs {', '.join(needed) or 'none but libc'}; patterns match names and whole paths.",
        )


def _refused(wheel: str, problems: Sequence[Finding]) -> RepairError:
    lines = [problem.line() for problem in problems[:SHOWN_FINDINGS]]
    if len(problems) > SHOWN_FINDINGS:
        lines.append(f"... and {len(problems) - SHOWN_FINDINGS} more")
    first = problems[0]
    return RepairError(
        f"{wheel} cannot be repaired: {first.file} {first.message}",
        details="\n".join(lines),
        resolution=f"{first.remedy}.",
    )


def _chunks(
    wheel: Wheel, applied: Applied, name: WheelName, inventory: Inventory, *, epoch: int, options: RepairOptions
) -> Iterable[bytes | memoryview]:
    """The bytes of the repaired wheel; those of the input when there is nothing to change."""
    fields = wheel.wheel_file
    tags = name.expanded if options.update_tags else fields.tags
    if _is_right(wheel, applied, name, tags):
        source = wheel.archive.source
        return chunks(source, 0, source.size)
    return write_archive(_members(wheel, applied, tags, inventory, options.level), epoch=epoch)


def _is_right(wheel: Wheel, applied: Applied, name: WheelName, tags: tuple[str, ...]) -> bool:
    """Whether there is nothing to change."""
    fields = wheel.wheel_file
    touched = applied.added or applied.changed or applied.removed
    impure = (fields.first("Root-Is-Purelib") or "").lower() == "false"
    return not touched and impure and name == wheel.name and fields.tags == tags


def _members(
    wheel: Wheel, applied: Applied, tags: tuple[str, ...], inventory: Inventory, level: int | None
) -> Iterator[Packed]:
    """Every member of the result in order, RECORD last."""
    level = LEVEL if level is None else level
    replaced = {
        **applied.changed,
        **applied.added,
        f"{wheel.dist_info}/WHEEL": wheel.wheel_file.retagged(tags).format(),
    }
    scripts = f"{wheel.data_dir}/scripts/"
    loadable = {inventory.members[path] for path in inventory.objects} | applied.executable
    rows: dict[str, tuple[str, int]] = {}
    for member in sorted(
        {*wheel.files, *replaced} - applied.removed, key=lambda member: member_order(member, wheel.dist_info)
    ):
        known = wheel.archive.members.get(member)
        executable = member in loadable or member.startswith(scripts) or bool(known and known.executable)
        if member in replaced or known is None:
            content = replaced[member]
            packed = pack(member, content, executable=executable, level=level)
            rows[member] = encode_digest(hashlib.sha256(content).digest()), len(content)
        else:
            entry = wheel.record[member]
            digest = entry.digest
            if entry.algorithm != "sha256":
                digest = encode_digest(hashlib.sha256(wheel.read(member)).digest())
            packed = Packed(
                name=member,
                method=known.method,
                crc=known.crc,
                size=known.size,
                content=b"".join(wheel.archive.raw(member)),
                executable=executable,
            )
            rows[member] = digest, known.size
        yield packed
    record = f"{wheel.dist_info}/RECORD"
    yield pack(record, format_record(rows, wheel.dist_info), executable=False, level=level)


def _write(chunks: Iterable[bytes | memoryview], target: Path, judged: Callable[[Path], Verdict]) -> Verdict:
    """Write beside the target, judge what was written, and only then put it in place."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".repair-") as scratch:
            written = Path(scratch) / target.name
            with written.open("wb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
            written.chmod(0o644)
            verdict = judged(written)
            if not verdict.conforms:
                raise _refused(target.name, verdict.errors)
            os.replace(written, target)  # noqa: PTH105 - the atomic one, by its own name
    except OSError as reason:
        if reason.errno in NO_SPACE:
            raise DiskFullError(f"no room for {target}", resolution="Free some space and run it again.") from reason
        raise RepairError(f"{target} cannot be written: {reason.strerror}", resolution="Choose another -w.") from reason
    return verdict
