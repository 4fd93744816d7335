from __future__ import annotations

import io
import tarfile

import pytest

from musllinux_build.tarstream import CHUNK, directory_entry, file_entry, tar_of, tar_stream


def opened(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape")


def test_tar_of_is_uncompressed_and_the_same_every_time() -> None:
    assert tar_of({"a": b"1"}) == tar_of({"a": b"1"})
    assert tar_of({"a": b"1"})[:1] == b"a"
    with opened(tar_of({"a": b"1", "b/c": b""}, mode=0o755)) as tar:
        assert [(member.name, member.mode, member.uid, member.gid) for member in tar] == [
            ("a", 0o755, 0, 0),
            ("b/c", 0o755, 0, 0),
        ]


def test_a_large_file_is_never_whole_in_memory() -> None:
    size = 2 * CHUNK + 1
    chunks = list(tar_stream([(directory_entry("d"), b""), (file_entry("d/x", size), io.BytesIO(b"x" * size))]))
    assert max(map(len, chunks)) == CHUNK
    with opened(b"".join(chunks)) as tar:
        assert [(member.name, member.size, member.isdir()) for member in tar] == [("d", 0, True), ("d/x", size, False)]


def test_a_file_that_grows_while_it_is_read_does_not_shift_the_next() -> None:
    with opened(b"".join(tar_stream([(file_entry("x", 3), io.BytesIO(b"12345")), (file_entry("y", 1), b"y")]))) as tar:
        assert tar.getnames() == ["x", "y"]


def test_a_file_that_shrinks_while_it_is_read() -> None:
    with pytest.raises(OSError, match="shorter") as caught:
        list(tar_stream([(file_entry("x", 3), io.BytesIO(b"1"))]))
    assert caught.value.filename == "x"


@pytest.mark.parametrize("name", ["caf\u00e9", "not-utf8-\udce9", "long/" * 60 + "name"])
def test_any_name_comes_back(name: str) -> None:
    with opened(b"".join(tar_stream([(file_entry(name, 0), b"")]))) as tar:
        assert tar.getnames() == [name]
