"""A graft plan to the new, changed and removed members of a wheel.

Every library of a group is edited with placeholders of the right length for the names that are not known yet, hashed
as it then is, and edited again with the names. So a name depends on all final bytes but itself, also in a cycle, where
the members share one hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from musllinux_build.audit.contents import Contents
from musllinux_build.audit.graft import GraftPlan, Object
from musllinux_build.audit.naming import HASH_DIGITS
from musllinux_build.audit.sbom import Bundled, Source
from musllinux_build.audit.scripts import shim
from musllinux_build.elf.edit import KEEP, ElfEdit, check_edit, edit_elf
from musllinux_build.elf.reader import read_elf
from musllinux_build.elf.strip import strip_elf

Patcher = Callable[[bytes, ElfEdit], bytes]
"""Applies an edit to an object; raises RepairError when it cannot. The same input must give the same bytes."""


def built_in(content: bytes, edit: ElfEdit) -> bytes:
    """The patcher that needs no program."""
    return bytes(edit_elf(content, edit, "object"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graft:
    """A library that was copied in as ``new_name``; ``size`` in bytes. ``reached`` tells how a program gets at it."""

    soname: str
    source_path: str
    new_name: str
    size: int
    member: str
    reached: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one object of the wheel: ``member`` is where it is now, ``was`` where it was.

    ``needed`` are (old, new) names; ``search_path`` is the new one, None when it was removed or stays.
    """

    member: str
    was: str
    needed: tuple[tuple[str, str], ...]
    added_needed: tuple[str, ...]
    search_path: str | None
    search_path_removed: bool
    expanded_relr: bool
    cleared_exec_stack: bool
    stripped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """``added`` and ``changed`` map members to new content, ``removed`` are members that are no more.

    ``executable`` are the added and changed ones that are loaded or started; ``bundled`` describes every library that
    came in or changed.
    """

    added: Mapping[str, bytes] = field(default_factory=dict)
    changed: Mapping[str, bytes] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    executable: frozenset[str] = frozenset()
    grafts: tuple[Graft, ...] = ()
    changes: tuple[Change, ...] = ()
    bundled: tuple[Bundled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One object after its edit."""

    object: Object
    name: str
    edit: ElfEdit
    before: bytes
    content: bytes

    @property
    def member(self) -> str:
        directory = self.object.directory
        return f"{directory}/{self.name}" if directory else self.name


def apply_graft(plan: GraftPlan, contents: Contents, patch: Patcher, distribution: str) -> Applied:
    """Edit copies of everything in ``plan``; ``distribution`` is what scripts that move look for.

    Raises:
        RepairError: an edit fails, or changed something it should not.
    """
    names = {found.key: found.name for found in plan.objects if found.name is not None}
    results: list[_Result] = []
    for group in plan.groups:
        results += _edit_group(group, names, contents, patch)
    for found in plan.objects:
        edit = _edit_of(found, None, names)
        before = _read(found, contents)
        after = _edit(found, before, edit, patch)
        results.append(_Result(object=found, name=names[found.key], edit=edit, before=before, content=after))
    shims = {script: shim(distribution, target) for script, target in plan.shims.items()}
    new = {result.member: result.content for result in results}
    old = {result.object.member for result in results if result.object.member}
    return Applied(
        added={member: content for member, content in new.items() if member not in old},
        changed={**{member: content for member, content in new.items() if member in old}, **shims},
        removed=frozenset(old - new.keys() - shims.keys()),
        executable=frozenset(new) | shims.keys(),
        grafts=tuple(_graft(result, plan) for result in results if result.object.member is None),
        changes=tuple(_change(result) for result in results if result.object.member is not None),
        bundled=_bundled(results),
    )


def _read(found: Object, contents: Contents) -> bytes:
    return contents.read_member(found.member) if found.member else contents.read_source(found.source or "")


def _edit_of(found: Object, soname: str | None, names: Mapping[str, str]) -> ElfEdit:
    renames = {old: names[key] for old, key in sorted(found.needs.items())}
    return ElfEdit(
        soname=soname,
        needed=tuple((old, new) for old, new in renames.items() if old != new and old in found.facts.needed),
        add_needed=found.added,
        search_path=found.search_path if found.sets_search_path else KEEP,
        expand_relr=found.mend.expand_relr,
        clear_exec_stack=found.mend.clear_exec_stack,
    )


def _edit(found: Object, content: bytes, edit: ElfEdit, patch: Patcher) -> bytes:
    # What is dropped goes before the edit, so that nothing is put behind it, and after, because an edit leaves tails.
    content = strip_elf(content) if found.mend.strip else content
    if edit == ElfEdit():
        return content
    edited = patch(content, edit)
    check_edit(found.facts, read_elf(edited, found.facts.path), edit)
    return strip_elf(edited) if found.mend.strip else edited


def _edit_group(group: tuple[Object, ...], names: dict[str, str], contents: Contents, patch: Patcher) -> list[_Result]:
    """A group's objects with their final bytes; their names are put into ``names``."""
    stand_ins = {found.key: found.named(f"{index:0{HASH_DIGITS}d}") for index, found in enumerate(group)}
    edited = []
    for found in group:
        edit = _edit_of(found, stand_ins[found.key], names | stand_ins)
        before = _read(found, contents)
        edited.append((found, before, _edit(found, before, edit, patch)))
    joint = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for *_, content in edited))
    for index, found in enumerate(group):
        own = joint.copy()
        own.update(str(index).encode())
        names[found.key] = found.named(own.hexdigest()[:HASH_DIGITS])
    renames = tuple((stand_ins[found.key], names[found.key]) for found in group)
    results = []
    for found, before, content in edited:
        final = patch(content, ElfEdit(soname=names[found.key], needed=renames))
        whole = _edit_of(found, names[found.key], names)
        check_edit(found.facts, read_elf(final, found.facts.path), whole)
        results.append(_Result(object=found, name=names[found.key], edit=whole, before=before, content=final))
    return results


def _graft(result: _Result, plan: GraftPlan) -> Graft:
    return Graft(
        soname=result.object.facts.soname or result.object.asked_as,
        source_path=result.object.source or "",
        new_name=result.name,
        size=len(result.content),
        member=result.member,
        reached=plan.reached.get(result.object.key, ""),
    )


def _change(result: _Result) -> Change:
    edit, mend = result.edit, result.object.mend
    return Change(
        member=result.member,
        was=result.object.member or "",
        needed=edit.needed,
        added_needed=edit.add_needed,
        search_path=edit.search_path if isinstance(edit.search_path, str) else None,
        search_path_removed=edit.search_path is None,
        expanded_relr=mend.expand_relr,
        cleared_exec_stack=mend.clear_exec_stack,
        stripped=mend.strip,
    )


def _bundled(results: list[_Result]) -> tuple[Bundled, ...]:
    """Libraries that came in, and those of the wheel that got another name."""
    libraries = [result for result in results if result.object.source or result.name != result.object.stem]
    members = {result.object.key: result.member for result in libraries}
    return tuple(
        Bundled(
            member=result.member,
            sha256=hashlib.sha256(result.content).hexdigest(),
            soname=result.object.facts.soname or result.object.asked_as,
            source=Source.of(result.object.source or result.object.member or "", result.before),
            needs=tuple(sorted({members[key] for key in result.object.needs.values() if key in members})),
        )
        for result in libraries
    )
