"""Edits of a dynamic object: its name, the names it needs, its search path, and DT_RELR expanded.

Names are written in place where they fit, and a table that outgrows its place moves behind the end of the file
(``room``). The old bytes of what moved are cleared where a section header says whose they were. Section headers, when
there are any, are led along so that tools see what the loader sees; the loader never looks at them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from struct import error
from typing import Literal

from musllinux_build.elf.draft import Draft, place_tables, string_table
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.elf.image import corrupt
from musllinux_build.elf.layout import Layout, Program, read_layout
from musllinux_build.elf.numbers import SEGMENT, TAG
from musllinux_build.elf.psabi import HAS_ADDEND, RELATIVE
from musllinux_build.elf.reader import PF_X
from musllinux_build.elf.relr import expand_relr
from musllinux_build.elf.strings import Placed, Rename, VersionName, elf_hash, place_names, read_version_places
from musllinux_build.errors import RepairError

RELR_TAGS = frozenset({TAG["DT_RELR"], TAG["DT_RELRSZ"], TAG["DT_RELRENT"]})
SEARCH_TAGS = (TAG["DT_RPATH"], TAG["DT_RUNPATH"])
LONGEST_NAME = 4096


class Keep(Enum):
    """The search path of an edit that leaves it as it is."""

    KEEP = "keep"


KEEP: Literal[Keep.KEEP] = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfEdit:
    """Changes of one object; the defaults change nothing.

    ``soname`` None keeps it. ``needed`` are (old, new) names, ``drop_needed`` names to take out, and ``add_needed``
    names put after them that are not there; an old name that is not needed is passed over. A ``search_path`` of None
    removes what there is; a text becomes the only DT_RUNPATH or DT_RPATH. ``expand_relr`` turns DT_RELR into ordinary
    relative relocations, ``clear_exec_stack`` makes PT_GNU_STACK not executable.
    """

    soname: str | None = None
    needed: tuple[tuple[str, str], ...] = ()
    drop_needed: tuple[str, ...] = ()
    add_needed: tuple[str, ...] = ()
    search_path: str | Keep | None = KEEP
    expand_relr: bool = False
    clear_exec_stack: bool = False


def edit_elf(content: bytes | bytearray, edit: ElfEdit, path: str) -> bytearray:
    """``content`` with ``edit`` applied; the same bytes when it changes nothing.

    Raises:
        WheelError: the object's tables contradict the file.
        RepairError: it has no dynamic section, or there is no room in its address space.
    """
    plan = _plan(content, edit, path)
    result = bytearray(plan.tail_to + len(content) - plan.tail_from)
    # Through views, because an assignment to a bytearray's slice first makes a copy of what it is given.
    with memoryview(result) as target, memoryview(content) as source:
        target[: plan.keep] = source[: plan.keep]
        target[plan.tail_to :] = source[plan.tail_from :]
        for offset, part in plan.writes:
            target[offset : offset + len(part)] = part
    return result


def edit_in_place(content: bytearray, edit: ElfEdit, path: str) -> None:
    """Apply ``edit`` to ``content`` itself: a large object is not copied. Errors as of edit_elf leave it as it was."""
    plan = _plan(content, edit, path)
    if (plan.keep, plan.tail_to) != (len(content), len(content)):
        tail = content[plan.tail_from :]
        del content[plan.keep :]
        content += bytes(plan.tail_to - plan.keep)
        content += tail
    with memoryview(content) as target:
        for offset, part in plan.writes:
            target[offset : offset + len(part)] = part


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What becomes of the bytes of a file (as of ``Draft``); no view of them is left."""

    keep: int
    tail_from: int
    tail_to: int
    writes: tuple[tuple[int, bytes], ...]


def _plan(content: bytes | bytearray, edit: ElfEdit, path: str) -> _Plan:
    """Where every byte of the edited object comes from."""
    layout = read_layout(content, path)
    if layout is None:
        raise _refused(path, "it has no dynamic section")
    if edit.clear_exec_stack:
        layout = replace(layout, programs=tuple(_not_executable(row) for row in layout.programs))
    draft = _name(layout, edit)
    if edit.expand_relr:
        _plan_relocations(layout, draft)
    try:
        place_tables(layout, draft)
    except error:
        raise corrupt(path, "a size or an address is larger than its class allows") from None
    writes = tuple((offset, bytes(part)) for offset, part in draft.writes)
    return _Plan(keep=draft.keep, tail_from=draft.tail_from, tail_to=draft.tail_to, writes=writes)


