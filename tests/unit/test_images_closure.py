"""Which packages a request brings with it, and what an index and its packages are believed for."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import pairwise

import pytest

from musllinux_build.errors import FetchError, UsageError
from musllinux_build.images.apkfile import Package, check_package, parse_index, read_signed_index, split_streams
from musllinux_build.images.closure import Dependency, meets, resolve, version_key
from tests.lab import apk
from tests.signing import KEYS, SIGNER, an_apk


def package(name: str, version: str = "1-r0", depends: str = "", provides: str = "", **more: object) -> Package:
    words = {"depends": tuple(depends.split()), "provides": tuple(provides.split()), **more}
    return Package(name=name, version=version, **words)  # type: ignore[arg-type] # of the types that Package has


INDEX = [
    package("bash", "5.1.0-r0", "/bin/sh so:libreadline.so.8"),
    package("bash", "5.0.0-r0", "so:libgone.so.1"),
    package("readline", "8.1.0-r0", "ncurses>=6.2", "so:libreadline.so.8=8.1"),
    package("ncurses", "6.2_p20210109-r0", "!ncurses-old"),
    package("zlib", "1.2.13-r0", "", "so:libz.so.1=1.2.13"),
    package("zlib-dev", "1.2.13-r0", "zlib=1.2.13-r0 pc:none", "pc:zlib=1.2.13"),
    package("none", "1-r0", "", "pc:none"),
    package("openssl-a", "1-r0", "", "tls", priority=1),
    package("openssl-b", "9-r0", "", "tls"),
    package("bash-completion", "2-r0", install_if=("bash", "ncurses")),
    package("never", "2-r0", install_if=("bash", "nothing")),
    package("loop", "1-r0", "pool"),
    package("pool", "1-r0", "loop"),
]
INSTALLED = [package("busybox", "1-r0", "", "/bin/sh"), package("zlib", "1.2.12-r3", "", "so:libz.so.1=1.2.12")]


def names(*requests: str) -> list[str]:
    return [one.filename.removesuffix(".apk") for one in resolve(requests, INDEX, INSTALLED)]


def test_all_that_is_needed_and_nothing_that_is_there() -> None:
    assert names("bash") == ["bash-5.1.0-r0", "bash-completion-2-r0", "ncurses-6.2_p20210109-r0", "readline-8.1.0-r0"]
    assert names("zlib") == []
    assert names("so:libz.so.1") == []
    assert names() == []


def test_what_is_there_and_too_old_is_replaced() -> None:
    assert names("zlib-dev") == ["none-1-r0", "zlib-1.2.13-r0", "zlib-dev-1.2.13-r0"]


def test_of_several_providers_the_one_with_priority() -> None:
    assert names("tls") == ["openssl-a-1-r0"]
    assert names("openssl-b", "tls") == ["openssl-b-9-r0"]


def test_a_circle() -> None:
    assert names("loop") == ["loop-1-r0", "pool-1-r0"]


def test_everything_that_is_missing_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        names("bash=5.0.0-r0", "gfortran", "zlib>2")
    assert caught.value.details.splitlines() == [
        "gfortran: asked for",
        "so:libgone.so.1: needed by bash",
        "zlib>2: asked for",
    ]


@pytest.mark.parametrize(
    ("text", "dependency"),
    [
        ("musl", Dependency(name="musl")),
        ("musl=1.2.2-r1", Dependency(name="musl", relation="=", version="1.2.2-r1")),
        ("!gcc-gnat<5", Dependency(name="gcc-gnat", relation="<", version="5", conflict=True)),
        ("so:libc.musl-x86_64.so.1", Dependency(name="so:libc.musl-x86_64.so.1")),
        ("pc:zlib>=1.2", Dependency(name="pc:zlib", relation=">=", version="1.2")),
        ("git@edge", Dependency(name="git")),
        (">=", Dependency(name=">=")),
    ],
)
def test_dependencies(text: str, dependency: Dependency) -> None:
    assert Dependency.parse(text) == dependency


def test_versions_in_order() -> None:
    # apk-tools 2, test/version.data: each is older than the next.
    order = [
        "junk",
        "1.0_alpha2",
        "1.0_pre1",
        "1.0_rc1",
        "1.0",
        "1.0-r1",
        "1.0_p1",
        "1.0b",
        "1.0.1",
        "1.2",
        "1.10",
        "2",
    ]
    assert all(version_key(one) < version_key(other) for one, other in pairwise(order))


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "met"),
    [
        ("1.2-r1", "=", "1.2-r1", True),
        ("1.2-r1", "=", "1.2", False),
        ("1.2-r1", ">", "1.2", True),
        ("1.2", "<=", "1.2", True),
        ("1.3", "<", "1.2", False),
        ("1.2.3-r4", "~", "1.2", True),
        ("1.2.3-r4", "=~", "1.2", True),
        ("1.20", "~", "1.2", False),
        ("1.3", ">~", "1.2", True),
    ],
)
def test_relations(version: str, relation: str, wanted: str, met: bool) -> None:
    assert meets(version, relation, wanted) is met


def test_records_of_an_index_and_of_a_database() -> None:
    text = "C:Q1x=\nP:a\nV:1-r0\nS:12\nD:b c\np:so:x=1\ni:d\nk:5\n\nP:b\nV:2\nF:etc\nP:no\nV:no\n\nP:half\n\n"
    first, second = parse_index(text)
    assert first == Package(
        name="a",
        version="1-r0",
        checksum="Q1x=",
        size=12,
        depends=("b", "c"),
        provides=("so:x=1",),
        install_if=("d",),
        priority=5,
    )
    assert (second.name, second.version, second.size) == ("b", "2", 0)


def test_a_signed_index_and_its_packages() -> None:
    content = an_apk("bash", ("musl",))
    index = apk.write_index({"bash-1-r0.apk": content}, "lab", SIGNER)
    (found,), key = read_signed_index(index, KEYS, "here")
    assert (found.name, found.depends, key) == ("bash", ("musl",), "lab.rsa.pub")
    check_package(content, found)


def test_an_index_that_another_key_signed() -> None:
    index = apk.write_index({}, "lab", SIGNER)
    with pytest.raises(FetchError, match="is not signed by a key that is known") as caught:
        read_signed_index(index, {"other.rsa.pub": b""}, "here")
    assert caught.value.details == "known: other.rsa.pub"


def test_an_index_that_was_changed() -> None:
    signature = next(split_streams(apk.write_index({}, "lab", SIGNER)))
    other = b"".join(list(split_streams(apk.write_index({"x": an_apk("x")}, "lab", SIGNER)))[1:])
    with pytest.raises(FetchError, match="the signature of here is wrong"):
        read_signed_index(signature + other, KEYS, "here")


@pytest.mark.parametrize("content", [b"", b"none", apk.write_index({}, "lab", SIGNER)[:-9]])
def test_no_index(content: bytes) -> None:
    with pytest.raises(FetchError, match=r"is not (a package index|signed)"):
        read_signed_index(content, KEYS, "here")


def test_a_key_that_is_none() -> None:
    index = apk.write_index({}, "lab", SIGNER)
    for key in (b"", b"AAAA", base64.b64encode(b"\x30\x7f")):
        with pytest.raises(FetchError, match="is not a package index"):
            read_signed_index(index, {"lab.rsa.pub": key}, "here")


def test_packages_that_are_not_those_of_the_index() -> None:
    content = an_apk("bash")
    (found,), _ = read_signed_index(apk.write_index({"bash-1-r0.apk": content}, "lab", SIGNER), KEYS, "here")
    signature, control, data = split_streams(content)
    other_signature, other_control, other_data = split_streams(an_apk("dash"))
    for wrong, why in (
        (content + b"x", "bytes instead of"),
        (signature + other_control + data, "another SHA-1"),
        (signature + control + other_data, "another SHA-256"),
    ):
        with pytest.raises(FetchError) as caught:
            check_package(wrong, replace(found, size=len(wrong) if "bytes" not in why else found.size))
        assert why in caught.value.details
    assert other_signature
    with pytest.raises(FetchError) as caught:
        check_package(b"junk", replace(found, size=4))
    assert "it is no package" in caught.value.details
