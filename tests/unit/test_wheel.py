import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.errors import WheelError
from musllinux_build.wheel.archive import Limits, read_archive
from musllinux_build.wheel.contents import read_wheel
from musllinux_build.wheel.layout import OUTSIDE, SITE, installed_path, origin_relative, shown_path
from musllinux_build.wheel.metadata import GENERATOR, WheelFile
from musllinux_build.wheel.record import format_record, parse_record
from musllinux_build.wheel.writer import EARLIEST, Packed, member_order, pack, write_archive
from tests.wheelgen import WheelSpec, build_wheel, build_zip

PART = st.text(st.sampled_from("abcé-._"), min_size=1, max_size=6).filter(lambda part: part not in {".", ".."})
NAMES = st.lists(PART, min_size=1, max_size=3).map("/".join)


def written(members: Mapping[str, bytes], epoch: int = EARLIEST) -> bytes:
    packed = (pack(name, content, executable=name.endswith("x")) for name, content in members.items())
    return b"".join(bytes(chunk) for chunk in write_archive(packed, epoch=epoch))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=6))
def test_what_is_written_is_read_back_by_us_and_by_python(members: dict[str, bytes]) -> None:
    directories = {name[:at] for name in members for at, letter in enumerate(name) if letter == "/"}
    members = {name: content for name, content in members.items() if name not in directories}
    data = written(members)
    archive = read_archive(data, "x.whl")
    assert {name: archive.read(name) for name in archive.members} == members
    with zipfile.ZipFile(BytesIO(data)) as theirs:
        assert theirs.testzip() is None
        assert {info.filename: theirs.read(info) for info in theirs.infolist()} == members
    raw = (
        Packed(
            name=member.name,
            method=member.method,
            crc=member.crc,
            size=member.size,
            content=archive.raw(member.name),
            executable=member.executable,
        )
        for member in archive.members.values()
    )
    assert b"".join(bytes(chunk) for chunk in write_archive(raw)) == data


def test_modes_and_dates_are_normalised() -> None:
    with zipfile.ZipFile(BytesIO(written({"a": b"1", "bx": b"2"}))) as archive:
        assert [info.external_attr >> 16 for info in archive.infolist()] == [0o100644, 0o100755]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with zipfile.ZipFile(BytesIO(written({"a": b"1"}, epoch=1_700_000_001))) as archive:
        assert archive.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)


def test_metadata_comes_last_and_record_at_the_end() -> None:
    names = ["d-1.dist-info/RECORD", "z.py", "d-1.dist-info/WHEEL", "d.libs/a", "a.py"]
    assert sorted(names, key=lambda name: member_order(name, "d-1.dist-info")) == [
        "a.py",
        "d.libs/a",
        "z.py",
        "d-1.dist-info/WHEEL",
        "d-1.dist-info/RECORD",
    ]


@pytest.mark.parametrize(
    "name", ["../a", "a/../b", "/a", "a//b", "./a", "C:a", "a\\b", "a\x01b", "..", "a/.", "x" * 5000]
)
def test_names_that_leave_the_directory_are_refused(name: str) -> None:
    with pytest.raises(WheelError, match="is refused"):
        read_archive(build_zip({name: b""}), "x.whl")


def test_one_name_for_two_things_is_refused() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(WheelError, match="occurs twice"):
        read_archive(out.getvalue(), "x.whl")
    with pytest.raises(WheelError, match="a file and a directory"):
        read_archive(build_zip({"a/b": b"", "a": b""}), "x.whl")


def test_links_are_refused_and_directories_are_nothing() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("d")
        archive.writestr("d/a", b"1")
    assert list(read_archive(out.getvalue(), "x.whl").members) == ["d/a"]
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(WheelError, match="link or device"):
        read_archive(out.getvalue(), "x.whl")


def edited(position: int, value: bytes, files: Mapping[str, bytes] | None = None) -> bytes:
    data = bytearray(build_zip(files or {"a": b"content" * 10}))
    position += len(data) if position < 0 else 0
    data[position : position + len(value)] = value
    return bytes(data)


