"""Pinned files: only the pinned hash is believed, from the cache as from an address."""

from __future__ import annotations

import errno
import hashlib
import io
import urllib.error
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import BinaryIO

import pytest

from musllinux_build.adapters.fetch import fetch_url, fetch_wheel, open_url, pip_options
from musllinux_build.adapters.process import Completed
from musllinux_build.errors import DiskFullError, FetchError

CONTENT = b"pinned content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Addresses:
    """A network of a few addresses; remembers what was asked for."""

    def __init__(self, content: dict[str, bytes | Exception]) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, url: str) -> BinaryIO:
        self.asked.append(url)
        found = self.content[url]
        if isinstance(found, Exception):
            raise found
        return io.BytesIO(found)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_the_first_good_address_wins_and_nothing_else_is_left(tmp_path: Path) -> None:
    gone = urllib.error.HTTPError("https://a/f", 404, "Not Found", Message(), None)
    net = Addresses({"https://a/f": gone, "https://b/f": CONTENT})
    target = tmp_path / "out" / "f"
    assert fetch_url(net.content, SHA256, len(CONTENT), target, cache=tmp_path / "cache", opener=net) == target
    assert target.read_bytes() == CONTENT
    assert files(tmp_path) == [f"cache/{SHA256}", "out/f"]


def test_the_cache_spares_the_network(tmp_path: Path) -> None:
    net = Addresses({"https://a/f": CONTENT})
    for name in ("one", "two", "two"):
        fetch_url(["https://a/f"], SHA256, len(CONTENT), tmp_path / name, cache=tmp_path / "cache", opener=net)
    assert net.asked == ["https://a/f"]
    assert (tmp_path / "two").read_bytes() == CONTENT


def test_a_spoiled_cache_and_destination_are_replaced(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / SHA256).write_bytes(b"spoiled")
    (tmp_path / "f").write_bytes(b"spoiled too")
    net = Addresses({"https://a/f": CONTENT})
    fetch_url(["https://a/f"], SHA256, len(CONTENT), tmp_path / "f", cache=cache, opener=net)
    assert (tmp_path / "f").read_bytes() == (cache / SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"pinned content and more", "longer than the pinned 14 bytes"),
        (b"pinned", "6 bytes instead of the pinned 14"),
        (b"forged content", "instead of the pinned " + SHA256),
        (urllib.error.URLError("no route"), "no route"),
        (TimeoutError(), "TimeoutError"),
        (urllib.error.HTTPError("https://a/f", 503, "Busy", Message(), None), "HTTP 503 Busy"),
    ],
)
def test_what_is_wrong_is_said_and_not_kept(tmp_path: Path, answer: bytes | Exception, reason: str) -> None:
    net = Addresses({"https://a/f": answer})
    with pytest.raises(FetchError) as caught:
        fetch_url(["https://a/f"], SHA256, len(CONTENT), tmp_path / "f", cache=tmp_path / "cache", opener=net)
    assert caught.value.details.startswith("https://a/f: ")
    assert reason in caught.value.details
    assert caught.value.resolution
    assert files(tmp_path) == []


def test_no_address_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot fetch f"):
        fetch_url([], SHA256, 14, tmp_path / "f", cache=tmp_path / "cache", opener=Addresses({}))


def test_a_full_disk_is_not_the_address_s_fault(tmp_path: Path) -> None:
    net = Addresses({"https://a/f": OSError(errno.ENOSPC, "No space left on device"), "https://b/f": CONTENT})
    with pytest.raises(DiskFullError):
        fetch_url(net.content, SHA256, 14, tmp_path / "f", cache=tmp_path / "cache", opener=net)
    assert net.asked == ["https://a/f"]


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    net = Addresses({"https://a/f": CONTENT})
    below = tmp_path / "cache" / "below"
    with pytest.raises(FetchError, match="cannot store f") as caught:
        fetch_url(net.content, SHA256, 14, tmp_path / "f", cache=below, opener=net)
    assert str(below) in caught.value.details
    assert "permissions" in caught.value.resolution


def test_file_addresses_work_and_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    address = (tmp_path / "source").as_uri()
    fetch_url([address], SHA256, len(CONTENT), tmp_path / "f", cache=tmp_path / "cache")
    assert (tmp_path / "f").read_bytes() == CONTENT
    with pytest.raises(ValueError, match="not an address"):
        open_url("ftp://a/f")


class Pip:
    """A pip that puts one file where it is told to, or fails."""

    def __init__(self, name: str, content: bytes, returncode: int = 0) -> None:
        self.name, self.content, self.returncode = name, content, returncode
        self.argv: tuple[str, ...] = ()
        self.requirements = ""

    def __call__(self, argv: Sequence[str]) -> Completed:
        self.argv = tuple(argv)
        self.requirements = Path(argv[argv.index("-r") + 1]).read_text()
        directory = Path(argv[argv.index("-d") + 1])
        directory.mkdir()
        if self.returncode == 0:
            (directory / self.name).write_bytes(self.content)
        return Completed(argv=self.argv, returncode=self.returncode, stdout=b"", stderr=b"no matching distribution")


WHEEL = "tool-1.0-py3-none-any.whl"


def wheel(tmp_path: Path, pip: Pip) -> Path:
    return fetch_wheel(
        *("tool", "1.0", WHEEL, SHA256, tmp_path / WHEEL),
        cache=tmp_path / "cache",
        platforms=("manylinux_2_17_aarch64", "musllinux_1_1_aarch64"),
        python_version="313",
        run=pip,
    )


def test_pip_is_told_the_hash_and_the_platform(tmp_path: Path) -> None:
    pip = Pip(WHEEL, CONTENT)
    assert wheel(tmp_path, pip).read_bytes() == CONTENT
    assert pip.requirements == f"tool==1.0 --hash=sha256:{SHA256}\n"
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} < set(pip.argv)
    options = pip_options(("manylinux_2_17_aarch64", "musllinux_1_1_aarch64"), "313")
    assert options == (
        *("--platform", "manylinux_2_17_aarch64", "--platform", "musllinux_1_1_aarch64"),
        *("--python-version", "313"),
    )
    assert " ".join(options) in " ".join(pip.argv)
    assert files(tmp_path) == [f"cache/{SHA256}", WHEEL]


def test_pip_is_not_asked_twice(tmp_path: Path) -> None:
    wheel(tmp_path, Pip(WHEEL, CONTENT))
    (tmp_path / WHEEL).unlink()
    again = Pip(WHEEL, CONTENT)
    assert wheel(tmp_path, again).read_bytes() == CONTENT
    assert again.argv == ()


@pytest.mark.parametrize(
    ("pip", "brief", "details"),
    [
        (Pip(WHEEL, CONTENT, 1), "pip cannot fetch", "no matching distribution"),
        (Pip("other.whl", CONTENT), "another file", "it fetched: other.whl"),
        (Pip(WHEEL, b"forged"), "not the pinned file", SHA256),
    ],
)
def test_pip_s_failures(tmp_path: Path, pip: Pip, brief: str, details: str) -> None:
    with pytest.raises(FetchError) as caught:
        wheel(tmp_path, pip)
    assert brief in caught.value.brief
    assert details in caught.value.details
    assert files(tmp_path) == []
