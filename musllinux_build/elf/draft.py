"""An edit as it stands: the tables as they shall be, and the bytes to write for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from musllinux_build.elf.layout import ALLOCATED, IDENTITY, NOBITS, THREAD_LOCAL, Layout, Program, Section
from musllinux_build.elf.numbers import SEGMENT, TAG
from musllinux_build.elf.psabi import HAS_ADDEND
from musllinux_build.elf.room import Room, growing_segment, make_room

PROGBITS = 1
STRTAB = frozenset({3})
RELOCATIONS = frozenset({4, 9})
DYNAMIC = frozenset({6})
RELR = frozenset({19})
DYNSYM = 11
SPARE_ENTRIES = 4
"""Empty dynamic entries in a section that has moved, so that the next edit finds room; bfd leaves as many."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """Dynamic entries (their addresses those of before), the string table, and relocations when they change.

    ``headers`` are section headers that change, as fields by their old offset, ``writes`` (offset, bytes), later ones
    over earlier ones. The file's first ``keep`` bytes stay, and those from ``tail_from`` on begin at ``tail_to``.
    """

    entries: list[tuple[int, int]]
    strings: bytes
    relocations: bytes | None = None
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    headers: dict[int, list[int]] = field(default_factory=dict)
    keep: int = 0
    tail_from: int = 0
    tail_to: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a table is: in the file, in memory, and its size in bytes."""

    offset: int
    address: int
    size: int


def string_place(layout: Layout) -> tuple[int, int, int]:
    """Address, file offset and size of the dynamic string table.

    Raises:
        WheelError: there is none, or not in the file.
    """
    tags = dict(layout.dynamic)
    address, size = tags.get(TAG["DT_STRTAB"]), tags.get(TAG["DT_STRSZ"])
    if address is None or size is None:
        raise layout.image.corrupt("the dynamic section names no string table")
    offset, room = layout.image.offset_of(address, "the dynamic string table")
    if size > room:
        raise layout.image.corrupt("the dynamic string table runs over the end of its segment")
    return address, offset, size


def string_table(layout: Layout) -> bytes:
    """The dynamic string table."""
    _, offset, size = string_place(layout)
    return bytes(layout.image.data[offset : offset + size])


def place_tables(layout: Layout, draft: Draft) -> None:
    """Finish the draft's writes.

    Raises:
        RepairError: there is no room in the address space.
    """
    _, offset, size = string_place(layout)
    length = len(layout.image.data)
    moves = len(draft.entries) >= layout.capacity
    grows = len(draft.strings) > size
    if not moves and not grows and draft.relocations is None:
        if draft.strings != layout.image.data[offset : offset + size]:
            draft.writes.append((offset, draft.strings))
        if tuple(draft.entries) != layout.dynamic:
            draft.writes.append((layout.dynamic_at, _pack_entries(layout, draft.entries, len(layout.dynamic) + 1)))
        draft.writes.append((layout.programs_at, layout.form.pack_programs(layout.programs)))
        draft.keep = draft.tail_from = draft.tail_to = length
        return
    # A string table at the very end grows where it is; what else is new comes before it.
    growing = growing_segment(layout, writable=moves)
    at_end = growing is not None and growing.end == growing.address + offset + size - growing.offset
    capacity = len(draft.entries) + 1 + SPARE_ENTRIES
    sizes = {
        **({"dynamic": capacity * layout.form.pair.size} if moves else {}),
        **({"relocations": len(draft.relocations)} if draft.relocations is not None else {}),
        **({"strings": len(draft.strings)} if grows or at_end else {}),
    }
    room = make_room(layout, tuple(sizes.values()), cut=offset if at_end else None, writable=moves)
    columns = zip(sizes, room.offsets, room.addresses, sizes.values(), strict=True)
    places = {name: _Place(offset=at, address=address, size=size) for name, at, address, size in columns}
    draft.keep, draft.tail_from, draft.tail_to = room.keep, room.tail_from, room.tail_to
    if growing is not None:
        _move_tail(layout, draft, growing)
    _write_tables(layout, draft, places)
    _write_headers(layout, draft, places, room)


def _move_tail(layout: Layout, draft: Draft, growing: Program) -> None:
    """Sections behind the growing segment moved on, and those that were zeros in memory only given their bytes."""
    for section in layout.sections:
        if section.type == NOBITS:
            zeros = range(growing.address + growing.file_size, growing.end + 1)
            if section.flags & (ALLOCATED | THREAD_LOCAL) == ALLOCATED and section.address in zeros:
                fields = _section(layout, draft, section)
                fields[1], fields[4] = PROGBITS, growing.offset + section.address - growing.address
        elif section.offset >= draft.tail_from and not section.flags & ALLOCATED and section.type:
            _section(layout, draft, section)[4] += draft.tail_to - draft.tail_from


