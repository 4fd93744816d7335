"""A wheel's zip archive as checked members.

Reading refuses what an installer could understand in two ways (PyPI's zip rules of 2025): one directory at the end and
nothing before, between or after, local headers equal to central ones, no duplicate or overlapping members, no names
that leave the directory, no links. Sizes are checked before anything is inflated, and no more of the file is in memory
than the member at hand.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from struct import Struct, error
from typing import Final, Literal

from musllinux_build.wheel.codec import BadStreamError, find_codec
from musllinux_build.wheel.directory import Entry, read_directory, refuse, sizes64, widened
from musllinux_build.wheel.names import check_names
from musllinux_build.wheel.source import Extent, MemorySource, Source, chunks

LOCAL = Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"
DESCRIPTOR = b"PK\x07\x08"
STORED: Final = 0
DEFLATED: Final = 8
ENCRYPTED, HAS_DESCRIPTOR, PATCH = 0x1 | 0x40 | 0x2000, 0x8, 0x20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is too much to unpack: members, bytes of one and of all, and the ratio of large ones."""

    members: int = 100_000
    member_size: int = 8 << 30
    total_size: int = 32 << 30
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
    """A checked archive; members in the order of the central directory."""

    label: str
    source: Source
    members: Mapping[str, Member]

    def raw(self, name: str) -> Extent:
        """Where the packed bytes of a member are."""
        member = self.members[name]
        return Extent(source=self.source, offset=member.start, size=member.packed)

    def weight(self, name: str) -> int:
        """Bytes in memory while a member is read."""
        member = self.members[name]
        return member.size + member.packed

    def read(self, name: str) -> bytearray:
        """The content of a member.

        Raises:
            WheelError: it does not inflate to the size and checksum the archive states.
        """
        out = bytearray(self.members[name].size)
        self.read_into(name, out)
        return out

    def read_into(self, name: str, out: mmap | bytearray) -> None:
        """Put the content of a member at the beginning of ``out``, which must have room for it.

        Raises:
            WheelError: it does not inflate to the size and checksum the archive states.
        """
        member = self.members[name]
        raw = self.source.read(member.start, member.packed)
        if len(raw) != member.packed:
            refuse(self.label, f"{name!r} is cut short")
        with memoryview(out)[: member.size] as view:
            if member.method == STORED:
                view[:] = raw
            else:
                try:
                    find_codec().inflate(raw, out, member.size)
                except BadStreamError as reason:
                    refuse(self.label, f"{name!r} does not inflate to what is stated: {reason}")
            if find_codec().crc32(view) != member.crc:
                refuse(self.label, f"{name!r} differs from its checksum")


def read_archive(data: bytes | memoryview | Source, label: str, limits: Limits | None = None) -> Archive:
    """The members of the zip archive in ``data``; ``label`` names it in messages.

    Raises:
        WheelError: it is no zip archive, or one that is not safe or not unambiguous to unpack.
    """
    source = MemorySource(data) if isinstance(data, bytes | memoryview) else data
    limits = limits or Limits()
    entries, start = read_directory(source, limits.members, label)
    check_names([entry.name for entry in entries], label)
    _check_entries(entries, limits, label, source.size)
    members, spans = {}, []
    for entry in entries:
        begin, end = _match_local(source, entry, start, label)
        spans.append((entry.header, end))
        if not entry.name.endswith("/"):
            members[entry.name] = _member(entry, begin)
    _check_spans(sorted(spans), start, label)
    return Archive(label=label, source=source, members=members)


def _check_entries(entries: list[Entry], limits: Limits, label: str, available: int) -> None:
    """What the directory promises, before anything is inflated; ``available`` is the size of the archive."""
    for entry in entries:
        if why := _fault(entry) or _excess(entry.size, entry.packed, limits):
            refuse(label, f"{entry.name!r} {why}")
    total = sum(entry.size for entry in entries)
    if total > limits.total_size:
        refuse(label, f"it would be {total} bytes, more than the {limits.total_size} allowed")
    if total > limits.ratio_from and total > available * limits.ratio:
        refuse(label, f"it would grow more than {limits.ratio}-fold to {total} bytes")


