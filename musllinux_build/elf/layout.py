"""The raw tables of an object that an edit rewrites: ELF header, program headers, dynamic entries, section headers.

Everything else is reached by address through the ``image``, whose accesses are bounded. Section headers are only kept
when every one of them lies inside the file: they are for tools, and a loader never looks at them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct, error
from typing import Literal

from musllinux_build.elf.image import ElfImage, Segment, corrupt
from musllinux_build.elf.numbers import SEGMENT, TAG
from musllinux_build.elf.reader import MAGIC, MOST_SEGMENTS, MOST_TAGS

EXECUTABLE, SHARED = 2, 3
NOBITS = 8
ALLOCATED, THREAD_LOCAL = 0x2, 0x400
IDENTITY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program header (gABI, "Program Header"), its fields in the order of the 64-bit class."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int

    @property
    def end(self) -> int:
        """The address behind its last byte in memory."""
        return self.address + self.memory_size

    @property
    def file_end(self) -> int:
        """The offset behind its last byte in the file."""
        return self.offset + self.file_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The fields of a section header that an edit looks at; ``at`` is where the header itself lies in the file."""

    at: int
    type: int
    flags: int
    address: int
    offset: int
    size: int

    @property
    def is_mapped(self) -> bool:
        """Whether its bytes in the file are part of a segment (SHF_ALLOC)."""
        return bool(self.flags & ALLOCATED) and self.type != NOBITS and bool(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How numbers and tables of one class and byte order are written."""

    bits: Literal[32, 64]
    mark: Literal["<", ">"]

    @property
    def word(self) -> int:
        """Size of an address in bytes."""
        return self.bits // 8

    @property
    def header(self) -> Struct:
        """What follows e_ident in the ELF header."""
        return Struct(f"{self.mark}HHI{'QQQ' if self.bits == 64 else 'III'}IHHHHHH")

    @property
    def program(self) -> Struct:
        """A program header."""
        return Struct(f"{self.mark}{'IIQQQQQQ' if self.bits == 64 else 'IIIIIIII'}")

    @property
    def section(self) -> Struct:
        """A section header; its fields have the same order in both classes."""
        return Struct(f"{self.mark}{'IIQQQQIIQQ' if self.bits == 64 else 'IIIIIIIIII'}")

    @property
    def pair(self) -> Struct:
        """A dynamic entry, or any two words."""
        return Struct(f"{self.mark}{'QQ' if self.bits == 64 else 'II'}")

    def unpack_program(self, row: bytes | memoryview) -> Program:
        """The program header in ``row``; p_flags stands elsewhere in the 32-bit class."""
        if self.bits == 64:
            kind, flags, offset, address, physical, file_size, memory_size, align = self.program.unpack(row)
        else:
            kind, offset, address, physical, file_size, memory_size, flags, align = self.program.unpack(row)
        return Program(
            type=kind,
            flags=flags,
            offset=offset,
            address=address,
            physical=physical,
            file_size=file_size,
            memory_size=memory_size,
            align=align,
        )

    def pack_programs(self, rows: Iterable[Program]) -> bytes:
        """The bytes of a table of program headers."""
        table = bytearray()
        for row in rows:
            place = (row.offset, row.address, row.physical, row.file_size, row.memory_size)
            if self.bits == 64:
                table += self.program.pack(row.type, row.flags, *place, row.align)
            else:
                table += self.program.pack(row.type, *place, row.flags, row.align)
        return bytes(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """An object's tables.

    ``dynamic`` are its entries before DT_NULL, ``dynamic_at`` and ``capacity`` where they lie in the file and how many
    there is room for; ``header`` are the fields after e_ident.
    """

    form: Form
    image: ElfImage
    header: tuple[int, ...]
    programs: tuple[Program, ...]
    dynamic: tuple[tuple[int, int], ...]
    dynamic_at: int
    capacity: int
    sections: tuple[Section, ...]

    @property
    def programs_at(self) -> int:
        """e_phoff."""
        return self.header[4]

    @property
    def loads(self) -> tuple[Program, ...]:
        """The PT_LOAD program headers."""
        return tuple(row for row in self.programs if row.type == SEGMENT["PT_LOAD"])

    @property
    def kernel_loads(self) -> bool:
        """Whether the kernel maps it and tells it where its program headers are: a program, or one with an interp."""
        return self.header[0] == EXECUTABLE or any(row.type == SEGMENT["PT_INTERP"] for row in self.programs)

    def section_at(self, address: int, *, types: frozenset[int], size: int | None = None) -> Section | None:
        """The section of one of ``types`` that begins at ``address``, and has ``size`` bytes when that is given."""
        found = (row for row in self.sections if row.type in types and row.address == address)
        return next((row for row in found if size is None or row.size == size), None)


def read_layout(content: bytes | bytearray, path: str) -> Layout | None:
    """The tables of a dynamic object; None when it has no dynamic section or is no program or library.

    Raises:
        WheelError: the tables contradict the file.
    """
    view = memoryview(content)
    if bytes(view[:4]) != MAGIC or len(view) < 52 or view[4] not in {1, 2} or view[5] not in {1, 2}:
        raise corrupt(path, "the header is cut short or of no known class or byte order")
    form = Form(bits=64 if view[4] == 2 else 32, mark="<" if view[5] == 1 else ">")
    try:
        header = form.header.unpack_from(view, IDENTITY)
    except error:
        raise corrupt(path, "the header is cut short") from None
    if header[0] not in {EXECUTABLE, SHARED}:
        return None
    programs = _read_programs(view, path, form, header)
    image = _image(view, path, form, header[1], programs)
    place = next((row for row in programs if row.type == SEGMENT["PT_DYNAMIC"]), None)
    if place is None:
        return None
    capacity = place.file_size // form.pair.size
    at, room = image.offset_of(place.address, "the dynamic section")
    if capacity * form.pair.size > room:
        raise corrupt(path, "the dynamic section runs over the end of its segment")
    return Layout(
        form=form,
        image=image,
        header=header,
        programs=programs,
        dynamic=_read_dynamic(view, path, form, at, capacity),
        dynamic_at=at,
        capacity=capacity,
        sections=_read_sections(view, form, header),
    )


def _read_programs(view: memoryview, path: str, form: Form, header: tuple[int, ...]) -> tuple[Program, ...]:
    start, size, count = header[4], header[8], header[9]
    if not count or count > MOST_SEGMENTS or size != form.program.size or start + count * size > len(view):
        raise corrupt(path, "the program headers do not fit into the file")
    rows = tuple(form.unpack_program(view[start + at * size :][:size]) for at in range(count))
    if any(row.type == SEGMENT["PT_LOAD"] and row.offset + row.file_size > len(view) for row in rows):
        raise corrupt(path, "a loaded segment runs over the end of the file")
    return rows


def _image(view: memoryview, path: str, form: Form, machine: int, programs: tuple[Program, ...]) -> ElfImage:
    """Bounded access to what the segments map."""
    segments = tuple(
        Segment(
            type=row.type,
            flags=row.flags,
            offset=row.offset,
            address=row.address,
            file_size=row.file_size,
            memory_size=row.memory_size,
        )
        for row in programs
    )
    order: Literal["little", "big"] = "little" if form.mark == "<" else "big"
    return ElfImage(
        path=path, data=view, bits=form.bits, order=order, machine=machine, segments=segments, tags={}, needed=()
    )


def _read_dynamic(view: memoryview, path: str, form: Form, at: int, capacity: int) -> tuple[tuple[int, int], ...]:
    entries: list[tuple[int, int]] = []
    for position in range(min(capacity, MOST_TAGS)):
        tag, value = form.pair.unpack_from(view, at + position * form.pair.size)
        if tag == TAG["DT_NULL"]:
            return tuple(entries)
        entries.append((tag, value))
    raise corrupt(path, "the dynamic section has no end")


def _read_sections(view: memoryview, form: Form, header: tuple[int, ...]) -> tuple[Section, ...]:
    """The section headers; none when any of them is not what the file can hold."""
    start, size, count = header[5], header[10], header[11]
    if not start or size != form.section.size or start + count * size > len(view):
        return ()
    rows = []
    for at in range(start, start + count * size, size):
        _, kind, flags, address, offset, length, *_ = form.section.unpack_from(view, at)
        if kind not in {0, NOBITS} and offset + length > len(view):
            return ()
        rows.append(Section(at=at, type=kind, flags=flags, address=address, offset=offset, size=length))
    return tuple(rows)
