"""Bounded access to an ELF image by virtual address, as a loader that maps its PT_LOAD segments sees it."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from sys import byteorder
from typing import Final, Literal

from musllinux_build.errors import WheelError

LONGEST_NAME = 8192
MOST_SHARING, LEAST_LENGTH = 8, 1 << 20
CODES: Final[Mapping[int, Literal["H", "I", "Q"]]] = {2: "H", 4: "I", 8: "Q"}
"""The array code of an unsigned number of so many bytes."""
MANY_NAMES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One program header; offsets and sizes in bytes."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfImage:
    """An object with its segments and dynamic section, every access checked against the file.

    ``tags`` maps a dynamic tag to its last value, as musl's decode_vec does; ``needed`` keeps the order of DT_NEEDED.
    All methods raise WheelError when the object points outside itself.
    """

    path: str
    data: memoryview
    bits: Literal[32, 64]
    order: Literal["little", "big"]
    machine: int
    segments: tuple[Segment, ...]
    tags: Mapping[int, int]
    needed: tuple[int, ...]

    @property
    def word(self) -> int:
        """Size of an address in bytes."""
        return self.bits // 8

    @property
    def mark(self) -> str:
        """The byte order as struct writes it."""
        return "<" if self.order == "little" else ">"

    def corrupt(self, what: str) -> WheelError:
        """The error for an object that lies about itself."""
        return corrupt(self.path, what)

    def offset_of(self, address: int, what: str) -> tuple[int, int]:
        """File offset of ``address`` and the number of file bytes its segment has from there."""
        for segment in self.segments:
            if segment.type == 1 and segment.address <= address < segment.address + segment.file_size:
                inside = address - segment.address
                return segment.offset + inside, segment.file_size - inside
        raise self.corrupt(f"{what} lies outside every loaded segment")

    def at(self, address: int, size: int, what: str) -> memoryview:
        """``size`` bytes from ``address`` on."""
        offset, room = self.offset_of(address, what)
        if size > room:
            raise self.corrupt(f"{what} runs over the end of its segment")
        return self.data[offset : offset + size]

    def words(self, address: int, count: int, size: Literal[4, 8], what: str) -> array[int]:
        """``count`` unsigned numbers of ``size`` bytes in native order."""
        return self.numbers(self.at(address, count * size, what), size)

    def numbers(self, view: memoryview, size: Literal[2, 4, 8]) -> array[int]:
        """The bytes of ``view`` as unsigned numbers in native order."""
        numbers = array(CODES[size])
        numbers.frombytes(view)
        if self.order != byteorder:
            numbers.byteswap()
        return numbers

    def column(self, table: memoryview, size: Literal[2, 4, 8], first: int, step: int) -> array[int]:
        """Every ``step``-th unsigned number of ``size`` bytes from the ``first`` on, in native order."""
        code = CODES[size]
        numbers = array(code)
        numbers.frombytes(table[: len(table) // size * size].cast(code)[first::step].tobytes())
        if self.order != byteorder:
            numbers.byteswap()
        return numbers

    def rest(self, address: int, what: str) -> memoryview:
        """Everything from ``address`` to the end of its segment."""
        offset, room = self.offset_of(address, what)
        return self.data[offset : offset + room]


@dataclass(frozen=True, kw_only=True)
class StringTable:
    """DT_STRTAB. Names are decoded with surrogateescape, so that any byte survives a round trip."""

    path: str
    content: bytes

    def names(self, offsets: Collection[int]) -> frozenset[str]:
        """The strings at ``offsets``.

        Raises:
            WheelError: one starts or ends outside the table, or is absurdly long.
        """
        if len(offsets) < MANY_NAMES:
            return frozenset(map(self.name, offsets))
        known = self._known
        plain = known.keys() & offsets
        found, length = set(map(known.__getitem__, plain)), 0
        for offset in set(offsets) - plain:
            # A name may be the tail of another one; but when many are, each of them thousands long, that is a bomb.
            length += len(name := self.name(offset))
            if length > MOST_SHARING * len(self.content) + LEAST_LENGTH:
                raise corrupt(self.path, "its names are much longer together than the table they lie in")
            found.add(name)
        return frozenset(found)

    @cached_property
    def _known(self) -> Mapping[int, str]:
        """Offset to string, of those that begin the table or follow a NUL.

        Split at once, a hundred thousand names cost a tenth of looking for the end of each.
        """
        whole = self.content.decode("utf-8", "surrogateescape").split("\0")[:-1] if self.content.isascii() else []
        if max(map(len, whole), default=0) >= LONGEST_NAME:
            return {}
        starts = accumulate(map((1).__add__, map(len, whole)), initial=0)
        return dict(zip(starts, whole, strict=False))

    def name(self, offset: int) -> str:
        """The string at ``offset``.

        Raises:
            WheelError: it starts or ends outside the table, or is absurdly long.
        """
        end = self.content.find(b"\0", offset, offset + LONGEST_NAME)
        if offset >= len(self.content) or end < 0:
            raise corrupt(self.path, "a name lies outside the dynamic string table")
        return self.content[offset:end].decode("utf-8", "surrogateescape")


def corrupt(path: str, what: str) -> WheelError:
    """The error for an ELF file that cannot be what it claims."""
    return WheelError(
        f"{path}: not a sound ELF file: {what}",
        resolution="Build or unpack the file again; a file that is no ELF object must not begin with \\x7fELF.",
    )
