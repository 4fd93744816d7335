"""Objects whose counts, tables and search paths lie: refused, and never dearer than their size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from struct import pack_into, unpack_from

import pytest

from musllinux_build.arch import Arch
from musllinux_build.elf.closure import MOST_OBJECTS, Closure, Found, World, resolve
from musllinux_build.elf.edit import ElfEdit, edit_elf
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import MusllinuxBuildError, WheelError
from tests.elfgen import Obj, build
from tests.laws.bounds import within

SITE = "/(wheel)/lib/python/site-packages"
TAGS = {"hash": 4, "strtab": 5, "symtab": 6, "rela": 7, "relasz": 8, "strsz": 10, "gnu_hash": 0x6FFFFEF5}
TAGS |= {"versym": 0x6FFFFFF0, "verneed": 0x6FFFFFFE, "verneednum": 0x6FFFFFFF, "relr": 36, "relrsz": 35, "needed": 1}


def tag_at(content: bytes, tag: int) -> int:
    """Where the value of a dynamic tag lies in an x86_64 object of elfgen."""
    start, size = unpack_from("<Q", content, 64 + 56 + 8)[0], unpack_from("<Q", content, 64 + 56 + 32)[0]
    for at in range(start, start + size, 16):
        if unpack_from("<Q", content, at)[0] == tag:
            return at + 8
    raise KeyError(tag)


def value(content: bytes, tag: str) -> int:
    found: int = unpack_from("<Q", content, tag_at(content, TAGS[tag]))[0]
    return found


def with_tag(content: bytes, tag: str, number: int) -> bytes:
    changed = bytearray(content)
    pack_into("<Q", changed, tag_at(content, TAGS[tag]), number & (1 << 64) - 1)
    return bytes(changed)


def with_bytes(content: bytes, at: int, form: str, *numbers: int) -> bytes:
    changed = bytearray(content)
    pack_into(form, changed, at, *numbers)
    return bytes(changed)


PLAIN = build(Obj(needed=["libz.so.1"], exports=["f", "g"], undefined=["malloc"]))
HASHED = build(Obj(exports=["f", "g"], gnu_hash=True, hidden=["h"]))
VERSIONED = build(Obj(versions={"libc.so.6": ["GLIBC_2.17", "GLIBC_2.34"]}, exports=["f"]))


def _endless_chain() -> bytes:
    content = bytearray(HASHED)
    start = value(HASHED, "gnu_hash") + 28
    for at in range(start, len(content) - 3, 4):
        if at + 4 <= start + 12:
            pack_into("<I", content, at, 2)
    # The last hash of the chain loses its mark, and all behind it have none by chance or are cleared.
    for at in range(start, len(content)):
        content[at] &= 0xFE if (at - start) % 4 == 0 else 0xFF
    return bytes(content)


LIES: dict[str, Callable[[], bytes]] = {
    "cut after the magic": lambda: PLAIN[:4],
    "cut in the header": lambda: PLAIN[:40],
    "class 3": lambda: with_bytes(PLAIN, 4, "B", 3),
    "order 0": lambda: with_bytes(PLAIN, 5, "B", 0),
    "type 9": lambda: with_bytes(PLAIN, 16, "<H", 9),
    "PN_XNUM program headers": lambda: with_bytes(PLAIN, 56, "<H", 0xFFFF),
    "program headers of no size": lambda: with_bytes(PLAIN, 54, "<H", 0),
    "program headers outside": lambda: with_bytes(PLAIN, 32, "<Q", 1 << 63),
    "program headers at the last byte": lambda: with_bytes(PLAIN, 32, "<Q", len(PLAIN) - 1),
    "segment beyond the file": lambda: with_bytes(PLAIN, 64 + 32, "<Q", 1 << 40),
    "segment whose end wraps": lambda: with_bytes(PLAIN, 64 + 8, "<Q", (1 << 64) - 8),
    "dynamic section outside": lambda: with_bytes(PLAIN, 64 + 56 + 16, "<Q", 1 << 50),
    "dynamic section without end": lambda: with_bytes(PLAIN, 64 + 56 + 32, "<Q", 32),
    "string table outside": lambda: with_tag(PLAIN, "strtab", 1 << 40),
    "string table too long": lambda: with_tag(PLAIN, "strsz", 1 << 40),
    "string table of no bytes": lambda: with_tag(PLAIN, "strsz", 0),
    "needed outside the strings": lambda: with_tag(PLAIN, "needed", 1 << 30),
    "needed before the strings": lambda: with_tag(PLAIN, "needed", -1),
    "symbols outside": lambda: with_tag(PLAIN, "symtab", 1 << 40),
    "symbols at the last byte": lambda: with_tag(PLAIN, "symtab", len(PLAIN) - 1),
    "relocations outside": lambda: with_tag(PLAIN, "rela", 1 << 40),
    "relocations too long": lambda: with_tag(PLAIN, "relasz", 24 << 40),
    "relocation of symbol 2**32 - 1": lambda: with_bytes(PLAIN, value(PLAIN, "rela") + 8, "<Q", 0xFFFFFFFF << 32 | 6),
    "DT_HASH of 2**32 - 1 chains": lambda: with_bytes(PLAIN, value(PLAIN, "hash") + 4, "<I", 0xFFFFFFFF),
    "DT_HASH outside": lambda: with_tag(PLAIN, "hash", 1 << 40),
    "DT_GNU_HASH outside": lambda: with_tag(HASHED, "gnu_hash", 1 << 40),
    "DT_GNU_HASH of 2**32 - 1 buckets": lambda: with_bytes(HASHED, value(HASHED, "gnu_hash"), "<I", 0xFFFFFFFF),
    "DT_GNU_HASH of 2**32 - 1 bloom words": lambda: with_bytes(HASHED, value(HASHED, "gnu_hash") + 8, "<I", 0xFFFFFFFF),
    "DT_GNU_HASH bucket beyond": lambda: with_bytes(HASHED, value(HASHED, "gnu_hash") + 24, "<I", 0xFFFFFFF0),
    "DT_GNU_HASH chain without end": _endless_chain,
    "DT_VERSYM outside": lambda: with_tag(HASHED, "versym", 1 << 40),
    "DT_VERNEED outside": lambda: with_tag(VERSIONED, "verneed", 1 << 40),
    "DT_VERNEED of 2**63 entries": lambda: with_tag(VERSIONED, "verneednum", 1 << 63),
    "DT_VERNEED names outside": lambda: with_bytes(VERSIONED, value(VERSIONED, "verneed") + 8, "<I", 0xFFFFFFFF),
    "DT_VERNEED library outside": lambda: with_bytes(VERSIONED, value(VERSIONED, "verneed") + 4, "<I", 0xFFFFFFFF),
}


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused(case: str) -> None:
    with within(0.5, 4 << 20), pytest.raises(WheelError) as caught:
        read_elf(LIES[case](), "demo/x.so")
    assert caught.value.brief.startswith("demo/x.so: ")
    assert caught.value.resolution


def outcome(content: bytes, edit: ElfEdit | None = None) -> str:
    """What reading, or editing and reading, comes to: ``read`` or the beginning of a message of ours."""
    try:
        read_elf(content if edit is None else bytes(edit_elf(content, edit, "x")), "x")
    except MusllinuxBuildError as error:
        return error.brief
    return "read"


@pytest.mark.parametrize("case", LIES)
def test_lies_are_not_edited(case: str) -> None:
    # Tables that an edit does not touch may lie as before; the reader, which looks at what was edited, says so.
    edit = ElfEdit(soname="x" * 100, search_path="$ORIGIN", expand_relr=True)
    with within(0.5, 4 << 20):
        assert outcome(LIES[case](), edit) != "read"


def test_version_needs_that_lead_to_themselves_end() -> None:
    content = bytearray(VERSIONED)
    at = value(VERSIONED, "verneed")
    pack_into("<HHIII", content, at, 1, 4000, 1, 0, 1)  # the next one begins in the middle of this one
    with within(0.5, 4 << 20), pytest.raises(WheelError):
        read_elf(with_tag(bytes(content), "verneednum", 4000), "x")


def test_version_tables_over_each_other_are_counted_together() -> None:
    # 4000 entries, all with the same 4000 names: sixteen million in a file of some hundred kilobytes.
    content = build(Obj(versions={"libc.so.6": [f"V{n}" for n in range(4000)]}, exports=["f"], padding=bytes(80_000)))
    at, end = value(content, "verneed"), len(content) - 80_000
    changed = bytearray(content)
    for index in range(4000):
        names = at + 16 - (end + 16 * index)
        pack_into("<HHIII", changed, end + 16 * index, 1, 4000, 1, names & 0xFFFFFFFF, 16)
    changed_table = with_tag(with_tag(bytes(changed), "verneed", end), "verneednum", 4000)
    with within(1, 8 << 20), pytest.raises(WheelError):
        read_elf(changed_table, "x")


def test_names_that_share_their_bytes_do_not_multiply() -> None:
    # Twelve thousand symbols, each named by another tail of the same eight thousand bytes: ten times the file.
    names = 12_000
    content = build(Obj(exports=["a" * 8000, *(f"{n:05}" for n in range(names))]))
    changed = bytearray(content)
    table, strings = value(content, "symtab"), value(content, "strtab")
    start = content.index(b"a" * 8000) - strings
    for index in range(1, names):
        pack_into("<I", changed, table + 24 * index, start + index % 2000)
    with within(1, 16 << 20), pytest.raises(WheelError) as caught:
        read_elf(bytes(changed), "x")
    assert "names" in caught.value.brief


def test_relr_that_relocates_more_than_there_is() -> None:
    content = bytearray(build(Obj(relr=True, exports=["f"], padding=b"\xff" * 400_000)))
    lies = with_tag(with_tag(bytes(content), "relr", len(content) - 400_000), "relrsz", 400_000)
    with within(1, 16 << 20), pytest.raises(MusllinuxBuildError):
        edit_elf(lies, ElfEdit(expand_relr=True), "x")


def facts_of(**parts: object) -> ElfFacts:
    found = read_elf(build(Obj(**parts)), "x")  # type: ignore[arg-type] # fields of Obj
    assert found
    return found


def resolve_files(files: Mapping[str, ElfFacts]) -> Closure:
    def lookup(path: str) -> Found | None:
        return Found(identity=path, facts=files[path]) if path in files else None

    return resolve(files, World(arch=Arch.X86_64, lookup=lookup))


def test_search_paths_that_lead_to_themselves_end() -> None:
    loop = "$ORIGIN:$ORIGIN/.:$ORIGIN/../demo:${ORIGIN}/../demo/../demo"
    files = {f"{SITE}/demo/{n}.so": facts_of(needed=["0.so", "1.so", "gone.so"], runpath=loop) for n in range(2)}
    with within(0.5, 4 << 20):
        closure = resolve_files(files)
    assert {len(paths) for paths in closure.loads.values()} == {2}


def test_ten_thousand_needs_are_refused() -> None:
    with pytest.raises(WheelError):
        read_elf(build(Obj(needed=[f"lib{n}.so" for n in range(10_000)])), "x")


def test_needs_times_search_paths_have_an_end() -> None:
    # Four thousand needs, each looked for in a thousand directories, by each of fifty objects.
    path = ":".join(f"/d{n}" for n in range(1000))
    facts = facts_of(needed=[f"lib{n}.so" for n in range(4000)], runpath=path, exports=["PyInit_x"])
    with pytest.raises(WheelError) as caught:
        resolve_files({f"{SITE}/demo/{n}.so": facts for n in range(50)})
    assert "places" in caught.value.brief


def test_a_chain_of_objects_has_an_end() -> None:
    facts = [facts_of(needed=[f"lib{n + 1}.so"], runpath="$ORIGIN") for n in range(MOST_OBJECTS + 2)]
    with pytest.raises(WheelError):
        resolve_files({f"{SITE}/demo/lib{n}.so": found for n, found in enumerate(facts)})


def test_thousands_of_small_objects_cost_what_they_weigh() -> None:
    facts = facts_of(needed=["gone.so"], soname="x")
    started = time.process_time()
    closure = resolve_files({f"{SITE}/demo/lib{n}.so": facts for n in range(3000)})
    assert len([root for root in closure.loads if closure.missing_for(root)]) == 3000
    assert time.process_time() - started < 1


@pytest.mark.parametrize("arch", list(Arch))
def test_every_cut_of_an_object_is_refused_or_read(arch: Arch) -> None:
    content = build(
        Obj(arch=arch, exports=["f"], undefined=["g"], needed=["libz.so"], versions={"l": ["V"]}, relr=True)
    )
    told = {outcome(content[:size]) for size in range(4, len(content), 3)}
    assert all(text.startswith("x: ") for text in told - {"read"})


@pytest.mark.parametrize("arch", list(Arch))
def test_section_headers_outside_the_file_are_left_where_they_are(arch: Arch) -> None:
    wide, order = arch.row.elf.bits == 64, arch.row.elf.order
    content = bytearray(build(Obj(arch=arch, soname="a", exports=["f"])))
    place = slice(40, 48) if wide else slice(32, 36)
    content[place] = ((1 << 8 * (place.stop - place.start)) - 2).to_bytes(place.stop - place.start, order)
    edited = edit_elf(bytes(content), ElfEdit(soname="b" * 200, needed=(), add_needed=("libnew.so",)), "x")
    facts = read_elf(bytes(edited), "x")
    assert facts
    assert facts.soname == "b" * 200