def _fault(entry: Entry) -> str:
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & ENCRYPTED:
        return "is encrypted"
    if entry.flags & PATCH or entry.method not in (STORED, DEFLATED):
        return f"is packed by method {entry.method} or as a patch; wheels use stored or deflated"
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


def _match_local(source: Source, entry: Entry, directory: int, label: str) -> tuple[int, int]:
    """Where the data of ``entry`` begins and where its descriptor, or else its data, ends."""
    if entry.header >= directory:
        refuse(label, f"{entry.name!r} lies outside the file")
    fixed = LOCAL.size + len(entry.raw_name)
    head = bytes(source.read(entry.header, fixed))
    try:
        magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack_from(head)
    except error:
        refuse(label, f"{entry.name!r} lies outside the file")
    begin = entry.header + LOCAL.size + name_size + extra_size
    end = begin + entry.packed
    mine, its = (flags, method, name_size, head[LOCAL.size :]), (entry.flags, entry.method, len(entry.raw_name))
    if magic != LOCAL_MAGIC or end > directory or mine != (*its, entry.raw_name):
        refuse(label, f"{entry.name!r} has two headers that disagree")
    extra = source.read(entry.header + fixed, extra_size) if extra_size else b""
    wide = sizes64(memoryview(extra), entry.name, label)
    size, packed, _ = widened((size, packed, 0), wide, entry.name, label)
    stated, sizes = (entry.crc, entry.packed, entry.size), (crc, packed, size)
    if flags & HAS_DESCRIPTOR:
        # Who reads such data as a stream takes the first signature for their end.
        if method == STORED and sizes != stated and _occurs(DESCRIPTOR, source, begin, entry.packed):
            refuse(label, f"{entry.name!r} is stored and ends in two places")
        width = _match_descriptor(source, end, stated, is_wide=bool(wide))
        if not width or sizes not in (stated, (0, 0, 0)):
            refuse(label, f"{entry.name!r} has a data descriptor that disagrees")
        return begin, end + width
    if sizes != stated:
        refuse(label, f"{entry.name!r} has two headers that disagree")
    return begin, end


def _occurs(mark: bytes, source: Source, offset: int, size: int) -> bool:
    before = b""
    for chunk in chunks(source, offset, size):
        if mark in before + bytes(chunk):
            return True
        before = bytes(chunk[1 - len(mark) :])
    return False


def _match_descriptor(source: Source, at: int, stated: tuple[int, int, int], *, is_wide: bool) -> int:
    """Bytes of the data descriptor at ``at``, 0 when it is not the one of ``stated``.

    It repeats checksum and sizes, with or without its own signature, the sizes with 64 bits when the local header has
    a ZIP64 field (APPNOTE 4.3.9).
    """
    shape = Struct("<LQQ" if is_wide else "<3L")
    after = bytes(source.read(at, shape.size + len(DESCRIPTOR)))
    skipped = len(DESCRIPTOR) if after.startswith(DESCRIPTOR) else 0
    try:
        return skipped + shape.size if shape.unpack_from(after, skipped) == stated else 0
    except error:
        return 0


def _check_spans(spans: list[tuple[int, int]], directory: int, label: str) -> None:
    """Members must lie one after the other from the first byte to the directory."""
    position = 0
    for begin, end in spans:
        if begin != position:
            refuse(label, "members overlap, or there are bytes between them that belong to none")
        position = end
    if position != directory:
        refuse(label, "there are bytes between the last member and the directory")


def _member(entry: Entry, begin: int) -> Member:
    return Member(
        name=entry.name,
        method=STORED if entry.method == STORED else DEFLATED,
        crc=entry.crc,
        packed=entry.packed,
        size=entry.size,
        start=begin,
        executable=bool(entry.mode & 0o111),
    )
