"""Root file systems that lead out of themselves, never end, or hold what is no file."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from musllinux_build.adapters.sysroot import DirectorySysroot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_bytes(b"secret")
    place = tmp_path / "root"
    (place / "usr/lib").mkdir(parents=True)
    (place / "usr/lib/libz.so.1").write_bytes(b"z")
    return place


LINKS = {
    "absolute": "/outside",
    "up and up": "../../../../../../outside",
    "up from a link": "/usr/lib/../../../outside",
    "through proc": "/proc/self/root/outside",
    "to itself": "link",
    "to the root": "/",
    "to nothing": "/nothing",
    "long": "a/" * 1000 + "b",
}


@pytest.mark.parametrize("case", LINKS)
def test_links_stay_inside_or_lead_nowhere(root: Path, case: str) -> None:
    (root / "usr/lib/link").symlink_to(LINKS[case])
    sysroot = DirectorySysroot(root)
    assert sysroot.read("/usr/lib/link") is None
    assert sysroot.read("/usr/lib/link/x") is None


def test_links_inside_are_followed(root: Path) -> None:
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/link").symlink_to("/lib/../lib/libz.so.1")
    sysroot = DirectorySysroot(root)
    assert sysroot.read("/lib/link") == b"z"
    assert sysroot.real_path("/lib/link") == "/usr/lib/libz.so.1"


def test_loops_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to("c/c")
    sysroot = DirectorySysroot(root)
    assert [sysroot.read(path) for path in ("/a", "/b", "/c", "/a/x")] == [None] * 4


def test_links_that_double_end(root: Path) -> None:
    # Each leads twice through the one before it: 2**60 steps, if all were walked.
    (root / "l0").symlink_to(".")
    for number in range(1, 60):
        (root / f"l{number}").symlink_to(f"l{number - 1}/l{number - 1}")
    started = time.process_time()
    assert DirectorySysroot(root).read("/l59/usr/lib/libz.so.1") is None
    assert time.process_time() - started < 0.5


def test_what_is_no_regular_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        sysroot = DirectorySysroot(root)
        assert [sysroot.read(f"/{name}") for name in ("fifo", "directory", "socket", "")] == [None] * 4


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/dev/null", "/proc/kmsg", "/proc/self/mem", "/proc/kcore"])
def test_a_running_system_as_the_root(path: str) -> None:
    assert not DirectorySysroot(Path("/")).read(path)


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/a\0b", "/\udcff", "/" + "a" * 5000, "/a/" * 3000, "..", "/usr/lib/libz.so.1/x"]
)
def test_odd_paths(root: Path, path: str) -> None:
    assert DirectorySysroot(root).read(path) is None


def test_a_file_as_large_as_it_likes_is_not_read(root: Path) -> None:
    with (root / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    assert DirectorySysroot(root).read("/sparse") is None