CENTRAL_OF_ONE = -22 - 46 - 1  # the only directory row, of a one-letter name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no zip archive"),
        (b"PK" * 40, "no zip archive"),
        (build_zip({"a": b""}) + b"x", "after its end"),
        (b"x" + build_zip({"a": b""}), "does not lie before"),
        (edited(-2, b"\x05"), "comment"),
        (edited(-10, b"\xff\xff\xff\xff"), "ZIP64"),
        (edited(-14, b"\x02\x00\x02\x00"), "two headers|claims 2|members"),
        (edited(-22 + 8, b"\x02\x00\x02\x00"), "has 1 members and claims 2"),
        (edited(0, b"PX"), "two headers that disagree"),
        (edited(30, b"b"), "two headers that disagree"),
        (edited(14, b"\0\0\0\0"), "two headers that disagree"),
        (edited(CENTRAL_OF_ONE, b"PX"), "directory is malformed"),
        (edited(CENTRAL_OF_ONE + 8, b"\x01"), "encrypted"),
        (edited(CENTRAL_OF_ONE + 10, b"\x0c"), "method 12"),
        (edited(CENTRAL_OF_ONE + 24, b"\xff\xff\xff\x7f"), "would grow more than 200-fold"),
        (edited(CENTRAL_OF_ONE + 42, b"\xff\xff\xff\x7f"), "outside the file"),
        (edited(CENTRAL_OF_ONE + 46, b"\xff"), "directory is malformed"),
        (edited(CENTRAL_OF_ONE + 28, b"\xff\x7f"), "cut short"),
    ],
)
def test_archives_that_can_be_read_in_two_ways_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(WheelError, match=message):
        read_archive(data, "x.whl")


def test_contents_must_be_what_the_headers_say() -> None:
    data = bytearray(build_zip({"a": b"content"}, zipfile.ZIP_STORED))
    data[31:38] = b"CONTENT"
    with pytest.raises(WheelError, match="checksum"):
        read_archive(bytes(data), "x.whl").read("a")
    for garbage in (b"\xff" * 10, zlib.compress(b"x" * 500)[2:12]):
        packed = Packed(name="a", method=8, crc=0, size=500, content=garbage, executable=False)
        archive = read_archive(b"".join(bytes(chunk) for chunk in write_archive([packed])), "x.whl")
        with pytest.raises(WheelError, match="inflate"):
            archive.read("a")


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    limits = Limits(members=2, member_size=1000, total_size=1500, ratio=10, ratio_from=100)
    with pytest.raises(WheelError, match="3 members"):
        read_archive(build_zip({"a": b"", "b": b"", "c": b""}), "x.whl", limits)
    with pytest.raises(WheelError, match="more than the 1000"):
        read_archive(build_zip({"a": b"x" * 1001}, zipfile.ZIP_STORED), "x.whl", limits)
    with pytest.raises(WheelError, match="more than the 1500"):
        read_archive(build_zip({"a": b"x" * 900, "b": b"x" * 900}, zipfile.ZIP_STORED), "x.whl", limits)
    with pytest.raises(WheelError, match="10-fold"):
        read_archive(build_zip({"a": b"x" * 900}), "x.whl", limits)


def streamed(crc: int) -> bytes:
    """One member with a data descriptor, as a streaming writer leaves it."""
    content = b"content"
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 8, 0, 0, 33, 0, 0, 0, 1, 0) + b"a" + content
    local += struct.pack("<4s3L", b"PK\7\x08", crc, 7, 7)
    real = zlib.crc32(content)
    row = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 8, 0, 0, 33, real, 7, 7, 1, 0, 0, 0, 0, 0, 0) + b"a"
    return local + row + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(row), len(local), 0)


def test_data_descriptors() -> None:
    assert read_archive(streamed(zlib.crc32(b"content")), "x.whl").read("a") == b"content"
    with pytest.raises(WheelError, match="descriptor"):
        read_archive(streamed(1), "x.whl")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, 400))
