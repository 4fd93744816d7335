"""The lab's package format, Debian names and package rules, without a network or a compiler."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from tests.lab.apk import (
    Entry,
    Kind,
    Package,
    Signer,
    index_record,
    read_members,
    read_pkginfo,
    split_streams,
    with_parents,
    write_apk,
    write_index,
)
from tests.lab.commands import LabError
from tests.lab.cxx import HEADERS, ZIG_REMARK, read_headers
from tests.lab.debian import find_orig, find_origin, parse_deb822, parse_one_line, upstream_version
from tests.lab.make_lab import BOTH, Branches, wanted
from tests.lab.packages import Linkage, Part, divide, parse_dynamic, requirements
from tests.lab.recipes import BUILDS, DEVELOPMENT
from tests.lab.store import Store
from tests.lab.sysroot import Built
from tests.lab.targets import DEBIAN
from tests.lab.toolchain import WHEELS

SIGNER = Signer(key_name="test.rsa.pub", sign=lambda content: b"signed " + hashlib.sha1(content).digest())

PACKAGE = Package(
    name="yaml",
    version="0.2.5-r0",
    arch="x86_64",
    description="YAML parser",
    license="MIT",
    origin="yaml",
    depends=("so:libc.musl-x86_64.so.1",),
    provides=("so:libyaml-0.so.2=2.0.9",),
)

ENTRIES = (
    Entry(path="usr/lib/libyaml-0.so.2.0.9", kind=Kind.FILE, mode=0o755, content=b"\x7fELF" * 300),
    Entry(path="usr/lib/libyaml-0.so.2", kind=Kind.LINK, content=b"libyaml-0.so.2.0.9"),
    Entry(path="etc/" + "long/" * 30 + "name", kind=Kind.FILE, content=b"text"),
)


@pytest.fixture(name="apk")
def _apk() -> bytes:
    return write_apk(PACKAGE, ENTRIES, SIGNER)


def test_three_streams_signature_control_data(apk: bytes) -> None:
    signature, control, data = split_streams(apk)
    assert signature + control + data == apk
    assert read_members(signature) == {".SIGN.RSA.test.rsa.pub": SIGNER.sign(control)}
    assert list(read_members(control)) == [".PKGINFO"]
    assert read_members(data) == {entry.path: entry.content for entry in ENTRIES if entry.kind is Kind.FILE}


def test_only_the_last_segment_ends_the_archive(apk: bytes) -> None:
    ended = [gzip.decompress(stream).endswith(bytes(1024)) for stream in split_streams(apk)]
    assert ended == [False, False, True]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(apk))) as chain:
        assert {".SIGN.RSA.test.rsa.pub", ".PKGINFO", ENTRIES[0].path} <= set(chain.getnames())


def test_pkginfo_has_the_hash_and_size_of_the_data(apk: bytes) -> None:
    _, control, data = split_streams(apk)
    info = read_pkginfo(read_members(control)[".PKGINFO"].decode())
    assert info["datahash"] == (hashlib.sha256(data).hexdigest(),)
    assert info["size"] == (str(1200 + 4),)
    assert info["depend"] == PACKAGE.depends
    assert info["provides"] == PACKAGE.provides


def test_members_are_ordered_roots_and_carry_the_sum_apk_compares(apk: bytes) -> None:
    *_, data = split_streams(apk)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "root", 0)}
    sums = {member.name: member.pax_headers.get("APK-TOOLS.checksum.SHA1") for member in members}
    assert sums["usr/lib"] is None
    assert sums["usr/lib/libyaml-0.so.2"] == hashlib.sha1(b"libyaml-0.so.2.0.9").hexdigest()
    assert sums["usr/lib/libyaml-0.so.2.0.9"] == hashlib.sha1(ENTRIES[0].content).hexdigest()


def test_the_order_of_entries_does_not_matter(apk: bytes) -> None:
    assert write_apk(PACKAGE, reversed(ENTRIES), SIGNER) == apk


def test_parents_come_before_what_is_in_them() -> None:
    paths = [entry.path for entry in with_parents([Entry(path="usr/lib/x", kind=Kind.FILE)])]
    assert paths == ["usr", "usr/lib", "usr/lib/x"]


def test_index_record_names_the_control_segment(apk: bytes) -> None:
    _, control, _ = split_streams(apk)
    identity = base64.b64encode(hashlib.sha1(control).digest()).decode()
    assert index_record(apk).splitlines() == [
        f"C:Q1{identity}",
        f"S:{len(apk)}",
        "P:yaml",
        "V:0.2.5-r0",
        "A:x86_64",
        "I:1204",
        "T:YAML parser",
        "U:https://musl.libc.org/",
        "L:MIT",
        "o:yaml",
        "D:so:libc.musl-x86_64.so.1",
        "p:so:libyaml-0.so.2=2.0.9",
    ]


def test_index_is_signed_and_separates_records(apk: bytes) -> None:
    signature, index = split_streams(write_index({"b.apk": apk, "a.apk": apk}, "lab", SIGNER))
    assert read_members(signature)[".SIGN.RSA.test.rsa.pub"] == SIGNER.sign(index)
    members = read_members(index)
    assert members["DESCRIPTION"] == b"lab"
    assert members["APKINDEX"].decode() == f"{index_record(apk)}\n{index_record(apk)}\n"


def test_origin_is_the_stanza_with_the_release_itself() -> None:
    text = (
        "Types: deb\n# a comment\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n\n"
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /keyring.gpg\n"
    )
    assert find_origin(parse_deb822(text)).uri == "http://mirror.example/debian"
    assert find_origin(parse_deb822(text)).signed_by == "/keyring.gpg"


def test_origin_in_a_one_line_list() -> None:
    lines = (
        "# deb http://no.example bookworm main\ndeb [signed-by=/k.gpg] http://mirror.example bookworm main contrib\n"
    )
    origin = find_origin(parse_one_line(lines))
    assert (origin.uri, origin.signed_by) == ("http://mirror.example", "/k.gpg")


def test_no_origin_is_an_error() -> None:
    with pytest.raises(LabError, match="bookworm"):
        find_origin(parse_one_line("deb http://mirror.example trixie main\n"))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("zlib_1.3.dfsg+really1.3.1.orig.tar.gz", "1.3.1"),
        ("python3.13_3.13.5.orig.tar.xz", "3.13.5"),
        ("cpython_3.9.2+dfsg1.orig.tar.gz", "3.9.2"),
    ],
)
def test_upstream_version(name: str, version: str) -> None:
    assert upstream_version(name) == version


def test_every_architecture_has_debian_names_and_a_compiler() -> None:
    assert set(DEBIAN) == set(Arch)
    assert len({wheel.sha256 for wheel in WHEELS.values()}) == len(Arch) == len(WHEELS)


def test_the_upstream_tarball_of_a_source_package() -> None:
    rows = (
        "'http://m.example/a_1-1.dsc' a_1-1.dsc 10 SHA256:00",
        "'http://m.example/a_1.orig-docs.tar.xz' a_1.orig-docs.tar.xz 10 SHA256:11",
        "'http://m.example/a_1.orig.tar.xz.asc' a_1.orig.tar.xz.asc 10 SHA256:22",
        "'http://m.example/a_1.orig.tar.xz' a_1.orig.tar.xz 10 SHA256:33",
    )
    orig = find_orig("\n".join(rows))
    assert (orig.uri, orig.checksum) == ("http://m.example/a_1.orig.tar.xz", "SHA256:33")
    with pytest.raises(LabError, match=r"a_1-1\.dsc"):
        find_orig(rows[0])


def test_a_compilation_serves_the_branches_whose_time_is_the_same() -> None:
    older, newer = (policy.row for policy in BOTH)
    wide = Branches.of(Arch.S390X, BOTH)
    assert (wide.sysroot, wide.programs, wide.headers) == (older, (older, newer), (older, newer))
    narrow = Branches.of(Arch.ARMV7L, BOTH)
    assert (narrow.sysroot, narrow.programs, narrow.headers) == (newer, (newer,), (older, newer))


def test_what_is_made_by_default_is_what_the_checks_need() -> None:
    assert wanted((), (), everything=False) == {Arch.X86_64: BOTH, Arch.AARCH64: BOTH[1:]}
    assert wanted((Arch.I686,), BOTH[:1], everything=False) == {Arch.I686: BOTH[:1]}
    assert wanted((), (), everything=True) == dict.fromkeys(Arch, BOTH)


class SignedStore(Store):
    """A store with a key that is no key."""

    def signer(self) -> Signer:
        return SIGNER


def test_packages_of_the_same_inputs_serve_another_branch(tmp_path: Path) -> None:
    store = SignedStore(directory=tmp_path)
    older, newer = tmp_path / "apk" / "v3.12", tmp_path / "apk" / "v3.13"
    store.publish("yaml", "d", [Built(package=PACKAGE, entries=ENTRIES)], "v3.13", newer)
    assert not store.adopt("yaml", "other", "v3.12", ["v3.12", "v3.13"], older)
    assert store.adopt("yaml", "d", "v3.12", ["v3.12", "v3.13"], older)
    assert store.fresh("yaml-v3.12", "d")
    assert {path.name: path.read_bytes() for path in older.iterdir()} == {
        path.name: path.read_bytes() for path in newer.iterdir()
    }


def test_a_newer_package_replaces_an_older_in_file_and_index(tmp_path: Path) -> None:
    store = SignedStore(directory=tmp_path)
    place = tmp_path / "main"
    store.publish("yaml", "1", [Built(package=PACKAGE, entries=ENTRIES)], "v3.13", place)
    store.publish("yaml", "2", [Built(package=replace(PACKAGE, version="0.2.5-r1"), entries=ENTRIES)], "v3.13", place)
    assert sorted(path.name for path in place.iterdir()) == ["APKINDEX.tar.gz", "yaml-0.2.5-r1.apk"]
    _, index = split_streams((place / "APKINDEX.tar.gz").read_bytes())
    assert read_members(index)["APKINDEX"].decode().count("V:") == 1


def test_headers_include_the_site_configuration_where_zig_says_so(tmp_path: Path) -> None:
    for name, text in (("libcxx/include/__config", f"{ZIG_REMARK}\nint x;\n"), ("libcxxabi/include/cxxabi.h", "")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    headers = {entry.path.removeprefix(HEADERS): entry.content for entry in read_headers(tmp_path)}
    assert set(headers) == {"__config_site", "__config", "cxxabi.h"}
    assert headers["__config"] == b"#include <__config_site>\nint x;\n"


def test_dynamic_section_of_readelf() -> None:
    text = (
        "  Tag        Type                         Name/Value\n"
        " 0x0000000000000001 (NEEDED)             Shared library: [libc.musl-x86_64.so.1]\n"
        " 0x000000000000000e (SONAME)             Library soname: [libyaml-0.so.2]\n"
        " 0x000000006ffffef5 (GNU_HASH)           0x3b8\n"
    )
    assert parse_dynamic(text) == Linkage(
        soname="libyaml-0.so.2",
        needed=("libc.musl-x86_64.so.1",),
        tags=frozenset({"NEEDED", "SONAME", "GNU_HASH"}),
    )


def test_requirements_follow_from_the_files() -> None:
    pc = Entry(path="usr/lib/pkgconfig/yaml-0.1.pc", kind=Kind.FILE, content=b"Name: LibYAML\nVersion: 0.2.5\n")
    library = Linkage(soname="libyaml-0.so.2", needed=("libc.so",), tags=frozenset())
    program = Linkage(soname=None, needed=("libyaml-0.so.2", "libc.so"), tags=frozenset())
    links = {"usr/lib/libyaml-0.so.2.0.9": library, "usr/bin/y": program}
    depends, provides = requirements((*ENTRIES, pc), links)
    assert depends == ("so:libc.so",)
    assert provides == ("pc:yaml-0.1=0.2.5", "so:libyaml-0.so.2=2.0.9")


def test_files_are_divided_and_a_stray_one_is_an_error() -> None:
    parts = (
        Part(name="yaml-dev", description="", patterns=DEVELOPMENT),
        Part(name="yaml", description="", patterns=("usr/lib/*.so.*",)),
    )
    link = Entry(path="usr/lib/libyaml.so", kind=Kind.LINK, content=b"libyaml-0.so.2.0.9")
    manual = Entry(path="usr/share/man/x", kind=Kind.FILE)
    assert divide((*ENTRIES[:2], link, manual), parts) == {"yaml-dev": (link,), "yaml": ENTRIES[:2]}
    with pytest.raises(LabError, match="belongs to none of yaml-dev, yaml"):
        divide(ENTRIES, parts)


def test_part_names_are_unique() -> None:
    names = [part.name for row in BUILDS for part in row.parts]
    assert len(names) == len(set(names))
