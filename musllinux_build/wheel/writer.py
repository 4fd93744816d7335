"""A normalised wheel archive: the same members give the same bytes, whatever the machine.

Members are sorted, ``.dist-info`` last and RECORD at the very end (PEP 427 recommends it), dated alike, with mode 0644
or 0755, without directory entries. A member that did not change is copied as it was packed.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Literal

from musllinux_build.wheel.archive import DEFLATED, LOCAL, LOCAL_MAGIC, STORED
from musllinux_build.wheel.codec import Buffer, Spread, find_codec, in_turn
from musllinux_build.wheel.directory import (
    CENTRAL,
    CENTRAL_MAGIC,
    END,
    END64,
    END64_MAGIC,
    END64_SIZE,
    END_MAGIC,
    FULL_16,
    FULL_32,
    LOCATOR,
    LOCATOR_MAGIC,
    UTF8,
    ZIP64_EXTRA,
)
from musllinux_build.wheel.source import Extent

EARLIEST = 315532800
"""1980-01-01T00:00:00Z in seconds, the first moment a zip archive can express."""
LEVEL = 6
UNIX = 3 << 8
NEEDED_VERSION, NEEDED_FOR_ZIP64 = 20, 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A member ready to be written; ``content`` is as it stands in the archive, in memory or where it can be read."""

    name: str
    method: Literal[0, 8]
    crc: int
    size: int
    content: Buffer | Extent
    executable: bool


def pack(name: str, content: Buffer, *, executable: bool, level: int = LEVEL, spread: Spread = in_turn) -> Packed:
    """``content`` deflated, or stored when that is shorter or ``level`` is 0."""
    deflated = find_codec().deflate(content, level, spread) if level else None
    return Packed(
        name=name,
        method=STORED if deflated is None else DEFLATED,
        crc=zlib.crc32(content),
        size=len(content),
        content=content if deflated is None else deflated,
        executable=executable,
    )


def member_order(name: str, dist_info: str) -> tuple[bool, bool, str]:
    """The sort key of a member; ``dist_info`` is the directory's name without slash."""
    return (name.startswith(f"{dist_info}/"), name == f"{dist_info}/RECORD", name)


def write_archive(members: Iterable[Packed], *, epoch: int = EARLIEST) -> Iterator[Buffer]:
    """The archive of ``members`` in their order, in chunks, every member dated ``epoch`` (seconds, UTC)."""
    when = _dos_time(epoch)
    position, rows = 0, []
    for member in members:
        local, row = _headers(member, position, when)
        yield local
        if isinstance(member.content, Extent):
            yield from member.content.chunks()
        else:
            yield member.content
        rows.append(row)
        position += len(local) + len(member.content)
    directory = b"".join(rows)
    yield directory
    yield _end(len(rows), len(directory), position)


def _headers(member: Packed, position: int, when: tuple[int, int]) -> tuple[bytes, bytes]:
    """The local header, and the row of the directory; numbers that do not fit follow with 64 bits (ZIP64)."""
    (date, clock), name, packed = when, member.name.encode(), len(member.content)
    flags = UTF8 if len(name) != len(member.name) else 0
    sizes = (member.size, packed) if max(member.size, packed) >= FULL_32 else ()
    places = (position,) if position >= FULL_32 else ()
    version = NEEDED_FOR_ZIP64 if sizes or places else NEEDED_VERSION
    own, other = _extra(sizes), _extra((*sizes, *places))
    stated = (FULL_32, FULL_32) if sizes else (packed, member.size)
    common = (flags, member.method, clock, date, member.crc, *stated, len(name))
    local = LOCAL.pack(LOCAL_MAGIC, version, *common, len(own)) + name + own
    mode = 0o100755 if member.executable else 0o100644
    place = min(position, FULL_32)
    row = CENTRAL.pack(CENTRAL_MAGIC, UNIX | version, version, *common, len(other), 0, 0, 0, mode << 16, place)
    return local, row + name + other


def _extra(numbers: tuple[int, ...]) -> bytes:
    return Struct(f"<2H{len(numbers)}Q").pack(ZIP64_EXTRA, 8 * len(numbers), *numbers) if numbers else b""


def _end(count: int, size: int, start: int) -> bytes:
    """The end records; those of ZIP64 only where a number needs them."""
    last = END.pack(
        END_MAGIC, 0, 0, min(count, FULL_16), min(count, FULL_16), min(size, FULL_32), min(start, FULL_32), 0
    )
    if count < FULL_16 and max(size, start) < FULL_32:
        return last
    version = NEEDED_FOR_ZIP64
    record = END64.pack(END64_MAGIC, END64_SIZE, UNIX | version, version, 0, 0, count, count, size, start)
    return record + LOCATOR.pack(LOCATOR_MAGIC, 0, start + size, 1) + last


def _dos_time(epoch: int) -> tuple[int, int]:
    when = time.gmtime(max(epoch, EARLIEST))
    return (when.tm_year - 1980) << 9 | when.tm_mon << 5 | when.tm_mday, (
        when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
    )