def _write_tables(layout: Layout, draft: Draft, places: Mapping[str, _Place]) -> None:
    """The tables themselves, their sections, and nothing where they were."""
    tags = dict(layout.dynamic)
    kind = TAG["DT_RELA"] if layout.image.machine in HAS_ADDEND else TAG["DT_REL"]
    told: dict[int, int] = {}
    if strings := places.get("strings"):
        told |= {TAG["DT_STRTAB"]: strings.address, TAG["DT_STRSZ"]: strings.size}
        _move_section(layout, draft, tags[TAG["DT_STRTAB"]], STRTAB, strings)
        draft.writes.append((strings.offset, draft.strings))
    else:
        draft.writes.append((string_place(layout)[1], draft.strings))
    if draft.relocations is not None:
        told[kind] = places["relocations"].address
        _move_relocations(layout, draft, kind, places["relocations"])
        draft.writes.append((places["relocations"].offset, draft.relocations))
    draft.entries = [(tag, told.get(tag, value)) for tag, value in draft.entries]
    if moved := places.get("dynamic"):
        draft.writes.append((moved.offset, _pack_entries(layout, draft.entries, 0)))
        section = layout.section_at(_dynamic(layout).address, types=DYNAMIC)
        if section is not None:
            _section(layout, draft, section)[3:6] = [moved.address, moved.offset, moved.size]
    else:
        draft.writes.append((layout.dynamic_at, _pack_entries(layout, draft.entries, len(layout.dynamic) + 1)))


def _write_headers(layout: Layout, draft: Draft, places: Mapping[str, _Place], room: Room) -> None:
    """The program headers, and in the ELF header where they are."""
    rows: Sequence[Program] = room.programs
    if moved := places.get("dynamic"):
        place = {"offset": moved.offset, "address": moved.address, "physical": moved.address}
        size = {"file_size": moved.size, "memory_size": moved.size}
        rows = [replace(row, **place, **size) if row.type == SEGMENT["PT_DYNAMIC"] else row for row in rows]
    draft.writes.append((room.programs_at, layout.form.pack_programs(rows)))
    header = list(layout.header)
    header[4], header[9] = room.programs_at, len(rows)
    moved_by = draft.tail_to - draft.tail_from
    if layout.sections and header[5] >= draft.tail_from:
        header[5] += moved_by
    draft.writes.append((IDENTITY, layout.form.header.pack(*header)))
    for at, fields in draft.headers.items():
        draft.writes.append((at + moved_by if at >= draft.tail_from else at, layout.form.section.pack(*fields)))


def _move_section(layout: Layout, draft: Draft, address: int, types: frozenset[int], place: _Place) -> Section | None:
    """The section at ``address`` told its new place; its old bytes are cleared, for a header says that they were its.

    They compress to nothing then. What lies behind ``draft.keep`` is gone anyway.
    """
    section = layout.section_at(address, types=types)
    if section is None:
        return None
    _section(layout, draft, section)[3:6] = [place.address, place.offset, place.size]
    if section.offset + section.size <= draft.keep and section.offset != place.offset:
        draft.writes.append((section.offset, bytes(section.size)))
    return section


def _move_relocations(layout: Layout, draft: Draft, kind: int, place: _Place) -> None:
    """The relocation section told its new place, and DT_RELR's made plain data, or that section when there is none."""
    tags = dict(layout.dynamic)
    packed = layout.section_at(tags[TAG["DT_RELR"]], types=RELR, size=tags[TAG["DT_RELRSZ"]])
    moved = _move_section(layout, draft, tags[kind], RELOCATIONS, place) if kind in tags else None
    if packed is None:
        return
    draft.writes.append((packed.offset, bytes(packed.size)))
    fields = _section(layout, draft, packed)
    if moved is not None:
        fields[1], fields[9] = PROGBITS, 0
        return
    fields[1] = 4 if kind == TAG["DT_RELA"] else 9
    fields[3:6] = [place.address, place.offset, place.size]
    fields[6] = next((at for at, row in enumerate(layout.sections) if row.type == DYNSYM), 0)
    fields[9] = layout.form.word * (3 if kind == TAG["DT_RELA"] else 2)


def _section(layout: Layout, draft: Draft, section: Section) -> list[int]:
    """The fields of a section header, to be changed."""
    found = layout.form.section.unpack_from(layout.image.data, section.at)
    return draft.headers.setdefault(section.at, list(found))


def _dynamic(layout: Layout) -> Program:
    return next(row for row in layout.programs if row.type == SEGMENT["PT_DYNAMIC"])


def _pack_entries(layout: Layout, entries: Sequence[tuple[int, int]], least: int) -> bytes:
    """The entries and DT_NULL, filled with DT_NULL to ``least`` of them."""
    nulls = max(1, least - len(entries))
    return b"".join(layout.form.pair.pack(*entry) for entry in [*entries, *[(0, 0)] * nulls])
