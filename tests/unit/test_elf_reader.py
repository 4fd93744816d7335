from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.elf.facts import ElfKind, Hazard, VersionNeed
from musllinux_build.elf.psabi import IRELATIVE, TPOFF
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import WheelError
from tests.elfgen import RELOCATIONS, Obj, build

FULL = {
    "soname": "libx.so.1",
    "needed": ["libc.so", "liby.so.2"],
    "exports": ["open_door", "PyInit_x"],
    "hidden": ["old_door"],
    "undefined": ["puts", "gettid"],
    "weak": ["__cxa_finalize"],
    "unused": ["nobody_asks"],
    "versions": {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.34"], "liby.so.2": ["Y_1"]},
}


@pytest.mark.parametrize("gnu_hash", [False, True])
@pytest.mark.parametrize("arch", list(Arch))
def test_facts_are_what_the_object_was_built_from(arch: Arch, *, gnu_hash: bool) -> None:
    facts = read_elf(build(Obj(arch=arch, rpath="$ORIGIN/a", gnu_hash=gnu_hash, **FULL)), "x.so")  # type: ignore[arg-type]
    assert facts is not None
    assert facts.arch is arch
    assert facts.kind is ElfKind.SHARED
    assert (facts.soname, facts.needed, facts.interp) == ("libx.so.1", ("libc.so", "liby.so.2"), None)
    assert (facts.rpath, facts.runpath, facts.search_path) == ("$ORIGIN/a", None, "$ORIGIN/a")
    assert facts.exports == {"open_door", "PyInit_x"}
    assert facts.undefined == {"puts", "gettid"}
    assert facts.weak == {"__cxa_finalize"}
    assert facts.version_needs == (
        VersionNeed(library="libc.so.6", versions=("GLIBC_2.17", "GLIBC_2.34")),
        VersionNeed(library="liby.so.2", versions=("Y_1",)),
    )
    assert facts.python_init
    assert facts.hazards == frozenset()
    assert facts.describe() == arch.value


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("option", "hazard"),
    [
        ("relr", Hazard.RELR),
        ("initial_exec", Hazard.INITIAL_EXEC_TLS),
        ("irelative", Hazard.IFUNC),
        ("ifunc", Hazard.EXPORTED_IFUNC),
        ("ifunc_used", Hazard.IFUNC),
        ("exec_stack", Hazard.EXECUTABLE_STACK),
        ("textrel", Hazard.TEXT_RELOCATIONS),
    ],
)
def test_each_hazard_is_seen_and_only_that(arch: Arch, option: str, hazard: Hazard) -> None:
    facts = read_elf(build(Obj(arch=arch, undefined=["puts"], **{option: True})), "x.so")  # type: ignore[arg-type]
    assert facts is not None
    assert facts.hazards == {hazard}


def test_relocation_numbers_agree_with_the_generator() -> None:
    for arch, (_, tpoff, irelative, _) in RELOCATIONS.items():
        assert IRELATIVE[arch.row.elf.machine] == irelative
        assert tpoff in TPOFF[arch.row.elf.machine]


def test_runpath_beats_rpath() -> None:
    facts = read_elf(build(Obj(rpath="/a", runpath="/b")), "x.so")
    assert facts is not None
    assert facts.search_path == "/b"


def test_interp_and_what_is_no_library() -> None:
    program = read_elf(build(Obj(interp="/lib/ld-musl-x86_64.so.1")), "p")
    assert program is not None
    assert program.interp == "/lib/ld-musl-x86_64.so.1"
    relocatable = read_elf(build(Obj(kind=1, needed=["liby.so"])), "x.o")
    assert relocatable is not None
    assert (relocatable.kind, relocatable.is_dynamic, relocatable.needed) == (ElfKind.RELOCATABLE, False, ())
    assert read_elf(b"#!/bin/sh\n", "script") is None
    assert read_elf(b"", "empty") is None


def test_a_foreign_machine_is_described() -> None:
    content = bytearray(build(Obj()))
    content[18] = 8
    facts = read_elf(bytes(content), "mips.so")
    assert facts is not None
    assert facts.arch is None
    assert facts.describe() == "machine 8, 64-bit little-endian"


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (4, b"\x09"),  # class
        (16, b"\x63\x00"),  # e_type
        (32, b"\xff\xff\xff\x7f"),  # e_phoff
        (54, b"\x07"),  # e_phentsize
        (56, b"\xff\xff"),  # e_phnum
        (64 + 32, b"\xff\xff\xff\x7f"),  # p_filesz of PT_LOAD
        (64 + 56 + 16, b"\xff\xff\xff\x7f"),  # p_vaddr of PT_DYNAMIC
    ],
)
def test_lying_headers_are_refused(position: int, value: bytes) -> None:
    content = bytearray(build(Obj(needed=["liby.so"])))
    content[position : position + len(value)] = value
    with pytest.raises(WheelError, match=r"x\.so: not a sound ELF file"):
        read_elf(bytes(content), "x.so")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(Arch)), st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=6), st.data()
)
def test_no_mutation_escapes_the_error_of_the_vocabulary(
    arch: Arch, edits: list[tuple[int, int]], data: st.DataObject
) -> None:
    content = bytearray(build(Obj(arch=arch, rpath="$ORIGIN", relr=True, gnu_hash=data.draw(st.booleans()), **FULL)))  # type: ignore[arg-type]
    for position, value in edits:
        content[position % len(content)] = value
    cut = data.draw(st.integers(0, len(content)))
    with suppress(WheelError):
        read_elf(bytes(content[:cut] if data.draw(st.booleans()) else content), "x.so")


@pytest.mark.parametrize("gnu_hash", [False, True])
def test_an_object_without_symbols(*, gnu_hash: bool) -> None:
    facts = read_elf(build(Obj(gnu_hash=gnu_hash)), "x.so")
    assert facts is not None
    assert (facts.exports, facts.undefined) == (frozenset(), frozenset())


def test_a_memoryview_will_do(tmp_path: Path) -> None:
    content = build(Obj(soname="libx.so"))
    assert read_elf(memoryview(content), "x.so") == read_elf(content, "x.so")
