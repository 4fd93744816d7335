"""What we say of each object of a wheel, and of the wheel, for a floor."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.audit.judge import choose_arch, choose_policy, examine, judge
from musllinux_build.audit.needs import find_needs
from musllinux_build.audit.subject import Inventory, Subject, make_lookup, take_inventory
from musllinux_build.audit.verdict import Finding, Severity
from musllinux_build.elf.closure import World, resolve
from musllinux_build.elf.facts import ElfKind
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.layout import is_of_wheel, shown_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Our verdict: the findings that refuse, none for what we call fine."""

    errors: tuple[Finding, ...]

    @property
    def fine(self) -> bool:
        return not self.errors

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(sorted({finding.rule for finding in self.errors}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A wheel and its objects, ready to be judged against any floor. Paths are installed ones."""

    wheel: Wheel
    subject: Subject
    policy: Policy
    programs: frozenset[str]
    unopened: frozenset[str]
    """Files that we say nothing opens: firmware and the like, of another machine and under no library's name."""
    pretenders: frozenset[str]
    """Files that we say are no objects and yet are opened as extensions."""

    @property
    def arch(self) -> Arch:
        return self.subject.arch

    @property
    def objects(self) -> tuple[str, ...]:
        """What a loader may be given, sorted: no core dumps, no firmware, no object files under names of their own.

        A file under the name of an extension is given to it, whatever it is.
        """
        inventory, loadable = self.subject.inventory, {ElfKind.SHARED, ElfKind.EXECUTABLE}
        found = {
            path
            for path, facts in inventory.objects.items()
            if (facts.kind in loadable or ".so" in posixpath.basename(path)) and facts.path not in self.unopened
        }
        return tuple(sorted(found | {path for path in inventory.members if shown_path(path) in self.pretenders}))

    @property
    def roots(self) -> tuple[str, ...]:
        """What the outside opens."""
        return tuple(self.subject.closure.loads)

    def judge(self, floor: MuslVersion) -> Said:
        """The verdict that ``audit show --floor`` gives."""
        return _said(replace(self.subject, floor=floor), self.policy, None)

    def alone(self, path: str) -> Subject:
        """The wheel as if nothing but the object at ``path`` were opened from outside."""
        subject = self.subject
        world = World(arch=subject.arch, lookup=make_lookup(subject.inventory, None), is_own=is_of_wheel)
        facts = subject.inventory.objects.get(path)
        follows = facts is not None and facts.is_dynamic and facts.fits(subject.arch.row.elf)
        closure = resolve({path: facts} if facts is not None and follows else {}, world)
        return replace(subject, closure=closure, needs=find_needs(subject.table, closure))

    def judge_object(self, path: str, alone: Subject, floor: MuslVersion) -> Said:
        """The verdict on loading the object at ``path``: findings on it and on whatever it loads."""
        return _said(replace(alone, floor=floor), self.policy, frozenset({path, *alone.closure.objects}))


def examine_wheel(content: bytes, filename: str) -> Examined:
    wheel = read_wheel(content, filename)
    inventory = take_inventory(wheel)
    policy = choose_policy(wheel.name)
    subject = examine(
        wheel,
        inventory,
        arch=choose_arch(wheel.name, inventory),
        floor=policy.row.floor,
        sysroot=None,
        may_graft=False,
    )
    findings = judge(subject, policy).findings
    return Examined(
        wheel=wheel,
        subject=subject,
        policy=policy,
        programs=_programs(inventory),
        unopened=frozenset(item.file for item in findings if item.rule == "foreign-object"),
        pretenders=frozenset(item.file for item in findings if item.rule == "not-an-object"),
    )


def examine_file(path: Path) -> Examined:
    return examine_wheel(path.read_bytes(), path.name)


def _programs(inventory: Inventory) -> frozenset[str]:
    """Objects that are executed and not opened, by their names: ``libx.so.1`` and ``_x.so`` are opened."""
    return frozenset(path for path in inventory.objects if ".so" not in posixpath.basename(path))


def _said(subject: Subject, policy: Policy, files: frozenset[str] | None) -> Said:
    shown = frozenset(map(shown_path, files)) if files is not None else None
    errors = [
        finding
        for finding in judge(subject, policy).findings
        if finding.severity is Severity.ERROR and (shown is None or finding.file in shown)
    ]
    return Said(errors=tuple(errors))
