"""``musllinux-build images``: the lock commands, and what is refused before an engine is asked."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.cli.images import images
from musllinux_build.errors import FetchError, ImageError, UsageError
from musllinux_build.images.lock import BaseRow, SourceRow
from musllinux_build.images.measure import unmeasured
from musllinux_build.images.supplies import read_lock
from musllinux_build.policy import Policy
from musllinux_build.shipped import shipped

SHIPPED = read_lock(shipped("dockerfiles") / "lock.toml").apk(Policy.MUSLLINUX_1_2, Arch.X86_64)
NAMES = sorted({*SHIPPED.sysroot, *SHIPPED.image, *SHIPPED.extra})


def invoke(*args: str) -> str:
    result = CliRunner().invoke(images, args, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def write_index(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("APKINDEX")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))


def test_check_the_shipped_lock() -> None:
    assert invoke("lock", "--check").startswith("valid; ")


def test_measure_directories(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "zlib-1.3.1.tar.gz").write_bytes(b"z")
    index = "".join(f"P:{name}\nV:1-r0\n\n" for name in NAMES)
    write_index(tmp_path / "apk" / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz", index)
    path = tmp_path / "new" / "lock.toml"
    invoke(
        *("lock", "--update", "--lock", str(path)),
        *("--sources", str(tmp_path / "sources"), "--apk-mirror", str(tmp_path / "apk")),
    )
    lock = read_lock(path)
    assert [(row.name, row.version, row.size) for row in lock.sources] == [("zlib", "1.3.1", 1)]
    assert [(row.arch, row.image, row.extra) for row in lock.apks] == [
        (Arch.X86_64, tuple(f"{name}=1-r0" for name in SHIPPED.image), tuple(f"{name}=1-r0" for name in SHIPPED.extra))
    ]


def test_a_mirror_may_lack_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    index = "".join(f"P:{name}\nV:1-r0\n\n" for name in NAMES if name not in ("gfortran", "mesa-dev"))
    write_index(tmp_path / "apk" / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz", index)
    absent, path = tmp_path / "absent.toml", tmp_path / "lock.toml"
    update = ("lock", "--update", "--lock", str(path), "--apk-mirror", str(tmp_path / "apk"), "--absent", str(absent))
    absent.write_text('[absent]\ngfortran = "none here"\n"F8.gl" = "a row"\n')
    with pytest.raises(UsageError) as caught:
        invoke(*update)
    assert caught.value.details == "v3.13/x86_64: mesa-dev"
    absent.write_text('[absent]\ngfortran = "none here"\nmesa-dev = "none here"\nbash = "it is there, though"\n')
    invoke(*update)
    (row,) = read_lock(path).apks
    assert "gfortran" not in " ".join(row.image)
    assert "mesa-dev" not in " ".join(row.extra)
    assert "bash=1-r0" in row.image
    # What those packages bring is measured only where the base is.
    assert unmeasured(replace(read_lock(path), bases=(), builders=(), sources=())) == 1


@pytest.mark.parametrize("args", [(), ("--check", "--update"), ("--update",)])
def test_refused_lock_options(args: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        invoke("lock", *args)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"none")
    with pytest.raises(ImageError, match="is not a package index"):
        invoke("lock", "--update", "--lock", str(tmp_path / "lock.toml"), "--apk-mirror", str(tmp_path))


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        invoke("lock", "--update", "--sources", str(tmp_path), "--lock", str(tmp_path / "file" / "lock.toml"))


def test_the_host_fetches_by_hash(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"content")
    sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    row = SourceRow(
        name="x", version="1", filename="x.tar", urls=((tmp_path / "here").as_uri(),), sha256=sha256, size=None
    )
    found = HostFetch(cache=tmp_path / "cache").source(row, tmp_path / "there")
    assert found.read_bytes() == b"content"


def test_a_root_without_a_hash_is_not_fetched(tmp_path: Path) -> None:
    row = BaseRow(release="3", arch=Arch.X86_64, digest=None, filename="r", urls=(), sha256=None, size=None)
    with pytest.raises(FetchError, match="no hash of r"):
        HostFetch(cache=tmp_path).base(row, tmp_path / "r")
