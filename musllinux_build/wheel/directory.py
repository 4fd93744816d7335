"""The directory of a zip archive (PKWARE's APPNOTE 4.3 and 4.5.3): its end records and its rows, ZIP64 included.

An archive that two readers could understand in two ways is refused: the end records are the end of the file, the
directory lies right before them, and where a number is given twice both are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, error
from typing import NoReturn

from musllinux_build.errors import WheelError
from musllinux_build.wheel.source import Source

END = Struct("<4s4H2LH")
END_MAGIC = b"PK\x05\x06"
END64 = Struct("<4sQ2H2L4Q")
END64_MAGIC = b"PK\x06\x06"
END64_SIZE = END64.size - 12
"""What the record says of its own size: without the first two fields (APPNOTE 4.3.14.1)."""
LOCATOR = Struct("<4sLQL")
LOCATOR_MAGIC = b"PK\x06\x07"
CENTRAL = Struct("<4s6H3L5H2L")
CENTRAL_MAGIC = b"PK\x01\x02"
EXTRA = Struct("<2H")
UNICODE_PATH, ZIP64_EXTRA = 0x7075, 0x1
"""Extra fields (APPNOTE 4.6.9, 4.5.3) that give a member another name, or its sizes with 64 bits."""
UTF8 = 0x800
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF
LARGEST_ROW = 1 << 10
"""A directory may have so many bytes per member, on average; names, extra fields and comments count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the directory; sizes in bytes, ``header`` the offset of the local header."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    mode: int


def read_directory(source: Source, most: int, label: str) -> tuple[list[Entry], int]:
    """All rows in order, and the offset where the directory begins; more than ``most`` members are refused.

    Raises:
        WheelError: there is no directory, or not exactly one.
    """
    count, start, size = _find(source, label)
    if count > most:
        refuse(label, f"{count} members are more than the {most} allowed")
    if size > count * LARGEST_ROW + FULL_16:
        refuse(label, f"a directory of {size} bytes for {count} members")
    try:
        entries = list(_rows(memoryview(source.read(start, size)), label))
    except (error, UnicodeDecodeError) as reason:
        refuse(label, f"its directory is malformed ({reason})")
    if len(entries) != count:
        refuse(label, f"its directory has {len(entries)} members and claims {count}")
    return entries, start


def _find(source: Source, label: str) -> tuple[int, int, int]:
    """Number of members, offset and size of the directory."""
    at = source.size - END.size
    tail = bytes(source.read(max(0, at), END.size))
    if at < 0 or len(tail) < END.size or not tail.startswith(END_MAGIC):
        refuse(label, "it is no zip archive, is cut short, or has bytes or a comment after its end")
    _, disk, first_disk, here, count, size, start, comment = END.unpack(tail)
    if disk or first_disk or here != count or comment:
        refuse(label, "it is in several parts or has a comment")
    locator = bytes(source.read(at - LOCATOR.size, LOCATOR.size)) if at >= LOCATOR.size + END64.size else b""
    if locator.startswith(LOCATOR_MAGIC):
        at -= LOCATOR.size + END64.size
        small, (count, size, start) = (count, size, start), _find64(source, locator, at, label)
        stated = (min(count, FULL_16), min(size, FULL_32), min(start, FULL_32))
        if any(
            one not in (two, full) for one, two, full in zip(small, stated, (FULL_16, FULL_32, FULL_32), strict=True)
        ):
            refuse(label, "its two end records disagree")
    elif count == FULL_16 or FULL_32 in (size, start):
        refuse(label, "its end record asks for ZIP64 and there is no ZIP64 record")
    if start + size != at:
        refuse(label, "its directory does not lie before its end record")
    return count, start, size


def _find64(source: Source, locator: bytes, at: int, label: str) -> tuple[int, int, int]:
    """The numbers of the ZIP64 end record, which must lie right before its locator."""
    _, disk, stated, disks = LOCATOR.unpack(locator)
    record = END64.unpack(bytes(source.read(at, END64.size)))
    magic, length, _, _, own_disk, first_disk, here, count, size, start = record
    if (
        (magic, length, disk, disks, own_disk, first_disk) != (END64_MAGIC, END64_SIZE, 0, 1, 0, 0)
        or stated != at
        or here != count
    ):
        refuse(label, "its ZIP64 end record is not where its locator says, in several parts or malformed")
    return count, size, start


def _rows(directory: memoryview, label: str) -> Iterator[Entry]:
    position = 0
    while position < len(directory):
        row = CENTRAL.unpack_from(directory, position)
        magic, flags, method, crc, packed, size = row[0], row[3], row[4], row[7], row[8], row[9]
        name_size, extra_size, comment_size, external, header = row[10], row[11], row[12], row[15], row[16]
        if magic != CENTRAL_MAGIC or row[13]:
            refuse(label, "its directory is malformed")
        name_at = position + CENTRAL.size
        extra_at = name_at + name_size
        position = extra_at + extra_size + comment_size
        if position > len(directory):
            refuse(label, "its directory is cut short")
        raw_name = bytes(directory[name_at:extra_at])
        # Without the flag the name is in an unknown 8-bit code, and installers would not agree on it.
        name = raw_name.decode("utf-8" if flags & UTF8 else "ascii")
        wide = sizes64(directory[extra_at : extra_at + extra_size], name, label) if extra_size else ()
        size, packed, header = widened((size, packed, header), wide, name, label)
        yield Entry(
            name=name,
            raw_name=raw_name,
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            header=header,
            # Whatever system the row names: pip looks at these bits on all of them.
            mode=external >> 16,
        )


def sizes64(extra: memoryview, name: str, label: str) -> tuple[int, ...]:
    """The 64-bit numbers in the extra fields of a header.

    Raises:
        WheelError: the fields are not whole, or give the member a second name or numbers twice.
    """
    found: tuple[int, ...] = ()
    position = 0
    while position < len(extra):
        kind, size = EXTRA.unpack_from(extra, position) if position + EXTRA.size <= len(extra) else (0, len(extra))
        position += EXTRA.size + size
        if position > len(extra):
            refuse(label, f"{name!r} has an extra field that is cut short")
        if kind == UNICODE_PATH or (kind == ZIP64_EXTRA and (found or size not in (8, 16, 24))):
            refuse(label, f"{name!r} has a second name or second sizes in an extra field")
        if kind == ZIP64_EXTRA:
            found = Struct(f"<{size // 8}Q").unpack(extra[position - size : position])
    return found


def widened(fields: tuple[int, int, int], wide: tuple[int, ...], name: str, label: str) -> tuple[int, int, int]:
    """Size, packed size and offset; those that are 0xFFFFFFFF are in ``wide``, in this order, and no others are.

    Raises:
        WheelError: a number is missing, or there is one that is not asked for.
    """
    asked = sum(field == FULL_32 for field in fields)
    if asked != len(wide):
        why = "asks for ZIP64 sizes that it has not" if asked > len(wide) else "has second sizes in an extra field"
        refuse(label, f"{name!r} {why}")
    numbers = iter(wide)
    size, packed, header = (next(numbers) if field == FULL_32 else field for field in fields)
    return size, packed, header


def refuse(label: str, why: str) -> NoReturn:
    """Raise the error for an archive that is not safe or not unambiguous to unpack."""
    raise WheelError(f"{label}: not a valid wheel archive: {why}", resolution="Build the wheel again.")
