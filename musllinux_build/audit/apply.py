"""A graft plan to the new, changed and removed members of a wheel.

Every library of a group is edited with placeholders of the right length for the names that are not known yet, hashed
as it then is, and edited again with the names. So a name depends on all final bytes but itself, also in a cycle, where
the members share one hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from musllinux_build.audit.contents import Contents
from musllinux_build.audit.graft import GraftPlan, Object
from musllinux_build.audit.naming import HASH_DIGITS
from musllinux_build.audit.sbom import Bundled, Source
from musllinux_build.audit.scripts import shim
from musllinux_build.elf.edit import KEEP, ElfEdit, check_edit, edit_in_place
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import read_elf
from musllinux_build.elf.strip import strip_elf
from musllinux_build.errors import RepairError
from musllinux_build.wheel.assemble import Product

Content = bytes | bytearray
Patcher = Callable[[bytearray, ElfEdit], bytes | bytearray]
"""Applies an edit to an object; raises RepairError when it cannot. The same input must give the same bytes.

It may change what it is given, and is not given it again.
"""


def built_in(content: bytearray, edit: ElfEdit) -> bytearray:
    """The patcher that needs no program."""
    edit_in_place(content, edit, "object")
    return content


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
    """``products`` are the members that are new or changed, ``removed`` are members that are no more.

    ``executable`` are the added and changed ones that are loaded or started; ``bundled`` describes every library that
    came in or changed.
    """

    products: tuple[Product, ...] = ()
    facts: dict[str, ElfFacts] = field(default_factory=dict)
    """Of the objects among them, by member, once they are made."""
    removed: frozenset[str] = frozenset()
    executable: frozenset[str] = frozenset()
    grafts: tuple[Graft, ...] = ()
    changes: tuple[Change, ...] = ()
    bundled: tuple[Bundled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One object after its edit, and how to make it again.

    Of a library it is known what it was made from and what became of it.
    """

    object: Object
    name: str
    edit: ElfEdit
    make: Callable[[], Content]
    size: int = 0
    sha256: str = ""
    source: Source | None = None
    facts: ElfFacts | None = None

    @property
    def member(self) -> str:
        directory = self.object.directory
        return f"{directory}/{self.name}" if directory else self.name


def apply_graft(plan: GraftPlan, contents: Contents, patch: Patcher, distribution: str) -> Applied:
    """Edits of everything in ``plan``; ``distribution`` is what scripts that move look for.

    Names that depend on bytes are found by making them; but no content is kept: each is made again when it is written.

    Raises:
        RepairError: an edit fails, or changed something it should not.
    """
    names = {found.key: found.name for found in plan.objects if found.name is not None}
    results: list[_Result] = []
    for group in plan.groups:
        results += _edit_group(group, names, contents, patch)
    results += [_edit_alone(found, names, contents, patch) for found in plan.objects]
    shims = {script: shim(distribution, target) for script, target in plan.shims.items()}
    new = {result.member for result in results}
    facts: dict[str, ElfFacts] = {}
    old = {result.object.member for result in results if result.object.member}
    return Applied(
        products=(
            *(_product(result, contents, facts) for result in results),
            *(Product(member=script, weight=0, make=partial(bytes, text)) for script, text in shims.items()),
        ),
        facts=facts,
        removed=frozenset(old - new - shims.keys()),
        executable=frozenset(new | shims.keys()),
        grafts=tuple(_graft(result, plan) for result in results if result.object.member is None),
        changes=tuple(_change(result) for result in results if result.object.member is not None),
        bundled=_bundled(results),
    )


def _product(result: _Result, contents: Contents, facts: dict[str, ElfFacts]) -> Product:
    def make() -> Content:
        content = result.make()
        if not result.sha256:
            found = _check(result.object, content, result.edit)
        elif hashlib.sha256(content).hexdigest() == result.sha256:
            found = result.facts
        else:
            raise RepairError(
                f"{result.object.facts.path} has changed meanwhile",
                resolution="Do not change the root during a repair.",
            )
        if found is not None:
            facts[result.member] = _shared(found, result.object.facts)
        return content

    return Product(member=result.member, weight=contents.weight(result.object.member, result.size), make=make)


def _shared(after: ElfFacts, before: ElfFacts) -> ElfFacts:
    """``after`` with the names of ``before`` where they are the same: a large library has a hundred thousand."""
    return replace(
        after,
        exports=before.exports if after.exports == before.exports else after.exports,
        undefined=before.undefined if after.undefined == before.undefined else after.undefined,
        weak=before.weak if after.weak == before.weak else after.weak,
    )


