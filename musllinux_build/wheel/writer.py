"""A normalised wheel archive: the same members give the same bytes, whatever the machine.

Members are sorted, ``.dist-info`` last and RECORD at the very end (PEP 427 recommends it), dated alike, with mode 0644
or 0755, without directory entries. A member that did not change is copied as it was packed.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from musllinux_build.wheel.archive import DEFLATED, LOCAL, STORED
from musllinux_build.wheel.directory import CENTRAL, END, UTF8

EARLIEST = 315532800
"""1980-01-01T00:00:00Z in seconds, the first moment a zip archive can express."""
LEVEL = 6
MADE_BY_UNIX = 3 << 8 | 20
NEEDED_VERSION = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A member ready to be written."""

    name: str
    method: Literal[0, 8]
    crc: int
    size: int
    content: bytes | memoryview
    executable: bool


def pack(name: str, content: bytes, *, executable: bool, level: int = LEVEL) -> Packed:
    """``content`` deflated, or stored when that is shorter."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(content) + deflater.flush()
    smaller = len(deflated) < len(content)
    return Packed(
        name=name,
        method=DEFLATED if smaller else STORED,
        crc=zlib.crc32(content),
        size=len(content),
        content=deflated if smaller else content,
        executable=executable,
    )


def member_order(name: str, dist_info: str) -> tuple[bool, bool, str]:
    """The sort key of a member; ``dist_info`` is the directory's name without slash."""
    return (name.startswith(f"{dist_info}/"), name == f"{dist_info}/RECORD", name)


def write_archive(members: Iterable[Packed], *, epoch: int = EARLIEST) -> Iterator[bytes | memoryview]:
    """The archive of ``members`` in their order, in chunks, every member dated ``epoch`` (seconds, UTC)."""
    date, clock = _dos_time(epoch)
    position, rows = 0, []
    for member in members:
        name = member.name.encode()
        flags = UTF8 if len(name) != len(member.name) else 0
        common = (flags, member.method, clock, date, member.crc, len(member.content), member.size, len(name), 0)
        yield LOCAL.pack(b"PK\x03\x04", NEEDED_VERSION, *common) + name
        yield member.content
        mode = 0o100755 if member.executable else 0o100644
        rows.append(
            CENTRAL.pack(b"PK\x01\x02", MADE_BY_UNIX, NEEDED_VERSION, *common, 0, 0, 0, mode << 16, position) + name
        )
        position += LOCAL.size + len(name) + len(member.content)
    directory = b"".join(rows)
    yield directory
    yield END.pack(b"PK\x05\x06", 0, 0, len(rows), len(rows), len(directory), position, 0)


def _dos_time(epoch: int) -> tuple[int, int]:
    when = time.gmtime(max(epoch, EARLIEST))
    return (when.tm_year - 1980) << 9 | when.tm_mon << 5 | when.tm_mday, (
        when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
    )
