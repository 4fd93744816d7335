"""A graft plan to the changed and added members of a wheel.

Every library of a group is edited with placeholders of the right length for the names that are not known yet, hashed
as it then is, and the placeholders are replaced in its dynamic string table. So the name depends on all final bytes
but itself, also in a cycle, where the members share one hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from musllinux_build.audit.graft import HASH_DIGITS, GraftPlan, Library, User
from musllinux_build.elf.edit import ElfEdit, check_edit
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import read_elf

Patcher = Callable[[bytes, ElfEdit], bytes]
"""Applies an edit to an object; raises RepairError when it cannot. The same input must give the same bytes."""
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graft:
    """A library that was copied in; ``size`` in bytes."""

    soname: str
    source_path: str
    new_name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Member name to new content, of libraries added and objects changed."""

    added: Mapping[str, bytes]
    changed: Mapping[str, bytes]
    grafts: tuple[Graft, ...]


def apply_graft(plan: GraftPlan, read_source: Read, read_member: Read, patch: Patcher) -> Applied:
    """Edit copies of the libraries and of their users.

    Raises:
        RepairError: an edit fails, or changed something it should not.
    """
    names: dict[str, str] = {}
    added: dict[str, bytes] = {}
    grafts = []
    for group in plan.groups:
        for library, content in _edit_group(group, names, read_source, patch):
            name = names[library.source]
            added[f"{plan.directory}/{name}"] = content
            grafts.append(
                Graft(
                    soname=library.facts.soname or library.asked_as,
                    source_path=library.source,
                    new_name=name,
                    size=len(content),
                )
            )
    changed = {user.member: _edit_user(user, names, read_member, patch) for user in plan.users}
    return Applied(added=added, changed=changed, grafts=tuple(grafts))


def rename_in_strings(content: bytes, facts: ElfFacts, names: Mapping[str, str]) -> bytes:
    """``content`` with each name replaced by one of equal length in its dynamic string table.

    Raises:
        ValueError: a new name has another length.
    """
    offset, size = facts.strings
    table = content[offset : offset + size]
    for old, new in names.items():
        if len(old) != len(new):
            raise ValueError(f"{new!r} is not as long as {old!r}")
        table = table.replace(old.encode(), new.encode())
    return content[:offset] + table + content[offset + size :]


def _edit_group(
    group: tuple[Library, ...], names: dict[str, str], read_source: Read, patch: Patcher
) -> list[tuple[Library, bytes]]:
    """The final bytes of a group's libraries; their names are put into ``names``."""
    stand_ins = {library.source: library.named(f"{index:0{HASH_DIGITS}d}") for index, library in enumerate(group)}
    edited = []
    for library in group:
        edit = ElfEdit(
            soname=stand_ins[library.source],
            needed=tuple((old, (names | stand_ins)[source]) for old, source in sorted(library.needs.items())),
            search_path="$ORIGIN" if library.needs else None,
        )
        content = patch(read_source(library.source), edit)
        edited.append((library, content, check_edit(library.facts, read_elf(content, library.source), edit)))
    joint = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for _, content, _ in edited))
    for index, library in enumerate(group):
        own = joint.copy()
        own.update(str(index).encode())
        names[library.source] = library.named(own.hexdigest()[:HASH_DIGITS])
    renames = {stand_ins[library.source]: names[library.source] for library in group}
    return [(library, rename_in_strings(content, facts, renames)) for library, content, facts in edited]


def _edit_user(user: User, names: Mapping[str, str], read_member: Read, patch: Patcher) -> bytes:
    edit = ElfEdit(
        soname=None,
        needed=tuple((old, names[source]) for old, source in sorted(user.needs.items())),
        search_path=user.search_path,
    )
    content = patch(read_member(user.member), edit)
    check_edit(user.facts, read_elf(content, user.member), edit)
    return content
