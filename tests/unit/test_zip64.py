import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from musllinux_build.errors import WheelError
from musllinux_build.wheel.archive import Limits, read_archive
from musllinux_build.wheel.source import opened

FULL = 0xFFFFFFFF


def small64(
    *,
    local: tuple[int, int] = (7, 7),
    central: tuple[int, ...] = (7, 7),
    count: int = 1,
    at: int = 0,
    **end: int,
) -> bytes:
    """One stored member of 7 bytes whose sizes, and the directory's place, are given as a huge archive gives them."""
    content, crc = b"content", zlib.crc32(b"content")
    extra = struct.pack("<2H2Q", 1, 16, *local)
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, crc, FULL, FULL, 1, len(extra)) + b"a" + extra + content
    own = struct.pack(f"<2H{len(central)}Q", 1, 8 * len(central), *central)
    row = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, crc, FULL, FULL, 1, len(own), 0, 0, 0, 0, 0)
    row += b"a" + own
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(row), len(head))
    place = len(head) + len(row) + at
    locator = struct.pack("<4sLQL", b"PK\6\7", end.get("disk", 0), place, end.get("disks", 1))
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, end.get("size", FULL), FULL, 0)
    return head + row + record + locator + last


def test_sizes_and_places_of_64_bits() -> None:
    data = small64()
    assert read_archive(data, "x.whl").read("a") == b"content"
    with zipfile.ZipFile(BytesIO(data)) as theirs:
        assert theirs.read("a") == b"content"


@pytest.mark.parametrize(
    "data",
    [
        small64(local=(7, 8)),
        small64(central=(7,)),
        small64(central=(7, 7, 0)),
        small64(central=(7, 8)),
        small64(count=2),
        small64(at=1),
        small64(disk=1),
        small64(disks=2),
        small64(size=5),
        small64().replace(b"PK\6\6", b"PK\6\0"),
        small64().replace(b"PK\6\7", b"PK\6\0"),
    ],
)
def test_two_readings_of_one_archive_are_refused(data: bytes) -> None:
    with pytest.raises(WheelError):
        read_archive(data, "x.whl").read("a")


def test_an_archive_of_more_than_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    size = (4 << 30) + 5
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        # Holes, so that neither the disk nor the test's time is spent on zeros.
        info = zipfile.ZipInfo("big")
        extra = struct.pack("<2H2Q", 1, 16, size, size)
        stream.write(struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, FULL, FULL, 3, 20) + b"big" + extra)
        info.header_offset, info.file_size = 0, size
        info.compress_size, info.CRC = size, 0
        info.external_attr = 0o644 << 16
        archive.filelist.append(info)
        archive.NameToInfo["big"] = info
        stream.seek(stream.tell() + size)
        archive.start_dir = stream.tell()
        archive.writestr("behind", b"text")
    with opened(path) as source:
        archive_read = read_archive(source, "x.whl")
        assert archive_read.read("behind") == b"text"
        assert archive_read.members["big"].size == size
        with pytest.raises(WheelError, match="more than the"):
            read_archive(source, "x.whl", Limits(member_size=1 << 30))
    assert path.stat().st_blocks < 1000


def test_a_stream_of_unknown_size(tmp_path: Path) -> None:
    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    for huge in (False, True):
        pipe = Pipe()
        with (
            zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a", "w", force_zip64=huge) as out,
        ):
            out.write(b"content" * 9)
        assert read_archive(pipe.getvalue(), "x.whl").read("a") == b"content" * 9
