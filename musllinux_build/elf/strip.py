"""An object without what loading never reads: symbol tables, debugging sections and the like.

Only bytes behind the last segment go, so every address, offset and program header stays as it is. Section headers up to
the last allocated one are kept with their indexes, which other sections and symbols refer to; tools that edit by
section go on working. No program of the host is needed, and any of the architectures will do.
"""

from __future__ import annotations

from struct import Struct, error

from musllinux_build.elf.reader import MAGIC

ALLOCATED = 0x2
STRING_TABLE, NO_BITS = 3, 8
ARM_ATTRIBUTES = 0x70000003
"""Never loaded, and what tells for which processors an object is (ABI for the Arm Architecture, "Attributes")."""
ALIGNMENT = 8


def strip_elf(content: bytes) -> bytes:
    """``content`` without what lies behind its segments; itself when there is nothing to gain.

    An object whose header or tables do not fit into it is left alone: the reader says what is wrong with it.
    """
    if content[:4] != MAGIC or len(content) < 52:
        return content
    try:
        stripped = _strip(content)
    except error:
        return content
    return stripped if len(stripped) < len(content) else content


def _strip(content: bytes) -> bytes:
    wide, mark = content[4] == 2, "<" if content[5] == 1 else ">"
    header = Struct(f"{mark}HHI{'QQQ' if wide else 'III'}IHHHHHH")
    program = Struct(f"{mark}{'IIQQQQQQ' if wide else 'IIIIIIII'}")
    section = Struct(f"{mark}{'IIQQQQIIQQ' if wide else 'IIIIIIIIII'}")
    fields = list(header.unpack_from(content, 16))
    start, count, sections, section_size, section_count, names_at = fields[4], fields[9], fields[5], *fields[10:13]
    end = start + count * program.size
    for index in range(count):
        row = program.unpack_from(content, start + index * program.size)
        offset, size = (row[2], row[5]) if wide else (row[1], row[4])
        end = max(end, offset + size)
    if end > len(content) or not count:
        return content
    rows = []
    if sections and section_size == section.size:
        rows = [list(section.unpack_from(content, sections + at * section.size)) for at in range(section_count)]
    kept = _kept_rows(content, rows, names_at, end)
    fields[5], fields[11], fields[12] = 0, 0, 0
    size = 16 + header.size
    if not kept:
        return content[:16] + header.pack(*fields) + content[size:end]
    behind, rows = kept
    body = content[:end] + behind
    body += b"\0" * (-len(body) % ALIGNMENT)
    fields[5], fields[11], fields[12] = len(body), len(rows), len(rows) - 1
    return body[:16] + header.pack(*fields) + body[size:] + b"".join(section.pack(*row) for row in rows)


def _kept_rows(content: bytes, rows: list[list[int]], names_at: int, end: int) -> tuple[bytes, list[list[int]]] | None:
    """What is kept behind ``end``, and the headers of all sections that are kept, the one of their names last."""
    last = max((at for at, row in enumerate(rows) if row[2] & ALLOCATED), default=0)
    if not last or names_at >= len(rows):
        return None
    names = _Names(content, rows[names_at])
    kept, behind = [], b""
    for at, row in enumerate(rows):
        inside = row[1] == NO_BITS or row[4] + row[5] <= end
        if at and row[2] & ALLOCATED and inside:
            kept.append([names.take(row[0]), *row[1:]])
        elif row[1] == ARM_ATTRIBUTES:
            kept.append([names.take(row[0]), *row[1:4], end + len(behind), *row[5:]])
            behind += content[row[4] : row[4] + row[5]]
        elif at <= last:
            kept.append([0] * len(row))
    # Links to what is gone, such as from relocations to a symbol table, lead to the null section.
    for row in kept:
        row[6] = row[6] if row[6] <= last else 0
    kept.append([1, STRING_TABLE, 0, 0, end + len(behind), len(names.table), 0, 0, 1, 0])
    return behind + bytes(names.table), kept


class _Names:
    """A table of section names that grows by what is taken over from the old one."""

    def __init__(self, content: bytes, header: list[int]) -> None:
        self._old = content[header[4] : header[4] + header[5]]
        self.table = bytearray(b"\0.shstrtab\0")

    def take(self, offset: int) -> int:
        """The new offset of the name at ``offset``."""
        at = len(self.table)
        self.table += self._old[offset:].split(b"\0", 1)[0] + b"\0"
        return at