def test_no_mutation_escapes_the_error_of_the_vocabulary(edits: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(build_zip({"a": b"content" * 9, "b/c": b"x"}))
    for position, value in edits:
        data[position % len(data)] = value
    try:
        archive = read_archive(bytes(data[:cut] if cut % 3 == 0 else data), "x.whl")
        contents = [archive.read(name) for name in archive.members]
    except WheelError:
        return
    assert len(contents) <= 2


def test_a_sound_wheel() -> None:
    spec = WheelSpec(files={"demo/a.py": b"1", "demo-1.0.data/platlib/b.so": b"2"})
    wheel = read_wheel(build_wheel(spec), spec.filename)
    assert wheel.files == (
        "demo-1.0.data/platlib/b.so",
        "demo-1.0.dist-info/METADATA",
        "demo-1.0.dist-info/WHEEL",
        "demo/a.py",
    )
    assert wheel.read("demo/a.py") == b"1"
    assert wheel.data_dir == "demo-1.0.data"
    assert wheel.wheel_file.tags == ("cp313-cp313-linux_x86_64",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (WheelSpec(files={}, extra={"smuggled.py": b""}), "not listed: 'smuggled.py'"),
        (WheelSpec(files={}, record="gone.py,sha256=abc,1\n"), "not listed"),
        (WheelSpec(files={"a.py": b""}, record="a.py,md5=abc,0\n"), "no hash of SHA-256"),
        (WheelSpec(files={"a.py": b""}, record="a.py,sha256=abc,0\na.py,sha256=abc,0\n"), "listed twice"),
        (WheelSpec(files={"a.py": b""}, record="a.py\n"), "three fields"),
        (WheelSpec(files={"a.py": b""}, record='"a.py'), "no CSV"),
        (WheelSpec(files={"other-2.0.dist-info/X": b""}), "must have one .dist-info directory"),
        (WheelSpec(files={}, wheel_file="Wheel-Version: 2.0\n"), "wheel format"),
        (WheelSpec(files={}, wheel_file="nonsense\n"), "has the line"),
    ],
)
def test_wheels_that_contradict_themselves_are_refused(spec: WheelSpec, message: str) -> None:
    with pytest.raises(WheelError, match=message):
        read_wheel(build_wheel(spec), spec.filename)


def test_an_altered_member_is_found_when_it_is_read() -> None:
    good = WheelSpec(files={"a.py": b"good"})
    record = read_wheel(build_wheel(good), good.filename).archive.read("demo-1.0.dist-info/RECORD").decode()
    bad = WheelSpec(files={"a.py": b"evil"}, record=record)
    with pytest.raises(WheelError, match="not the file that was recorded"):
        read_wheel(build_wheel(bad), bad.filename).read("a.py")


def test_metadata_files_must_be_there_and_be_text() -> None:
    with pytest.raises(WheelError, match="METADATA is not there"):
        read_wheel(build_zip({"demo-1.0.dist-info/WHEEL": b""}), "demo-1.0-py3-none-any.whl")
    files = dict.fromkeys([f"demo-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")], b"\xff")
    with pytest.raises(WheelError, match="not UTF-8"):
        read_wheel(build_zip(files), "demo-1.0-py3-none-any.whl")


def test_the_wheel_file_keeps_what_it_does_not_own() -> None:
    parsed = WheelFile.parse(
        "Wheel-Version: 1.0\nGenerator: setuptools\nRoot-Is-Purelib: true\nTag: py3-none-any\n\nBuild: 1\n", "x.whl"
    )
    rewritten = parsed.retagged(("cp313-cp313-a", "cp313-cp313-b"))
    assert rewritten.format().decode().splitlines() == [
        "Wheel-Version: 1.0",
        "Generator: setuptools",
        f"Generator: {GENERATOR}",
        "Build: 1",
        "Root-Is-Purelib: false",
        "Tag: cp313-cp313-a",
        "Tag: cp313-cp313-b",
    ]
    assert rewritten.retagged(rewritten.tags) == rewritten


def test_record_is_the_inverse_of_its_parser() -> None:
    rows = {"a,b.py": ("abc", 3), 'q"uote': ("def", 0), "a/é": ("ghi", 1)}
    entries = parse_record(format_record(rows, "d.dist-info").decode(), "d.dist-info", "x.whl")
    assert {path: (entry.digest, entry.size) for path, entry in entries.items()} == rows


def test_installed_layout() -> None:
    assert installed_path("demo/a.so", "demo-1.0.data") == f"{SITE}/demo/a.so"
    assert installed_path("demo-1.0.data/platlib/demo/a.so", "demo-1.0.data") == f"{SITE}/demo/a.so"
    assert installed_path("demo-1.0.data/scripts/tool", "demo-1.0.data") == f"{OUTSIDE}/scripts/tool"
    assert shown_path(f"{SITE}/demo/a.so") == "demo/a.so"
    assert origin_relative(f"{SITE}/demo.libs", f"{SITE}/demo/sub/a.so") == "$ORIGIN/../../demo.libs"
    assert origin_relative(f"{SITE}/demo.libs", f"{SITE}/demo.libs/a.so") == "$ORIGIN"
