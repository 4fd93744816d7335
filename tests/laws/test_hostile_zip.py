"""Archives that two readers could understand differently, or that are too much to unpack: refused before inflating."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from struct import pack

import pytest

from musllinux_build.errors import WheelError
from musllinux_build.wheel.archive import Archive, Limits, read_archive
from tests.zipgen import DEFLATED, FIFO, LINK, REGULAR, STORED, End, Row, build, deflate, extra_field

A = Row(name=b"a", content=b"content of a")
B = Row(name=b"b", content=b"content of b, longer")
UTF8 = 0x800
DESCRIBED = 0x8


def read_all(data: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    archive: Archive = read_archive(data, "demo.whl", limits)
    return {name: bytes(archive.read(name)) for name in archive.members}


def refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(WheelError) as caught:
        read_all(data, limits)
    assert caught.value.resolution
    return caught.value.brief


def described(row: Row, *, signed: bool = True, crc: int | None = None) -> Row:
    """``row`` with its sizes only in a data descriptor."""
    import zlib

    packed = deflate(row.content) if row.method == DEFLATED else row.content
    real = zlib.crc32(row.content) if crc is None else crc
    after = (b"PK\x07\x08" if signed else b"") + pack("<3L", real, len(packed), len(row.content))
    return Row(
        name=row.name, content=row.content, method=row.method, flags=DESCRIBED, local_sizes=(0, 0, 0), after=after
    )


SOUND = {
    "plain": [A, B],
    "stored": [Row(name=b"a", content=b"x", method=STORED)],
    "empty": [Row(name=b"a", method=STORED)],
    "directory": [Row(name=b"d/", method=STORED, attributes=0o40755 << 16), Row(name=b"d/a", content=b"x")],
    "descriptor": [described(A), B],
    "descriptor without signature": [described(A, signed=False), B],
    "stored with a descriptor": [described(Row(name=b"l", content=b"x", method=STORED))],
    "unicode": [Row(name="ñ".encode(), flags=UTF8, content=b"x")],
    "timestamp in an extra field": [Row(name=b"a", content=b"x", extra=extra_field(0x5455, b"\3" + bytes(8)))],
    "made on DOS": [Row(name=b"a", content=b"x", made_by=20, attributes=0x20)],
    "reversed directory": [Row(name=b"b", content=b"x"), A],
    "case twins in a package": [Row(name=b"p/a", content=b"1"), Row(name=b"p/A", content=b"2")],
    "a name like a directory's": [Row(name=b"ab", content=b"1"), Row(name=b"a/b", content=b"2")],
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_is_read(case: str) -> None:
    rows = SOUND[case]
    files = [row for row in rows if not row.name.endswith(b"/")]
    assert read_all(build(rows)) == {row.name.decode(): row.content for row in files}


NAMES = {
    "traversal": b"../a",
    "traversal inside": b"a/../../b",
    "traversal at the end": b"a/..",
    "here": b"./a",
    "empty part": b"a//b",
    "absolute": b"/etc/passwd",
    "backslash": b"..\\a",
    "drive": b"C:a",
    "drive and slash": b"c:/a",
    "NUL": b"a\0b",
    "newline": b"a\nb",
    "escape": b"a\x1b[31mb",
    "delete": b"a\x7f",
    "empty": b"",
    "slash": b"/",
    "too long": b"a" * 5000,
    "a part too long for a file system": b"a/" + b"b" * 300,
    "too deep": b"a/" * 500 + b"a",
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_leave_or_mislead_are_refused(case: str) -> None:
    refusal(build([A if NAMES[case] != b"a" else B, Row(name=NAMES[case], content=b"x")]))


UNICODE_NAMES = {
    "C1 control, a CSI of its own": "a\x9b31mb",
    "next line": "a\x85b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "right to left override": "a\u202egnp.so",
    "isolate": "a\u2066b",
    "mark": "a\u200fb",
    "zero width space": "a\u200bb",
    "byte order mark": "\ufeffa",
    "not a character": "a\ufffe",
}


@pytest.mark.parametrize("case", UNICODE_NAMES)
def test_invisible_characters_in_names_are_refused(case: str) -> None:
    refusal(build([Row(name=UNICODE_NAMES[case].encode(), flags=UTF8, content=b"x")]))


TWINS = {
    "same": (b"a", b"a"),
    "file and directory": (b"a", b"a/"),
    "directory and file": (b"a/", b"a"),
    "file and what is below it": (b"a", b"a/b"),
    "far below it": (b"a/b", b"a/b/c/d"),
    "below it, first": (b"a/b/c", b"a/b"),
    "directory twice": (b"a/", b"a/"),
    "composed and decomposed": ("é".encode(), "e\u0301".encode()),
    "composed and decomposed directories": ("é/a".encode(), "e\u0301/b".encode()),
    "case in the metadata": (b"demo-1.0.dist-info/RECORD", b"demo-1.0.dist-info/record"),
    "case of the metadata": (b"demo-1.0.dist-info/RECORD", b"Demo-1.0.DIST-INFO/RECORD"),
}


@pytest.mark.parametrize("case", TWINS)
def test_twins_are_refused(case: str) -> None:
    def row(name: bytes) -> Row:
        kind = 0o40755 << 16 if name.endswith(b"/") else REGULAR
        return Row(name=name, content=b"" if name.endswith(b"/") else b"x", flags=UTF8, attributes=kind)

    first, second = TWINS[case]
    refusal(build([row(first), row(second)]))


MEMBERS = {
    "link": Row(name=b"l", content=b"/etc/passwd", attributes=LINK),
    "link made elsewhere": Row(name=b"l", content=b"/etc/passwd", attributes=LINK, made_by=20),
    "link made on a Mac": Row(name=b"l", content=b"/etc/passwd", attributes=LINK, made_by=19 << 8 | 20),
    "fifo": Row(name=b"l", attributes=FIFO),
    "directory without slash": Row(name=b"l", attributes=0o40755 << 16),
    "file with slash": Row(name=b"l/", attributes=REGULAR),
    "directory with content": Row(name=b"l/", content=b"x", attributes=0o40755 << 16),
    "encrypted": Row(name=b"l", content=b"x", flags=1),
    "strongly encrypted": Row(name=b"l", content=b"x", flags=0x41),
    "masked headers": Row(name=b"l", content=b"x", flags=0x2000),
    "patch data": Row(name=b"l", content=b"x", flags=0x20),
    "bzip2": Row(name=b"l", content=b"x", method=12),
    "lzma": Row(name=b"l", content=b"x", method=14),
    "zstd": Row(name=b"l", content=b"x", method=93),
    "deflate64": Row(name=b"l", content=b"x", method=9),
    "unknown code page": Row(name="é".encode("latin-1"), content=b"x"),
    "broken UTF-8": Row(name=b"\xff\xfe", flags=UTF8, content=b"x"),
    "overlong UTF-8": Row(name=b"\xc0\xae\xc0\xae/a", flags=UTF8, content=b"x"),
    "stored with two sizes": Row(name=b"l", content=b"xx", method=STORED, size=1),
    "another name for some": Row(name=b"l", content=b"x", extra=extra_field(0x7075, b"\1" + bytes(4) + b"../evil")),
    "extra field cut short": Row(name=b"l", content=b"x", extra=b"\x55\x54\x09\x00\0"),
    "extra field of three bytes": Row(name=b"l", content=b"x", extra=b"\1\2\3"),
    "ZIP64 field that is not needed": Row(name=b"l", content=b"x", extra=extra_field(1, pack("<Q", 7))),
    "ZIP64 field twice": Row(name=b"l", content=b"x", extra=extra_field(1, pack("<Q", 1)) * 2),
    "ZIP64 size without the field": Row(name=b"l", content=b"x", size=0xFFFFFFFF),
    "ZIP64 offset without the field": Row(name=b"l", content=b"x", header=0xFFFFFFFF),
    "ZIP64 size that lies": Row(
        name=b"l", content=b"x", size=0xFFFFFFFF, extra=extra_field(1, pack("<Q", 1 << 62)), local_extra=b""
    ),
    "ZIP64 field too short": Row(
        name=b"l", content=b"x", size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=extra_field(1, pack("<Q", 1))
    ),
    "other local name": Row(name=b"l", local_name=b"m", content=b"x"),
    "longer local name": Row(name=b"l", local_name=b"../../l", content=b"x"),
    "other local method": Row(name=b"l", local_method=STORED, content=b"x"),
    "other local flags": Row(name=b"l", local_flags=UTF8, content=b"x"),
    "other local sizes": Row(name=b"l", local_sizes=(0, 0, 0), content=b"x"),
    "ZIP64 sizes in the local header alone": Row(
        name=b"l",
        content=b"x",
        local_sizes=(0, 0xFFFFFFFF, 0xFFFFFFFF),
        local_extra=extra_field(1, pack("<2Q", 99, 99)),
    ),
    "local extra cut short": Row(name=b"l", content=b"x", local_extra=b"\x55\x54\x09\x00\0"),
    "local other name for some": Row(
        name=b"l", content=b"x", local_extra=extra_field(0x7075, b"\1" + bytes(4) + b"../evil")
    ),
    "local header outside": Row(name=b"l", content=b"x", header=1 << 30),
    "local header elsewhere": Row(name=b"l", content=b"x", header=3),
    "shares another's header": Row(name=b"a", content=b"content of a", header=0, skip_local=True),
    "no flag for a descriptor that is there": Row(name=b"l", content=b"x", after=b"PK\x07\x08" + bytes(12)),
    "descriptor that disagrees": described(Row(name=b"l", content=b"x"), crc=1),
    "descriptor flag without descriptor": Row(name=b"l", content=b"x", flags=DESCRIBED, local_sizes=(0, 0, 0)),
    "stored, and ends in two places": described(
        Row(name=b"l", content=b"x" + b"PK\x07\x08" + bytes(12) + b"y", method=STORED)
    ),
    "wrong checksum": Row(name=b"l", content=b"x", crc=1),
    "wrong size": Row(name=b"l", content=b"x", size=2),
    "shorter than it inflates to": Row(name=b"l", content=b"xyz", size=2),
    "bytes after the deflated stream": Row(name=b"l", content=b"x", packed=deflate(b"x") + b"hidden"),
    "deflated stream cut short": Row(name=b"l", content=b"x" * 99, packed=deflate(b"x" * 99)[:-1]),
    "no deflated stream": Row(name=b"l", content=b"x", packed=b"\xff\xff"),
    "a zlib stream": Row(name=b"l", content=b"x", packed=b"\x78\x9c" + deflate(b"x") + bytes(4)),
    "packed size beyond the file": Row(name=b"l", content=b"x", packed_size=1 << 20),
    "directory row that runs on": Row(name=b"l", content=b"x", comment=b"PK\x01\x02" + bytes(42)),
}
HARMLESS = {"directory row that runs on"}


@pytest.mark.parametrize("case", sorted(MEMBERS.keys() - HARMLESS))
def test_members_that_can_be_read_two_ways_are_refused(case: str) -> None:
    refusal(build([A, MEMBERS[case]]))


def test_a_comment_of_a_member_is_no_member() -> None:
    assert set(read_all(build([A, MEMBERS["directory row that runs on"]]))) == {"a", "l"}


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no archive": lambda: b"PK\x03\x04" + bytes(100),
    "cut short": lambda: build([A])[:-1],
    "prepended": lambda: build([A], before=b"#!/bin/sh\n"),
    "prepended, with true offsets": lambda: b"#!/bin/sh\n" + build([A]),
    "between": lambda: build([A], between=b"hidden"),
    "before the end": lambda: build([A], before_end=b"hidden"),
    "digital signature": lambda: build([A], before_end=b"PK\x05\x05\x02\0xx"),
    "trailing": lambda: build([A], after=b"hidden"),
    "trailing newline": lambda: build([A], after=b"\n"),
    "comment": lambda: build([A], end=End(comment=b"hidden")),
    "comment that is not there": lambda: build([A], end=End(comment_size=3)),
    "an archive after it": lambda: build([A]) + build([B]),
    "an archive in its comment": lambda: build([A], end=End(comment=build([B]))),
    "two end records": lambda: build([A], before_end=pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0, 0, 22)),
    "more members than rows": lambda: build([A], end=End(count=2)),
    "fewer members than rows": lambda: build([A, B], end=End(count=1)),
    "two counts": lambda: build([A], end=End(here=0)),
    "other disk": lambda: build([A], end=End(disk=1)),
    "directory elsewhere": lambda: build([A], end=End(start=0)),
    "directory far away": lambda: build([A], end=End(start=1 << 31)),
    "larger directory": lambda: build([A], end=End(size=1 << 30)),
    "smaller directory": lambda: build([A], end=End(size=10)),
    "ZIP64 count alone": lambda: build([A], end=End(count=0xFFFF)),
    "ZIP64 start alone": lambda: build([A], end=End(start=0xFFFFFFFF)),
    "ZIP64 locator to nowhere": lambda: build(
        [A], before_end=pack("<4sLQL", b"PK\6\7", 0, 1 << 40, 1), end=End(count=0xFFFF)
    ),
    "ZIP64 locator, and nothing that needs it": lambda: build([A], before_end=pack("<4sLQL", b"PK\6\7", 0, 0, 1)),
    "ZIP64 end record that claims 2**60 members": lambda: build(
        [A],
        before_end=pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 0, 0)
        + pack("<4sLQL", b"PK\6\7", 0, 0, 1),
        end=End(count=0xFFFF),
    ),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_can_be_read_two_ways_are_refused(case: str) -> None:
    refusal(ARCHIVES[case]())


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    packed = deflate(bytes(1 << 20)) * 2
    bomb = Row(name=b"bomb", packed=packed, size=3 << 30, crc=0)
    tracemalloc.start()
    try:
        assert "grow" in refusal(build([A, bomb]))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_many_small_bombs_are_one_large_one() -> None:
    # Each is below the size from which the ratio of one member counts.
    packed = deflate(bytes(1 << 20), 9)
    rows = [Row(name=b"%d" % index, packed=packed, size=60 << 20, crc=0) for index in range(40)]
    assert "grow" in refusal(build(rows))


def test_overlapping_members_are_refused() -> None:
    # The way of David Fifield's bomb: one kernel quoted by many headers.
    kernel = Row(name=b"k", content=bytes(9999))
    rows = [Row(name=b"a", content=bytes(9999), header=0, skip_local=True, local_name=b"k"), kernel]
    refusal(build([kernel, *rows]))


def test_a_stream_that_inflates_to_more_than_stated_stops_there() -> None:
    packed = deflate(bytes(20 << 20), 1)
    tracemalloc.start()
    try:
        refusal(build([Row(name=b"a", packed=packed, size=1000, crc=0)]))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_limits_are_checked_before_members_are() -> None:
    rows = [Row(name=b"%d" % index, method=STORED) for index in range(20)]
    assert "19" in refusal(build(rows), Limits(members=19))
    assert "more than the 5 " in refusal(build([A]), Limits(member_size=5))
    assert "more than the 20 " in refusal(build([A, B]), Limits(total_size=20))


def test_deep_names_cost_no_more_than_their_bytes() -> None:
    rows = [Row(name=b"%d/" % index + b"a/" * 2000 + b"a", method=STORED) for index in range(200)]
    data = build(rows)
    tracemalloc.start()
    started = time.process_time()
    try:
        refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 1


def test_names_in_messages_are_escaped() -> None:
    assert "\x1b" not in refusal(build([Row(name=b"a\x1b[2J", content=b"x")]))