def _not_executable(row: Program) -> Program:
    return replace(row, flags=row.flags & ~PF_X) if row.type == SEGMENT["PT_GNU_STACK"] else row


def check_edit(before: ElfFacts, after: ElfFacts | None, edit: ElfEdit) -> ElfFacts:
    """``after``, the facts of the edited object, which must be those ``before`` but for the edit.

    Raises:
        RepairError: something else has changed, or something that should has not.
    """
    renames = dict(edit.needed)
    needed = [renames.get(name, name) for name in before.needed if name not in edit.drop_needed]
    healed = {Hazard.RELR: edit.expand_relr, Hazard.EXECUTABLE_STACK: edit.clear_exec_stack}
    kinds = before.relocation_types | ({RELATIVE.get(before.machine, 0)} if healed[Hazard.RELR] else set())
    search_path = before.search_path if edit.search_path is KEEP else edit.search_path
    if after is not None:
        libraries = tuple(need.library for need in after.version_needs)
        allowed = [{need.library, renames.get(need.library, need.library)} for need in before.version_needs]
        wanted = replace(
            before,
            path=after.path,
            strings=after.strings,
            soname=edit.soname or before.soname,
            needed=(*needed, *(name for name in dict.fromkeys(edit.add_needed) if name not in needed)),
            rpath=after.rpath,
            runpath=after.runpath,
            version_needs=tuple(
                replace(need, library=library) for need, library in zip(before.version_needs, libraries, strict=False)
            ),
            relocation_types=kinds & after.relocation_types | before.relocation_types,
            hazards=frozenset(hazard for hazard in before.hazards if not healed.get(hazard)),
        )
        named = all(library in names for library, names in zip(libraries, allowed, strict=False))
        if wanted == after and named and after.search_path == search_path:
            return after
    raise _refused(before.path, "that changed something else")


def _refused(path: str, what: str) -> RepairError:
    return RepairError(
        f"{path} cannot be edited: {what}",
        resolution="Please report this with the library; linking it statically avoids the edit.",
    )


def _name(layout: Layout, edit: ElfEdit) -> Draft:
    """The dynamic entries and version tables with the edit's names in them."""
    table = string_table(layout)
    wanted = list(_wanted_entries(layout, table, edit))
    versions = read_version_places(layout)
    files = list(_wanted_versions(layout, table, versions, edit))
    renames = [value for _, value in wanted if isinstance(value, Rename)] + [rename for _, rename in files]
    placed = place_names(layout, table, renames, versions) if renames else Placed(offsets={})
    order: Literal["little", "big"] = "little" if layout.form.mark == "<" else "big"
    writes = []
    for version, rename in files:
        writes.append((version.at, placed.offsets[rename.text].to_bytes(4, order)))
        if version.hash_at is not None:
            writes.append((version.hash_at, elf_hash(rename.text).to_bytes(4, order)))
    entries = [(tag, placed.offsets[value.text] if isinstance(value, Rename) else value) for tag, value in wanted]
    return Draft(entries=entries, strings=placed.apply(table), writes=writes)


def _text(layout: Layout, table: bytes, offset: int) -> bytes:
    end = table.find(b"\0", offset, offset + LONGEST_NAME)
    if offset >= len(table) or end < 0:
        raise layout.image.corrupt("a name lies outside the dynamic string table")
    return table[offset:end]


