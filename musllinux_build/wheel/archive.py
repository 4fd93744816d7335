"""A wheel's zip archive as checked members, and members as a normalised archive.

Reading refuses what an installer could understand in two ways (PyPI's zip rules of 2025): one directory at the end and
nothing before, between or after, local headers equal to central ones, no duplicate or overlapping members, no names
that leave the directory, no links. Sizes are checked before anything is inflated.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct, error
from typing import Final, Literal, NoReturn

from musllinux_build.errors import WheelError
from musllinux_build.wheel.names import check_names

END = Struct("<4s4H2LH")
CENTRAL = Struct("<4s6H3L5H2L")
LOCAL = Struct("<4s5H3L2H")
DESCRIPTOR = b"PK\x07\x08"
STORED: Final = 0
DEFLATED: Final = 8
ENCRYPTED, HAS_DESCRIPTOR, PATCH, UTF8 = 0x1 | 0x40 | 0x2000, 0x8, 0x20, 0x800
UNICODE_PATH, ZIP64 = 0x7075, 0x1
"""Extra fields (APPNOTE 4.6.9, 4.5.3) that give a member another name, or other sizes."""
FULL_32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is too much to unpack: members, bytes of one and of all, and the ratio of large ones."""

    members: int = 100_000
    member_size: int = 4 << 30
    total_size: int = 16 << 30
    ratio: int = 200
    ratio_from: int = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One regular file of an archive. ``start`` is where its data begins; sizes in bytes."""

    name: str
    method: Literal[0, 8]
    crc: int
    packed: int
    size: int
    start: int
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A checked archive over its bytes (or a map of them); members in the order of the central directory."""

    label: str
    data: memoryview
    members: Mapping[str, Member]

    def raw(self, name: str) -> memoryview:
        """The packed bytes of a member."""
        member = self.members[name]
        return self.data[member.start : member.start + member.packed]

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            WheelError: it does not inflate to the size and checksum the archive states.
        """
        member = self.members[name]
        raw = self.raw(name)
        if member.method == STORED:
            content = bytes(raw)
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                content = inflater.decompress(raw, member.size + 1)
            except zlib.error as reason:
                _refuse(self.label, f"{name!r} does not inflate: {reason}")
            if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
                _refuse(self.label, f"{name!r} inflates to another size than stated")
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            _refuse(self.label, f"{name!r} differs from its size or checksum")
        return content


def read_archive(data: bytes | memoryview, label: str, limits: Limits | None = None) -> Archive:
    """The members of the zip archive in ``data``; ``label`` names it in messages.

    Raises:
        WheelError: it is no zip archive, or one that is not safe or not unambiguous to unpack.
    """
    view, limits = memoryview(data), limits or Limits()
    count, start, size = _find_directory(view, label)
    if count > limits.members:
        _refuse(label, f"{count} members are more than the {limits.members} allowed")
    try:
        entries = list(_entries(view[start : start + size], label))
    except (error, UnicodeDecodeError) as reason:
        _refuse(label, f"its directory is malformed ({reason})")
    if len(entries) != count:
        _refuse(label, f"its directory has {len(entries)} members and claims {count}")
    check_names([entry.name for entry in entries], label)
    _check_entries(entries, limits, label, len(view))
    members, spans = {}, []
    for entry in entries:
        begin, end = _match_local(view, entry, label)
        spans.append((entry.header, end))
        if not entry.name.endswith("/"):
            members[entry.name] = _member(entry, begin)
    _check_spans(sorted(spans), start, label)
    return Archive(label=label, data=view, members=members)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A row of the central directory."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    mode: int
    extra: memoryview


def _find_directory(view: memoryview, label: str) -> tuple[int, int, int]:
    """Number of members, offset and size of the central directory; the end record must be the end of the file."""
    if len(view) < END.size or bytes(view[-END.size : -END.size + 4]) != b"PK\x05\x06":
        _refuse(label, "it is no zip archive, is cut short, or has bytes or a comment after its end")
    _, disk, first_disk, here, count, size, start, comment = END.unpack(view[-END.size :])
    if disk or first_disk or here != count or comment:
        _refuse(label, "it is in several parts or has a comment")
    if count == 0xFFFF or FULL_32 in (size, start):
        _refuse(label, "it is a ZIP64 archive (more than 4 GiB or 65534 members), which is not supported yet")
    if start + size != len(view) - END.size:
        _refuse(label, "its directory does not lie before its end record")
    return count, start, size


def _entries(directory: memoryview, label: str) -> Iterator[_Entry]:
    position = 0
    while position < len(directory):
        row = CENTRAL.unpack_from(directory, position)
        magic, flags, method, crc, packed, size = row[0], row[3], row[4], row[7], row[8], row[9]
        name_size, extra_size, comment_size, external, header = row[10], row[11], row[12], row[15], row[16]
        if magic != b"PK\x01\x02":
            _refuse(label, "its directory is malformed")
        position += CENTRAL.size
        raw_name = bytes(directory[position : position + name_size])
        extra = directory[position + name_size : position + name_size + extra_size]
        position += name_size + extra_size + comment_size
        if position > len(directory):
            _refuse(label, "its directory is cut short")
        # Without the flag the name is in an unknown 8-bit code, and installers would not agree on it.
        name = raw_name.decode("utf-8" if flags & UTF8 else "ascii")
        yield _Entry(
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
            extra=extra,
        )


def _check_entries(entries: list[_Entry], limits: Limits, label: str, available: int) -> None:
    """What the directory promises, before anything is inflated; ``available`` is the size of the archive."""
    for entry in entries:
        if why := _fault(entry) or _excess(entry.size, entry.packed, limits):
            _refuse(label, f"{entry.name!r} {why}")
        _check_extra(entry.extra, entry.name, label)
    total = sum(entry.size for entry in entries)
    if total > limits.total_size:
        _refuse(label, f"it would be {total} bytes, more than the {limits.total_size} allowed")
    if total > limits.ratio_from and total > available * limits.ratio:
        _refuse(label, f"it would grow more than {limits.ratio}-fold to {total} bytes")


def _fault(entry: _Entry) -> str:
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & ENCRYPTED:
        return "is encrypted"
    if entry.flags & PATCH or entry.method not in (STORED, DEFLATED):
        return f"is packed by method {entry.method} or as a patch; wheels use stored or deflated"
    if FULL_32 in (entry.packed, entry.size, entry.header):
        return "is a ZIP64 member, which is not supported yet"
    if (entry.method == STORED and entry.packed != entry.size) or (entry.name.endswith("/") and entry.size):
        return "is stored and has two sizes, or is a directory with content"
    if kind and not (stat.S_ISDIR(entry.mode) if entry.name.endswith("/") else stat.S_ISREG(entry.mode)):
        return "is a link or device; wheels hold regular files"
    return ""


def _excess(size: int, packed: int, limits: Limits) -> str:
    if size > limits.member_size:
        return f"would be {size} bytes, more than the {limits.member_size} allowed"
    if size > limits.ratio_from and size > packed * limits.ratio:
        return f"would grow more than {limits.ratio}-fold to {size} bytes"
    return ""


def _check_extra(extra: memoryview, name: str, label: str) -> None:
    """Extra fields are whole, and none says again what the header says."""
    position = 0
    while position < len(extra):
        if position + 4 > len(extra):
            _refuse(label, f"{name!r} has an extra field that is cut short")
        kind, size = Struct("<2H").unpack_from(extra, position)
        if kind in (UNICODE_PATH, ZIP64):
            _refuse(label, f"{name!r} has a second name or second sizes in an extra field")
        position += 4 + size
    if position != len(extra):
        _refuse(label, f"{name!r} has an extra field that is cut short")


def _match_local(view: memoryview, entry: _Entry, label: str) -> tuple[int, int]:
    """Where the data of ``entry`` begins and where its descriptor, or else its data, ends."""
    try:
        magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack_from(view, entry.header)
    except error:
        _refuse(label, f"{entry.name!r} lies outside the file")
    begin = entry.header + LOCAL.size + name_size + extra_size
    end = begin + entry.packed
    raw_name = bytes(view[entry.header + LOCAL.size : entry.header + LOCAL.size + name_size])
    sizes = (crc, packed, size)
    stated = (entry.crc, entry.packed, entry.size)
    if (
        magic != b"PK\x03\x04"
        or end > len(view)
        or (flags, method, raw_name)
        != (
            entry.flags,
            entry.method,
            entry.raw_name,
        )
    ):
        _refuse(label, f"{entry.name!r} has two headers that disagree")
    _check_extra(view[begin - extra_size : begin], entry.name, label)
    if flags & HAS_DESCRIPTOR:
        # The descriptor repeats checksum and sizes after the data, with or without its own signature.
        # Who reads such data as a stream takes the first signature for their end.
        if method == STORED and sizes != stated and DESCRIPTOR in bytes(view[begin:end]):
            _refuse(label, f"{entry.name!r} is stored and ends in two places")
        after = bytes(view[end : end + 16])
        width = 16 if after.startswith(DESCRIPTOR) else 12
        if Struct("<3L").unpack_from(after.ljust(16, b"\0"), width - 12) != stated or sizes not in (stated, (0, 0, 0)):
            _refuse(label, f"{entry.name!r} has a data descriptor that disagrees")
        return begin, end + width
    if sizes != stated:
        _refuse(label, f"{entry.name!r} has two headers that disagree")
    return begin, end


def _check_spans(spans: list[tuple[int, int]], directory: int, label: str) -> None:
    """Members must lie one after the other from the first byte to the directory."""
    position = 0
    for begin, end in spans:
        if begin != position:
            _refuse(label, "members overlap, or there are bytes between them that belong to none")
        position = end
    if position != directory:
        _refuse(label, "there are bytes between the last member and the directory")


def _member(entry: _Entry, begin: int) -> Member:
    return Member(
        name=entry.name,
        method=STORED if entry.method == STORED else DEFLATED,
        crc=entry.crc,
        packed=entry.packed,
        size=entry.size,
        start=begin,
        executable=bool(entry.mode & 0o111),
    )


def _refuse(label: str, why: str) -> NoReturn:
    raise WheelError(f"{label}: not a valid wheel archive: {why}", resolution="Build the wheel again.")
