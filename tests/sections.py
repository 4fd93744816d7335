"""Section headers for objects of elfgen, which have none."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from musllinux_build.arch import Arch


def with_sections(content: bytes, arch: Arch, sections: Mapping[str, bool]) -> bytes:
    """``content`` with sections (name to whether they are allocated); those that are not lie behind everything."""
    wide, mark = arch.row.elf.bits == 64, "<" if arch.row.elf.order == "little" else ">"
    header = Struct(f"{mark}HHI{'QQQ' if wide else 'III'}IHHHHHH")
    row = Struct(f"{mark}{'IIQQQQIIQQ' if wide else 'IIIIIIIIII'}")
    names, rows, body = b"\0", [(0,) * 10], bytearray(content)
    for name, allocated in sections.items():
        offset = 64 if allocated else len(body)
        body += b"" if allocated else b"section of no use to a loader"
        rows.append((len(names), 1, 2 if allocated else 0, offset if allocated else 0, offset, 29, 0, 0, 1, 0))
        names += name.encode() + b"\0"
    rows.append((len(names), 3, 0, 0, len(body), len(names) + 10, 0, 0, 1, 0))
    body += names + b".shstrtab\0"
    fields = list(header.unpack_from(content, 16))
    fields[5], fields[10], fields[11], fields[12] = len(body), row.size, len(rows), len(rows) - 1
    body += b"".join(row.pack(*values) for values in rows)
    header.pack_into(body, 16, *fields)
    return bytes(body)