def _encode(layout: Layout, text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if not encoded or b"\0" in encoded or len(encoded) >= LONGEST_NAME:
        raise _refused(layout.image.path, f"{text[:40]!r} is no name")
    return encoded


def _wanted_entries(layout: Layout, table: bytes, edit: ElfEdit) -> Iterator[tuple[int, int | Rename]]:
    """The entries afterwards; names that change are Renames, new entries come last."""
    renames = {_encode(layout, old): _encode(layout, new) for old, new in edit.needed}
    dropped = {_encode(layout, name) for name in edit.drop_needed}
    path_tag = _search_tag(layout)
    texts = {TAG["DT_SONAME"]: _encode(layout, edit.soname)} if edit.soname else {}
    if isinstance(edit.search_path, str):
        texts[path_tag] = _encode(layout, edit.search_path)
    added = dict.fromkeys(_encode(layout, name) for name in edit.add_needed)
    for tag, value in layout.dynamic:
        if tag == TAG["DT_NEEDED"]:
            name = _text(layout, table, value)
            if name not in dropped:
                new = renames.get(name, name)
                added.pop(new, None)
                yield tag, _renamed(value, name, new)
        elif tag in SEARCH_TAGS and edit.search_path is not KEEP and (tag != path_tag or edit.search_path is None):
            continue
        elif tag in texts:
            yield tag, _renamed(value, _text(layout, table, value), texts.pop(tag))
        else:
            yield tag, value
    new_entries = [*((TAG["DT_NEEDED"], name) for name in added), *texts.items()]
    yield from ((tag, Rename(offset=None, text=text)) for tag, text in new_entries)


def _search_tag(layout: Layout) -> int:
    """Where the search path is kept: the one tag that the linker chose, which needs no new entry, else DT_RPATH.

    musl searches both alike. glibc lets LD_LIBRARY_PATH override DT_RUNPATH, so a new one is a DT_RPATH.
    """
    found = {tag for tag, _ in layout.dynamic if tag in SEARCH_TAGS}
    return found.pop() if len(found) == 1 else TAG["DT_RPATH"]


def _renamed(value: int, old: bytes, new: bytes) -> int | Rename:
    return value if old == new else Rename(offset=value, text=new)


def _wanted_versions(
    layout: Layout, table: bytes, versions: Sequence[VersionName], edit: ElfEdit
) -> Iterator[tuple[VersionName, Rename]]:
    """The names of libraries in version tables that change: needed ones, and its own in the base definition."""
    renames = {_encode(layout, old): _encode(layout, new) for old, new in edit.needed}
    soname = dict(layout.dynamic).get(TAG["DT_SONAME"])
    own = {_text(layout, table, soname): _encode(layout, edit.soname)} if edit.soname and soname is not None else {}
    for version in versions:
        names = renames if version.is_file else own if version.hash_at is not None else {}
        if names:
            old = _text(layout, table, version.offset)
            if names.get(old, old) != old:
                yield version, Rename(offset=version.offset, text=names[old])


def _plan_relocations(layout: Layout, draft: Draft) -> None:
    """DT_RELR's relocations before the others (those that DT_RELACOUNT counts come first), and no DT_RELR."""
    tags = dict(layout.dynamic)
    address, size = tags.get(TAG["DT_RELR"]), tags.get(TAG["DT_RELRSZ"], 0)
    if address is None:
        return
    draft.entries = [(tag, value) for tag, value in draft.entries if tag not in RELR_TAGS]
    if not size:
        return
    kind = "RELA" if layout.image.machine in HAS_ADDEND else "REL"
    table, table_size, entry, count = (
        TAG[name] for name in (f"DT_{kind}", f"DT_{kind}SZ", f"DT_{kind}ENT", f"DT_{kind}COUNT")
    )
    expanded = expand_relr(layout.image, address, size)
    old = tags.get(table_size, 0) if table in tags else 0
    rest = bytes(layout.image.at(tags[table], old, "a relocation table")) if old else b""
    draft.relocations = expanded + rest
    row = layout.form.word * (3 if kind == "RELA" else 2)
    counts = {count: tags.get(count, 0) + len(expanded) // row, table_size: len(draft.relocations)}
    draft.entries = [(tag, counts.get(tag, value)) for tag, value in draft.entries]
    if table not in tags:
        draft.entries = [item for item in draft.entries if item[0] not in {table_size, entry}]
        draft.entries += [(table, 0), (table_size, len(draft.relocations)), (entry, row)]
