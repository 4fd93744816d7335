"""PT_NOTE segments: the build id and the x86 ISA level an object says it needs (System V ABI, "Note Section").

Notes never decide how an object is loaded, so a note that contradicts itself ends the reading and is no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from musllinux_build.elf.image import ElfImage

NOTE = 4
BUILD_ID, PROPERTY = 3, 5
ISA_NEEDED = 0xC0008002
"""GNU_PROPERTY_X86_ISA_1_NEEDED (x86-64 psABI, "Program Property")."""
X86 = frozenset({3, 62})
MOST_NOTES = 64
LARGEST = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """``build_id`` in hex; ``isa`` is the highest x86-64 level named (2, 3, 4), 1 the baseline, 0 none named."""

    build_id: str | None = None
    isa: int = 0


def read_notes(image: ElfImage) -> Notes:
    """The notes of ``image``, as far as they are sound."""
    build_id, isa = None, 0
    for kind, content in _notes(image):
        if kind == BUILD_ID and build_id is None:
            build_id = bytes(content[:64]).hex()
        elif kind == PROPERTY and image.machine in X86:
            isa = max(isa, _isa(image, content))
    return Notes(build_id=build_id, isa=isa)


def _notes(image: ElfImage) -> Iterator[tuple[int, memoryview]]:
    """Type and content of every note of owner ``GNU``."""
    header = Struct(f"{image.mark}III")
    for segment in image.segments:
        if segment.type != NOTE or segment.offset > len(image.data):
            continue
        view = image.data[segment.offset : segment.offset + min(segment.file_size, LARGEST)]
        position = 0
        for _ in range(MOST_NOTES):
            if position + header.size > len(view):
                break
            name_size, size, kind = header.unpack_from(view, position)
            name = position + header.size
            start = name + (name_size + 3 & ~3)
            if start + size > len(view):
                break
            if bytes(view[name : name + name_size]) == b"GNU\0":
                yield kind, view[start : start + size]
            position = start + (size + 3 & ~3)


def _isa(image: ElfImage, content: memoryview) -> int:
    """The level of one .note.gnu.property: rows of type, size and data, each aligned to a word."""
    row = Struct(f"{image.mark}II")
    position, level = 0, 0
    while position + row.size <= len(content):
        kind, size = row.unpack_from(content, position)
        value = content[position + row.size : position + row.size + size]
        if kind == ISA_NEEDED and len(value) == 4:
            # Bit 0 is the baseline, bits 1 to 3 are v2 to v4.
            level = max(level, (int.from_bytes(value, image.order) & 0xF).bit_length())
        position += row.size + (size + image.word - 1) // image.word * image.word
    return level