def _take(found: Object, contents: Contents) -> bytearray:
    return contents.take_member(found.member) if found.member else contents.take_source(found.source or "")


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


def _edit_alone(found: Object, names: Mapping[str, str], contents: Contents, patch: Patcher) -> _Result:
    """An object whose name does not depend on its bytes: only what is told of a library needs them now."""
    edit = _edit_of(found, None, names)
    make = partial(_make, found, (edit,), contents, patch)
    result = _Result(object=found, name=names[found.key], edit=edit, make=make)
    if not _is_library(result):
        return result
    return _described(result, _source(found, _take(found, contents)), make())


def _edit_group(group: tuple[Object, ...], names: dict[str, str], contents: Contents, patch: Patcher) -> list[_Result]:
    """A group's objects with their final names, which are put into ``names``."""
    stand_ins = {found.key: found.named(f"{index:0{HASH_DIGITS}d}") for index, found in enumerate(group)}
    first = {found.key: _edit_of(found, stand_ins[found.key], names | stand_ins) for found in group}
    joint, sources, held = hashlib.sha256(), {}, None
    for found in group:
        content = _take(found, contents)
        sources[found.key] = _source(found, content)
        edited = _edited(found, content, (first[found.key],), patch)
        joint.update(hashlib.sha256(edited).digest())
        # Nearly every group is one library, which then needs only its name.
        held = edited if len(group) == 1 and isinstance(edited, bytearray) else None
        del content, edited
    for index, found in enumerate(group):
        own = joint.copy()
        own.update(str(index).encode())
        names[found.key] = found.named(own.hexdigest()[:HASH_DIGITS])
    renames = tuple((stand_ins[found.key], names[found.key]) for found in group)
    results = []
    for found in group:
        name = names[found.key]
        last = ElfEdit(soname=name, needed=renames)
        make = partial(_make, found, (first[found.key], last), contents, patch)
        result = _Result(object=found, name=name, edit=_edit_of(found, name, names), make=make)
        results.append(_described(result, sources[found.key], make() if held is None else patch(held, last)))
    return results


def _make(found: Object, edits: tuple[ElfEdit, ...], contents: Contents, patch: Patcher) -> Content:
    """The content of an object after ``edits``."""
    return _edited(found, _take(found, contents), edits, patch)


def _edited(found: Object, content: Content, edits: tuple[ElfEdit, ...], patch: Patcher) -> Content:
    # What is dropped goes before the edits, so that nothing is put behind it, and after, because an edit leaves tails.
    if found.mend.strip:
        content = strip_elf(bytes(content))
    if edits == (ElfEdit(),):
        return content
    for edit in edits:
        content = patch(content if isinstance(content, bytearray) else bytearray(content), edit)
    return strip_elf(bytes(content)) if found.mend.strip else content


def _check(found: Object, content: Content, edit: ElfEdit) -> ElfFacts | None:
    """The facts of ``content``, which is the object after ``edit`` and nothing else."""
    facts = read_elf(content, found.facts.path)
    return facts if edit == ElfEdit() else check_edit(found.facts, facts, edit)


def _source(found: Object, content: Content) -> Source:
    return Source.of(found.source or found.member or "", content)


def _described(result: _Result, source: Source, content: Content) -> _Result:
    """``result`` with what is told of a library: where it is from, and what became of it."""
    facts = _check(result.object, content, result.edit)
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(result, size=len(content), sha256=sha256, source=source, facts=facts)


def _is_library(result: _Result) -> bool:
    """Whether it came in, or got another name."""
    return bool(result.object.source) or result.name != result.object.stem


def _graft(result: _Result, plan: GraftPlan) -> Graft:
    return Graft(
        soname=result.object.facts.soname or result.object.asked_as,
        source_path=result.object.source or "",
        new_name=result.name,
        size=result.size,
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
    libraries = [(result, result.source) for result in results if result.source and _is_library(result)]
    members = {result.object.key: result.member for result, _ in libraries}
    return tuple(
        Bundled(
            member=result.member,
            sha256=result.sha256,
            soname=result.object.facts.soname or result.object.asked_as,
            source=source,
            needs=tuple(sorted({members[key] for key in result.object.needs.values() if key in members})),
        )
        for result, source in libraries
    )
