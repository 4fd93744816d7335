"""Zip archives byte by byte: every field of every header can lie, which zipfile would not let it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

STORED, DEFLATED = 0, 8
REGULAR, LINK, FIFO = 0o100644 << 16, 0o120777 << 16, 0o010644 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One member. Every ``local_*`` field is the central one unless a test says otherwise.

    ``packed`` is the data as it lies in the file, ``content`` deflated by default; ``after`` follows it; ``header``
    replaces the offset in the central directory.
    """

    name: bytes
    content: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    made_by: int = 3 << 8 | 20
    attributes: int = REGULAR
    extra: bytes = b""
    comment: bytes = b""
    packed: bytes | None = None
    crc: int | None = None
    packed_size: int | None = None
    size: int | None = None
    header: int | None = None
    after: bytes = b""
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_sizes: tuple[int, int, int] | None = None
    local_extra: bytes | None = None
    skip_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end record: None is what is true."""

    disk: int = 0
    here: int | None = None
    count: int | None = None
    size: int | None = None
    start: int | None = None
    comment: bytes = b""
    comment_size: int | None = None


def deflate(content: bytes, level: int = 6) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    return deflater.compress(content) + deflater.flush()


def build(
    rows: Sequence[Row],
    *,
    end: End | None = None,
    before: bytes = b"",
    between: bytes = b"",
    before_end: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """The archive of ``rows`` with bytes put before it, before its directory, before its end record and after it."""
    out, directory, end = bytearray(before), b"", end or End()
    for row in rows:
        packed = row.packed
        if packed is None:
            packed = row.content if row.method == STORED else deflate(row.content)
        crc = zlib.crc32(row.content) if row.crc is None else row.crc
        packed_size = len(packed) if row.packed_size is None else row.packed_size
        size = len(row.content) if row.size is None else row.size
        header = len(out) if row.header is None else row.header
        if not row.skip_local:
            out += _local(row, (crc, packed_size, size)) + packed + row.after
        fields = (row.made_by, 20, row.flags, row.method, 0, 33, crc, packed_size, size, len(row.name))
        directory += pack(
            "<4s6H3L5H2L", b"PK\x01\x02", *fields, len(row.extra), len(row.comment), 0, 0, row.attributes, header
        )
        directory += row.name + row.extra + row.comment
    out += between
    start = len(out) if end.start is None else end.start
    count = len(rows) if end.count is None else end.count
    here = count if end.here is None else end.here
    size = len(directory) if end.size is None else end.size
    comment_size = len(end.comment) if end.comment_size is None else end.comment_size
    tail = pack("<4s4H2LH", b"PK\x05\x06", end.disk, 0, here, count, size, start, comment_size)
    return bytes(out + directory + before_end + tail + end.comment + after)


def _local(row: Row, sizes: tuple[int, int, int]) -> bytes:
    name = row.name if row.local_name is None else row.local_name
    flags = row.flags if row.local_flags is None else row.local_flags
    method = row.method if row.local_method is None else row.local_method
    extra = row.extra if row.local_extra is None else row.local_extra
    stated = sizes if row.local_sizes is None else row.local_sizes
    return pack("<4s5H3L2H", b"PK\x03\x04", 20, flags, method, 0, 33, *stated, len(name), len(extra)) + name + extra


def extra_field(kind: int, content: bytes) -> bytes:
    return pack("<2H", kind, len(content)) + content
