import struct
import zipfile
from io import BytesIO

import pytest

from musllinux_build.errors import WheelError
from musllinux_build.wheel.archive import Limits, read_archive
from musllinux_build.wheel.writer import Packed, write_archive

pytestmark = pytest.mark.slow


def test_more_than_65535_members() -> None:
    out = BytesIO()
    rows, position = [], 0
    for index in range(66_000):
        name = b"%d" % index
        out.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0) + name)
        rows.append(
            struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, position)
            + name
        )
        position = out.tell()
    directory = b"".join(rows)
    end = position + len(directory)
    out.write(
        directory + struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 66_000, 66_000, len(directory), position)
    )
    out.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
    out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), position, 0))
    assert len(read_archive(out.getvalue(), "x.whl").members) == 66_000
    with pytest.raises(WheelError, match="66000 members"):
        read_archive(out.getvalue(), "x.whl", Limits(members=65_999))


def test_more_than_65535_members_are_written_as_they_are_read() -> None:
    members = (
        Packed(name=str(index), method=0, crc=0, size=0, content=b"", executable=False) for index in range(66_000)
    )
    data = b"".join(bytes(chunk) for chunk in write_archive(members))
    assert len(read_archive(data, "x.whl").members) == 66_000
    with zipfile.ZipFile(BytesIO(data)) as theirs:
        assert len(theirs.infolist()) == 66_000
