"""Which place serves what, and locks measured from directories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import FetchError, UsageError
from musllinux_build.images.fetching import NoFetch
from musllinux_build.images.lock import ApkRow, BaseRow, BuilderRow, Lock, SourceRow, WheelRow, format_lock
from musllinux_build.images.measure import Holdings, MeasuredFile, measure, parse_apkindex
from musllinux_build.images.supplies import Supplies, archive_name, read_lock
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag
from musllinux_build.shipped import shipped

A, B = "a" * 64, "b" * 64


def python(version: str, sha256: str = A) -> SourceRow:
    return SourceRow(
        name="cpython",
        version=version,
        filename=f"Python-{version}.tar.xz",
        urls=("https://example.org/",),
        sha256=sha256,
        size=1,
    )


LOCK = Lock(
    bases=(
        BaseRow(release="3.13.12", arch=Arch.X86_64, digest=None, filename="r.tar", urls=(), sha256=None, size=None),
    ),
    builders=(BuilderRow(arch=Arch.X86_64, image="debian:12-slim", digest=None, filename="b.tar", sha256=None),),
    sources=(python("3.13.5"), python("3.13.14", B), python("3.11.2")),
    wheels=(WheelRow(group="toolchain", name="z", version="1", filename="z.whl", sha256=A, arch=Arch.X86_64),),
    apks=(ApkRow(policy=Policy.MUSLLINUX_1_2, arch=Arch.X86_64, sysroot=("gcc",), image=("bash=1-r0", "gcc")),),
)


def test_the_network_is_the_default() -> None:
    supplies = Supplies.chosen()
    assert supplies == Supplies(lock=read_lock(shipped("dockerfiles") / "lock.toml"), fetch=supplies.fetch)
    assert not supplies.offline
    assert supplies.apk_directory() is None


def test_an_offline_directory(tmp_path: Path) -> None:
    for name in ("bases", "sources", "apk"):
        (tmp_path / name).mkdir()
    (tmp_path / "lock.toml").write_text(format_lock(LOCK))
    supplies = Supplies.from_offline(tmp_path)
    assert supplies == Supplies(
        lock=LOCK,
        base_archives=tmp_path / "bases",
        source_mirror=tmp_path / "sources",
        apk_mirror=str(tmp_path / "apk"),
        offline=True,
        fetch=supplies.fetch,
    )
    assert supplies.apk_directory() == tmp_path / "apk"


def test_a_single_option_wins(tmp_path: Path) -> None:
    (tmp_path / "apk").mkdir()
    lock = tmp_path / "my.toml"
    lock.write_text(format_lock(Lock()))
    supplies = Supplies.chosen(offline=tmp_path, apk_mirror="https://mirror.example/alpine", lock=lock)
    assert supplies.apk_mirror == "https://mirror.example/alpine"
    assert supplies.apk_directory() is None
    assert supplies.lock == Lock()


def test_unreadable_lock(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the lock"):
        read_lock(tmp_path / "none.toml")


def test_the_newest_release_is_the_default() -> None:
    supplies = Supplies(lock=LOCK)
    assert supplies.source("cpython", "3.13") == python("3.13.14", B)
    assert supplies.source("cpython", "3.12") is None
    assert supplies.pythons() == [PythonTag(3, 11), PythonTag(3, 13)]


def test_a_prerelease_is_one_until_its_abi_is_frozen() -> None:
    pythons = ("3.12.1", "3.13.0rc1", "3.14.0a7", "3.15.0b3")
    supplies = Supplies(lock=replace(LOCK, sources=tuple(python(version) for version in pythons)))
    assert supplies.prereleases() == {
        PythonTag(3, 14): "3.14.0a7",
        PythonTag(3, 14, free_threaded=True): "3.14.0a7",
        PythonTag(3, 15): "3.15.0b3",
        PythonTag(3, 15, free_threaded=True): "3.15.0b3",
    }


@pytest.mark.parametrize("name", ["cpython-3.13.5.tar.xz", "Python-3.13.5.tar.xz", "cpython-3.13.5.tgz"])
def test_a_mirror_selects_what_it_has(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "cpython-3.13.5.asc").touch()
    supplies = Supplies(lock=LOCK, source_mirror=tmp_path)
    assert supplies.source("cpython", "3.13") == python("3.13.5")
    assert supplies.mirrored(python("3.13.5")) == tmp_path / name
    assert supplies.source("cpython", "3.11") == python("3.11.2")
    assert supplies.mirrored(python("3.11.2")) is None


def test_a_file_that_is_no_archive_is_not_mirrored(tmp_path: Path) -> None:
    (tmp_path / "cpython-3.13.5.asc").touch()
    assert Supplies(lock=LOCK, source_mirror=tmp_path).mirrored(python("3.13.5")) is None


def test_the_compiler_of_an_engine() -> None:
    assert Supplies(lock=LOCK).toolchain_wheel(Arch.X86_64).filename == "z.whl"
    with pytest.raises(UsageError, match="no compiler for engines of s390x"):
        Supplies(lock=LOCK).toolchain_wheel(Arch.S390X)


def test_nothing_is_fetched_without_a_fetch(tmp_path: Path) -> None:
    fetch = Supplies(lock=LOCK).fetch
    assert isinstance(fetch, NoFetch)
    with pytest.raises(FetchError, match=r"r\.tar is not here"):
        fetch.base(LOCK.bases[0], tmp_path)
    with pytest.raises(FetchError, match=r"cpython-3\.11\.2\.tar\.xz is not here"):
        fetch.source(python("3.11.2"), tmp_path)
    with pytest.raises(FetchError, match=r"z\.whl is not here"):
        fetch.wheel(LOCK.wheels[0], tmp_path, ())


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("cpython-3.13.5.tar.xz", ("cpython", "3.13.5")),
        ("bzip2-1.0.8.tgz", ("bzip2", "1.0.8")),
        ("util-linux-2.41.5.tar.xz", ("util-linux", "2.41.5")),
        ("ncurses-6.5+20250216.tar.gz", ("ncurses", "6.5+20250216")),
        ("sqlite-autoconf-3530200.tar.gz", None),
        ("openssl-3.5.7.tar.gz.asc", None),
        ("README", None),
    ],
)
def test_archive_name(filename: str, expected: tuple[str, str] | None) -> None:
    assert archive_name(filename) == expected


def test_nothing_named_changes_nothing() -> None:
    assert measure(LOCK, Holdings()) == LOCK


def test_measured_bases() -> None:
    files = [MeasuredFile(name="r.tar", sha256=A, size=3), MeasuredFile(name="b.tar", sha256=B, size=4)]
    found = measure(LOCK, Holdings(bases=files))
    assert found.bases == (replace(LOCK.bases[0], sha256=A, size=3),)
    assert found.builders == (replace(LOCK.builders[0], sha256=B),)
    assert measure(LOCK, Holdings(bases=())) == LOCK


def test_measured_sources() -> None:
    files = [
        MeasuredFile(name="zlib-1.3.1.tar.gz", sha256="c" * 64, size=2),
        MeasuredFile(name="cpython-3.13.14.tar.xz", sha256=B, size=9),
        MeasuredFile(name="bash-5.2.tar.xz", sha256=A, size=9),
        MeasuredFile(name="notes", sha256=A, size=9),
    ]
    assert measure(LOCK, Holdings(sources=files)).sources == (
        replace(python("3.13.14", B), filename="cpython-3.13.14.tar.xz", size=9),
        SourceRow(name="zlib", version="1.3.1", filename="zlib-1.3.1.tar.gz", urls=(), sha256="c" * 64, size=2),
    )


def test_measured_packages() -> None:
    index = {("v3.13", Arch.X86_64): {"gcc": "12-r0", "bash": "5-r1"}}
    assert measure(LOCK, Holdings(packages=index)).apks == (
        replace(LOCK.apks[0], sysroot=("gcc=12-r0",), image=("bash=5-r1", "gcc=12-r0")),
    )
    assert measure(LOCK, Holdings(packages={})).apks == ()


def test_packages_that_a_mirror_lacks() -> None:
    with pytest.raises(UsageError) as caught:
        measure(LOCK, Holdings(packages={("v3.13", Arch.X86_64): {"gcc": "12-r0"}}))
    assert caught.value.details == "v3.13/x86_64: bash"


@pytest.mark.parametrize("name", ["bash", "musllinux_1_2_x86_64"])
def test_packages_that_a_mirror_may_lack(name: str) -> None:
    index = {("v3.13", Arch.X86_64): {"gcc": "12-r0"}}
    assert measure(LOCK, Holdings(packages=index, absent={name: "why"})).apks[0].image == ("gcc=12-r0",)
    unmade = measure(LOCK, Holdings(packages=index, absent={name: "why"})).apks[0].unmade
    assert unmade == ("why" if name.startswith("musllinux") else "")
    with pytest.raises(UsageError):
        measure(LOCK, Holdings(packages=index, absent={"musllinux_1_1_x86_64": "why"}))


def test_apkindex() -> None:
    assert parse_apkindex("C:Q1x\nP:bash\nV:5-r0\n\nV:9\n\nP:gcc\nV:1-r0\n") == {"bash": "5-r0", "gcc": "1-r0"}
