"""The lock: text ⇄ values, every problem at once, and what it answers."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.lock import (
    ApkRow,
    BaseRow,
    BuilderRow,
    Lock,
    SourceRow,
    WheelRow,
    format_lock,
    parse_lock,
)
from musllinux_build.images.measure import unmeasured, unmeasured_rows
from musllinux_build.images.recipe import LIBRARIES
from musllinux_build.images.supplies import read_lock
from musllinux_build.policy import Policy, committed_rows
from musllinux_build.shipped import shipped
from musllinux_build.toolchain import ENGINES

SHA256 = "0123456789abcdef" * 4
BASE = BaseRow(
    release="3.13.12",
    arch=Arch.AARCH64,
    digest=None,
    filename="root.tar.gz",
    urls=("https://example.org/root.tar.gz",),
    sha256=SHA256,
    size=5,
)
SOURCE = SourceRow(name="cpython", version="3.13.5", filename="Python-3.13.5.tgz", urls=(), sha256=SHA256, size=None)
LOCK = Lock(
    bases=(BASE,),
    builders=(BuilderRow(arch=Arch.X86_64, image="debian:12-slim", digest=None, filename="b.tar", sha256=None),),
    sources=(SOURCE,),
    wheels=(
        WheelRow(group="python", name="pip", version="26", filename="pip.whl", sha256=SHA256),
        WheelRow(group="toolchain", name="z", version="1", filename="z.whl", sha256=SHA256, arch=Arch.X86_64),
    ),
    apks=(
        ApkRow(
            policy=Policy.MUSLLINUX_1_2, arch=Arch.AARCH64, sysroot=("gcc",), image=("bash=5.1.0-r0",), extra=("swig",)
        ),
    ),
)


def problems(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse_lock(text)
    return caught.value.details.splitlines()


def test_round_trip() -> None:
    assert parse_lock(format_lock(LOCK)) == LOCK


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)


@given(name=words, version=words, urls=st.lists(words), size=st.none() | st.integers(min_value=1))
def test_round_trip_of_any_text(name: str, version: str, urls: list[str], size: int | None) -> None:
    row = replace(SOURCE, name=name, version=version, urls=tuple(urls), size=size)
    assert parse_lock(format_lock(Lock(sources=(row,)))) == Lock(sources=(row,))


def test_unmeasured_is_a_word() -> None:
    assert tomllib.loads(format_lock(LOCK))["base"][0]["digest"] == "unmeasured"


CLOSURE = (f"gcc=1-r0 Q1{27 * 'a'}=",)


def test_a_closure_is_left_out_until_it_is_measured() -> None:
    assert "closure" not in format_lock(LOCK)
    measured = replace(LOCK, apks=(replace(LOCK.apks[0], closure=CLOSURE),))
    assert parse_lock(format_lock(measured)) == measured
    with pytest.raises(UsageError) as caught:
        parse_lock(format_lock(measured).replace("Q1aaa", "aaa"))
    assert "apk[0].closure" in caught.value.details


def test_what_nobody_measured_is_counted() -> None:
    # Digests of a base and a builder, the builder's hash, a source's size; gcc and swig have no version;
    # what they bring is not known.
    assert unmeasured(LOCK) == 7
    assert unmeasured_rows(LOCK) == {
        "base 3.13.12 aarch64": ["digest"],
        "builder x86_64": ["digest", "sha256"],
        "source cpython 3.13.5": ["size"],
        "apk musllinux_1_2_aarch64": ["gcc", "swig", "closure"],
    }
    assert unmeasured(replace(LOCK, builders=(replace(LOCK.builders[0], sha256=SHA256),))) == 5
    assert unmeasured(Lock(apks=(replace(LOCK.apks[0], sysroot=("gcc=1-r0",), extra=(), closure=CLOSURE),))) == 0


def test_a_lock_without_extra_packages() -> None:
    text = format_lock(LOCK)
    assert parse_lock(text.replace('extra = ["swig"]\n', "")).apks == (replace(LOCK.apks[0], extra=()),)


def test_every_problem_with_its_path() -> None:
    text = """
        schema = 2
        other = 1
        [[source]]
        name = ""
        version = 3
        filename = "x"
        urls = "https://example.org"
        sha256 = "abc"
        size = -1
        sise = 1
        [[base]]
        release = "3.13.12"
        arch = "amd64"
        digest = "latest"
        filename = "x"
        urls = []
        sha256 = "unmeasured"
        size = "unmeasured"
    """
    assert problems(text) == [
        "base[0].arch: 'amd64' is none of x86_64, aarch64, i686, ppc64le, s390x, armv7l",
        "base[0].digest: 'latest' is not of the form sha256:[0-9a-f]{64}",
        "other: is not known",
        "schema: is not 1",
        "source[0].name: is not a text",
        "source[0].sha256: 'abc' is not of the form [0-9a-f]{64}",
        "source[0].sise: is not known",
        'source[0].size: is neither a number of bytes nor "unmeasured"',
        "source[0].urls: is not a list of texts",
        "source[0].version: is not a text",
    ]


@pytest.mark.parametrize("key", ["base", "source"])
def test_missing_keys(key: str) -> None:
    assert any(line.startswith(f"{key}[0].filename: is missing") for line in problems(f"schema = 1\n[[{key}]]\n"))


@pytest.mark.parametrize("text", ["schema = 1\nsource = 3\n", "schema = 1\nsource = [3]\n"])
def test_not_an_array_of_tables(text: str) -> None:
    assert problems(text) == ["source: is not an array of tables"]


def test_a_package_with_shell_in_it() -> None:
    text = format_lock(LOCK).replace("bash=5.1.0-r0", "bash; rm -rf /")
    assert problems(text) == [
        "apk[0].image: 'bash; rm -rf /' is not of the form [a-z0-9][a-z0-9+_.-]*(=[0-9][\\w.]*-r\\d+)?"
    ]


def test_rows_twice() -> None:
    assert problems(format_lock(replace(LOCK, bases=(BASE, BASE)))) == ["base: 3.13.12 aarch64 is there twice"]


def test_not_toml() -> None:
    with pytest.raises(UsageError, match=r"my\.toml is not TOML"):
        parse_lock("[[", "my.toml")


def test_look_ups() -> None:
    assert LOCK.base("3.13.12", Arch.AARCH64) is BASE
    assert LOCK.builder(Arch.X86_64).filename == "b.tar"
    assert LOCK.apk(Policy.MUSLLINUX_1_2, Arch.AARCH64).image == ("bash=5.1.0-r0",)
    assert [row.name for row in LOCK.wheel_group("toolchain", Arch.X86_64)] == ["z"]
    assert LOCK.wheel_group("toolchain", Arch.AARCH64) == ()
    with pytest.raises(UsageError, match=r"Alpine 3\.12\.12 for aarch64"):
        LOCK.base("3.12.12", Arch.AARCH64)
    with pytest.raises(UsageError, match="builder base for s390x"):
        LOCK.builder(Arch.S390X)
    with pytest.raises(UsageError, match="musllinux_1_1_aarch64"):
        LOCK.apk(Policy.MUSLLINUX_1_1, Arch.AARCH64)


def test_newest_is_by_number() -> None:
    newer = replace(SOURCE, version="3.13.14")
    lock = Lock(sources=(newer, SOURCE))
    assert lock.newest("cpython") is newer
    assert lock.newest("cpython", lambda row: row.version == "3.13.5") is SOURCE
    assert lock.newest("zlib") is None


def test_archive_names() -> None:
    assert SOURCE.archive == "cpython-3.13.5.tgz"
    assert replace(SOURCE, filename="Python.tar.xz").archive == "cpython-3.13.5.tar.xz"
    assert replace(SOURCE, filename="Python").archive == "cpython-3.13.5"
    assert SOURCE.minor == "3.13"


def test_the_shipped_lock_is_complete() -> None:
    lock = read_lock(shipped("dockerfiles") / "lock.toml")
    for name in LIBRARIES:
        assert lock.newest(name) is not None
    for minor in ("3.11", "3.13"):
        assert lock.newest("cpython", lambda row, minor=minor: row.minor == minor) is not None  # type: ignore[misc]
    for arch in Arch:
        for policy in committed_rows().values():
            assert lock.base(policy.base, arch).sha256 is not None
            assert lock.base(policy.newest, arch).sha256 is not None
    assert {(row.policy, row.arch) for row in lock.apks} == {
        (policy, arch) for policy in committed_rows() for arch in Arch
    }
    for row in lock.apks:
        assert {"musl-dev", "gcc", "g++", "git", "curl", "make"} <= set(row.image)
        assert not {*row.sysroot, *row.image} & set(row.extra)
    assert {row.arch for row in lock.wheels if row.group == "toolchain"} <= set(ENGINES)
    assert {row.name for row in lock.wheel_group("python")} == {"pip", "build", "packaging", "pyproject-hooks"}


def test_releases_are_in_order() -> None:
    versions = ["3.9.2", "3.15.0a7", "3.15.0b3", "3.15.0rc1", "3.15.0", "3.15.1", "6.5+20250101", "6.5+20250216"]
    rows = {replace(SOURCE, version=version) for version in versions}
    assert [row.version for row in sorted(rows, key=lambda row: row.order)] == versions
    # OpenSSL's letters are no betas.
    assert replace(SOURCE, version="1.1.1b").order >= replace(SOURCE, version="1.1.1").order
