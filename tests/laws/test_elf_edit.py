"""Edits of objects of all six architectures: they say what was asked for and keep all else."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from struct import pack, pack_into, unpack_from

import pytest
from elftools.elf import enums
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.elf.edit import KEEP, ElfEdit, check_edit, edit_elf, edit_in_place
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.elf.image import ElfImage, Segment
from musllinux_build.elf.layout import Layout, read_layout
from musllinux_build.elf.numbers import TAG
from musllinux_build.elf.psabi import HAS_ADDEND, RELATIVE
from musllinux_build.elf.reader import read_elf
from musllinux_build.elf.relr import expand_relr, relr_places
from musllinux_build.elf.strings import elf_hash
from musllinux_build.errors import RepairError, WheelError
from tests.elfgen import Obj, build

COMMENT = b"made by a linker\0"
NAMES = st.sampled_from(["liba.so", "libb.so.1", "z.so", "libz.so", "liba-0123abcd.so", "libbb-99999999.so.1", "a"])
PATHS = st.sampled_from(["$ORIGIN", "$ORIGIN/../demo.libs", "/usr/lib", "a"])
ARCHS = st.sampled_from(list(Arch))
OBJECTS = st.builds(
    Obj,
    arch=ARCHS,
    soname=st.none() | NAMES,
    needed=st.lists(NAMES, max_size=3, unique=True),
    rpath=st.none() | PATHS,
    runpath=st.none() | PATHS,
    exports=st.sampled_from([(), ("so", "b.so.1")]),
    undefined=st.sampled_from([(), ("puts",)]),
    versions=st.dictionaries(NAMES, st.just(["V_1"]), max_size=2),
    interp=st.none() | st.just("/lib/ld-musl-x86_64.so.1"),
    relr=st.booleans(),
    exec_stack=st.booleans(),
    gnu_hash=st.booleans(),
    padding=st.sampled_from([b"", b"#" * 70000]),
)
EDITS = st.builds(
    ElfEdit,
    soname=st.none() | NAMES,
    needed=st.dictionaries(NAMES, NAMES, max_size=3).map(lambda names: tuple(names.items())),
    drop_needed=st.lists(NAMES, max_size=1).map(tuple),
    add_needed=st.lists(NAMES, max_size=2).map(tuple),
    search_path=st.just(KEEP) | st.none() | PATHS,
    expand_relr=st.booleans(),
    clear_exec_stack=st.booleans(),
)


def facts_of(content: bytes | bytearray) -> ElfFacts:
    facts = read_elf(bytes(content), "x.so")
    assert facts is not None
    return facts


def layout_of(content: bytes | bytearray) -> Layout:
    layout = read_layout(bytes(content), "x.so")
    assert layout is not None
    return layout


def edited(content: bytes | bytearray, edit: ElfEdit) -> bytearray:
    result = edit_elf(content, edit, "x.so")
    check_edit(facts_of(content), facts_of(result), edit)
    in_place = bytearray(content)
    edit_in_place(in_place, edit, "x.so")
    assert in_place == result
    return result


def with_data(content: bytes, zeros: int) -> bytes:
    """The object with its segment writable, not executable, and followed by zeroes, as a last segment is."""
    layout = layout_of(content)
    rows = [
        replace(row, flags=6, memory_size=row.memory_size + zeros) if row.type == 1 else row for row in layout.programs
    ]
    table = layout.form.pack_programs(rows)
    return content[: layout.programs_at] + table + content[layout.programs_at + len(table) :]


def with_sections(content: bytes) -> bytes:
    """The object with a comment and section headers, as linkers write them, at its end."""
    layout = layout_of(content)
    tags = dict(layout.dynamic)
    facts = facts_of(content)
    symbol_size, row = (24, 24) if facts.bits == 64 else (16, 8)
    tables = [
        (11, "DT_SYMTAB", symbol_size * (1 + len(facts.exports) + len(facts.undefined)), symbol_size),
        (3, "DT_STRTAB", tags[TAG["DT_STRSZ"]], 0),
        (4, "DT_RELA", tags.get(TAG["DT_RELASZ"], 0), row),
        (9, "DT_REL", tags.get(TAG["DT_RELSZ"], 0), row),
        (19, "DT_RELR", tags.get(TAG["DT_RELRSZ"], 0), layout.form.word),
    ]
    rows = [(0, 0, 0, 0)] + [
        (kind, tags[TAG[tag]], size, entry) for kind, tag, size, entry in tables if TAG[tag] in tags
    ]
    rows.append((6, layout.dynamic_at, layout.capacity * layout.form.pair.size, layout.form.pair.size))
    (load,) = layout.loads
    rows.append((8, load.file_end, load.memory_size - load.file_size, 0))
    names = 2 + len(rows)
    table = b"".join(
        layout.form.section.pack(0, kind, 2 if kind else 0, at, at, size, 2 if kind in {6, 11} else 1, 0, 8, entry)
        for kind, at, size, entry in rows
    )
    table += layout.form.section.pack(0, 1, 0, 0, len(content), len(COMMENT), 0, 0, 1, 0)
    table += layout.form.section.pack(0, 3, 0, 0, len(content), len(COMMENT), 0, 0, 1, 0)
    header = list(layout.header)
    start = len(content) + len(COMMENT)
    header[5], header[10], header[11], header[12] = start, layout.form.section.size, names, names - 1
    content = content[:16] + layout.form.header.pack(*header) + content[16 + layout.form.header.size :]
    return content + COMMENT + table


def test_there_are_numbers_for_each_machine() -> None:
    names = {62: "x64", 3: "i386", 183: "AARCH64", 40: "ARM", 21: "PPC64", 22: "S390X"}
    short = {62: "X86_64", 3: "386", 22: "390"}
    for machine, name in names.items():
        numbers = getattr(enums, f"ENUM_RELOC_TYPE_{name}")
        assert RELATIVE[machine] == numbers[f"R_{short.get(machine, name)}_RELATIVE"]
    assert {arch.row.elf.machine for arch in Arch} == RELATIVE.keys()


@settings(max_examples=60, deadline=None)
@given(OBJECTS, EDITS, EDITS, st.booleans(), st.sampled_from([None, 0, 24, 5000, 5000000]))
def test_any_edit_of_any_object(obj: Obj, edit: ElfEdit, again: ElfEdit, has_sections: bool, zeros: int | None) -> None:
    content = build(obj)
    content = content if zeros is None else with_data(content, zeros)
    content = with_sections(content) if has_sections else content
    kept = bytes(content)
    once = edited(content, edit)
    assert content == kept
    gone = {old for old, _ in edit.needed} | {*edit.drop_needed}
    if not gone & ({new for _, new in edit.needed} | {*edit.add_needed}):
        assert edit_elf(once, edit, "x.so") == once
    twice = edited(bytes(once), again)
    for result in (once, twice):
        layout = layout_of(result)
        assert [row.address for row in layout.loads] == sorted(row.address for row in layout.loads)
        assert all(row.end <= later.address for row, later in pairwise(layout.loads))
        assert all((row.address - row.offset) % 4096 == 0 for row in layout.loads)
        table = range(layout.programs_at, layout.programs_at + len(layout.programs) * layout.form.program.size)
        holder = next(row for row in layout.loads if row.offset <= table[0] < row.file_end)
        assert table[-1] < holder.file_end
        if obj.interp:
            assert holder.address == holder.offset
        if zeros is not None and zeros < 5000000 and (has_sections or not zeros):
            assert (layout.programs_at, len(layout.loads)) == (layout_of(content).programs_at, 1)
        if has_sections:
            _sections_agree(result)
    assert len(layout_of(twice).loads) <= 2
    _same_elsewhere(content, once)


def _sections_agree(content: bytearray) -> None:
    """Section headers say of every mapped byte what the segments say, and the rest is still where they point."""
    layout = layout_of(content)
    mapped = [row for row in layout.sections if row.is_mapped]
    assert all(layout.image.offset_of(row.address, "a section")[0] == row.offset for row in mapped)
    comment = layout.sections[-1]
    assert content[comment.offset : comment.offset + comment.size] == COMMENT
    tags = dict(layout.dynamic)
    assert layout.section_at(tags[TAG["DT_STRTAB"]], types=frozenset({3}), size=tags[TAG["DT_STRSZ"]])


def _same_elsewhere(before: bytes, after: bytearray) -> None:
    """Mapped bytes that are neither headers nor one of the tables an edit may touch are the same."""
    layout = layout_of(before)
    tags = dict(layout.dynamic)
    spans = [
        (0, 64 + len(layout.programs) * layout.form.program.size),
        (layout.dynamic_at, layout.capacity * layout.form.pair.size),
        (tags[TAG["DT_STRTAB"]], tags[TAG["DT_STRSZ"]]),
        (tags.get(TAG["DT_VERNEED"], 0), 96),
    ]
    if layout.sections and Hazard.RELR in facts_of(before).hazards:
        spans += [
            (tags.get(TAG[name], 0), tags.get(TAG[size], 0))
            for name, size in (("DT_RELR", "DT_RELRSZ"), ("DT_RELA", "DT_RELASZ"), ("DT_REL", "DT_RELSZ"))
        ]
    (load,) = layout.loads
    old, new = bytearray(before[: load.file_end]), after[: load.file_end]
    for start, size in spans:
        old[start : start + size] = new[start : start + size] = bytes(size)
    assert old == new


@pytest.mark.parametrize("arch", list(Arch))
def test_other_readers_see_what_the_loader_sees(arch: Arch) -> None:
    obj = Obj(arch=arch, soname="libx.so", needed=["liby.so"], exports=["x"], undefined=["puts"], relr=True)
    content = with_sections(build(obj))
    edit = ElfEdit(soname="libx-1.so", needed=(("liby.so", "liby-1.so"),), search_path="$ORIGIN", expand_relr=True)
    elf = ELFFile(BytesIO(edited(content, edit)))
    (dynamic,) = (row for row in elf.iter_sections() if isinstance(row, DynamicSection))
    said = {tag.entry.d_tag: tag for tag in dynamic.iter_tags()}
    assert (said["DT_SONAME"].soname, said["DT_NEEDED"].needed) == ("libx-1.so", "liby-1.so")
    assert said["DT_RPATH"].rpath == "$ORIGIN"
    assert not {"DT_RELR", "DT_RELRSZ", "DT_RELRENT"} & said.keys()
    (table,) = (row for row in elf.iter_sections() if isinstance(row, RelocationSection))
    rows = list(table.iter_relocations())
    assert rows[0]["r_info_type"] == RELATIVE[arch.row.elf.machine]
    assert (rows[0]["r_offset"], len(rows)) == (64, 2)
    (word,) = unpack_from(("<" if elf.little_endian else ">") + ("Q" if elf.elfclass == 64 else "I"), content, 64)
    assert rows[0].is_RELA() == (arch.row.elf.machine in HAS_ADDEND)
    if rows[0].is_RELA():
        assert rows[0]["r_addend"] & (1 << 64) - 1 == word
    segments = {row["p_type"]: row for row in elf.iter_segments()}
    assert segments["PT_DYNAMIC"]["p_offset"] == dynamic["sh_offset"]


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.ARMV7L])
def test_packed_relocations_alone_become_a_table(arch: Arch) -> None:
    content = with_sections(build(Obj(arch=arch, relr=True)))
    elf = ELFFile(BytesIO(edited(content, ElfEdit(expand_relr=True))))
    (table,) = (row for row in elf.iter_sections() if isinstance(row, RelocationSection))
    assert [row["r_offset"] for row in table.iter_relocations()] == [64]
    tags = dict(layout_of(elf.stream.getvalue()).dynamic)
    names = ("DT_RELA", "DT_RELASZ", "DT_RELAENT") if arch is Arch.X86_64 else ("DT_REL", "DT_RELSZ", "DT_RELENT")
    assert [tags[TAG[name]] for name in names[1:]] == [24, 24] if arch is Arch.X86_64 else [8, 8]
    assert tags[TAG[names[0]]] == table["sh_addr"]


def test_a_name_of_the_same_length_is_written_in_place() -> None:
    content = with_sections(build(Obj(soname="libx-00000000.so", needed=["liby-00000000.so"], runpath="$ORIGIN/long")))
    edit = ElfEdit(soname="libx-11111111.so", needed=(("liby-00000000.so", "liby-11111111.so"),), search_path="$ORIGIN")
    result = edited(content, edit)
    assert len(result) == len(content)
    assert facts_of(result).runpath == "$ORIGIN"
    assert b"00000000" not in result


def test_a_name_that_another_uses_a_part_of_is_left_alone() -> None:
    shared = Obj(soname="libx-00000000.so", exports=["x_so"])
    content = with_sections(build(shared))
    layout = layout_of(content)
    tags = dict(layout.dynamic)
    in_place = bytearray(content)
    edit = ElfEdit(soname="libx-11111111.so")
    assert len(edited(bytes(in_place), edit)) == len(content)
    # The symbol's name becomes the end of the library's, as linkers share them.
    start = tags[TAG["DT_SONAME"]] + len("libx-00000000.so") - 2
    pack_into("<I", in_place, tags[TAG["DT_SYMTAB"]] + 24, start)
    result = edited(bytes(in_place), edit)
    assert facts_of(result).exports == {"so"}
    assert len(result) > len(content)
    # Without section headers nothing tells how many symbols there are.
    assert len(edited(build(shared), edit)) > len(build(shared))


def test_a_second_edit_grows_by_what_is_new() -> None:
    content = build(Obj(soname="libx.so", needed=["liby.so"], exports=[f"symbol_{number}" for number in range(500)]))
    once = edited(content, ElfEdit(soname="libx-1.so", search_path="$ORIGIN", expand_relr=True))
    twice = edited(bytes(once), ElfEdit(soname="libx-12.so", needed=(("liby.so", "liby-12.so"),)))
    assert len(layout_of(twice).programs) == len(layout_of(once).programs)
    assert 0 < len(twice) - len(once) <= len("libx-12.so") + len("liby-12.so") + 2


def test_a_spare_program_header_is_used() -> None:
    content = bytearray(build(Obj(soname="libx.so", padding=b"\1")))
    layout = layout_of(content)
    at = layout.programs_at + 2 * layout.form.program.size
    content[at : at + layout.form.program.size] = bytes(layout.form.program.size)
    # What follows the segment in the file keeps it from being extended.
    result = edited(bytes(content) + b"debug", ElfEdit(soname="libx-longer.so"))
    assert (layout_of(result).programs_at, len(layout_of(result).programs)) == (layout.programs_at, 3)


def test_the_base_definition_names_the_object_anew() -> None:
    content = bytearray(build(Obj(soname="libx.so", padding=bytes(64))))
    layout = layout_of(content)
    name = dict(layout.dynamic)[TAG["DT_SONAME"]]
    at = len(content) - 64
    content[at : at + 28] = pack("<HHHHIIIII", 1, 1, 1, 1, elf_hash(b"libx.so"), 20, 0, name, 0)
    # DT_VERDEF and DT_VERDEFNUM in the place of DT_HASH, which an object may do without as far as an edit is concerned.
    entries = [(0x6FFFFFFC, at) if tag == TAG["DT_HASH"] else (tag, value) for tag, value in layout.dynamic]
    content += b"".join(layout.form.pair.pack(*entry) for entry in [*entries, (0x6FFFFFFD, 1), (0, 0)])
    moved = _with_dynamic(content, layout, len(content) - (len(entries) + 2) * 16)
    result = edit_elf(bytes(moved), ElfEdit(soname="libx-1.so"), "x.so")
    fields = unpack_from("<HHHHIIIII", result, at)
    table = dict(layout_of(result).dynamic)[TAG["DT_SONAME"]]
    assert (fields[4], fields[7]) == (elf_hash(b"libx-1.so"), table)
    assert elf_hash(b"libc.so.6") == 0x0F63CF56 or elf_hash(b"GLIBC_2.0") == 0x0D696910


def _with_dynamic(content: bytearray, layout: Layout, at: int) -> bytearray:
    """The object with PT_DYNAMIC at ``at`` to its end, and PT_LOAD up to there."""
    for position in range(len(layout.programs)):
        place = layout.programs_at + position * 56
        if layout.programs[position].type == 1:
            pack_into("<QQ", content, place + 32, len(content), len(content))
        elif layout.programs[position].type == 2:
            pack_into("<QQQQQ", content, place + 8, at, at, at, len(content) - at, len(content) - at)
    return content


def with_entry(content: bytes, tag: str, entry: tuple[int, int]) -> bytes:
    """The object with another entry in the place of ``tag`` in its dynamic section."""
    layout = layout_of(content)
    at = layout.dynamic_at + layout.form.pair.size * [row for row, _ in layout.dynamic].index(TAG[tag])
    return content[:at] + layout.form.pair.pack(*entry) + content[at + layout.form.pair.size :]


def with_program(content: bytes, kind: int, **fields: int) -> bytes:
    """The object with ``fields`` changed in its program header of type ``kind``."""
    layout = layout_of(content)
    rows = [replace(row, **fields) if row.type == kind else row for row in layout.programs]
    table = layout.form.pack_programs(rows)
    return content[: layout.programs_at] + table + content[layout.programs_at + len(table) :]


STACK = 0x6474E551
PLAIN = build(Obj(soname="liba.so", needed=["libb.so"], versions={"libb.so": ["V_1"]}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_entry(PLAIN, "DT_STRTAB", (0x70000000, 0)), "no string table"),
        (with_entry(PLAIN, "DT_STRSZ", (TAG["DT_STRSZ"], 1 << 20)), "string table runs over"),
        (with_entry(PLAIN, "DT_SONAME", (TAG["DT_SONAME"], 1 << 20)), "a name lies outside"),
        (with_entry(PLAIN, "DT_VERNEED", (TAG["DT_VERNEED"], 1 << 20)), "version table lies outside"),
        (with_entry(PLAIN, "DT_VERNEED", (TAG["DT_VERNEED"], len(PLAIN) - 4)), "version table runs over"),
        (with_entry(PLAIN, "DT_VERNEEDNUM", (TAG["DT_VERNEEDNUM"], 5000)), "5000 entries"),
        (with_program(PLAIN, 2, file_size=1 << 20), "dynamic section runs over"),
        (with_program(PLAIN, 2, file_size=32), "dynamic section has no end"),
        (PLAIN[:60], "cut short"),
    ],
)
def test_tables_that_lie(content: bytes, words: str) -> None:
    with pytest.raises(WheelError, match=words):
        edit_elf(content, ElfEdit(soname="libc.so"), "x.so")


def test_an_object_without_a_dynamic_section() -> None:
    with pytest.raises(RepairError, match="no dynamic section"):
        edit_elf(with_program(PLAIN, 2, type=4), ElfEdit(), "x.so")


def test_an_empty_table_of_packed_relocations_just_goes() -> None:
    content = with_entry(build(Obj(relr=True)), "DT_RELRSZ", (TAG["DT_RELRSZ"], 0))
    assert TAG["DT_RELR"] not in dict(layout_of(edit_elf(content, ElfEdit(expand_relr=True), "x.so")).dynamic)


@pytest.mark.parametrize(("edit", "loads"), [(ElfEdit(soname="libc-1.so"), 2), (ElfEdit(search_path="/a"), 3)])
def test_read_only_data_does_not_become_writable(edit: ElfEdit, loads: int) -> None:
    """A dynamic section that moves wants to be writable, names do not."""
    size = len(PLAIN)
    content = with_program(
        PLAIN, STACK, type=1, flags=4, offset=size, address=0x10000 + size, file_size=16, memory_size=16
    )
    rows = layout_of(edited(content + bytes(16), edit)).loads
    assert (len(rows), rows[1].flags) == (loads, 4)


def test_what_a_program_header_shows_behind_the_segments_stays() -> None:
    content = with_sections(with_data(PLAIN, 0))
    content = with_program(content, STACK, type=4, offset=len(PLAIN), file_size=len(COMMENT))
    result = edited(content, ElfEdit(soname="libc-1.so"))
    assert result[len(PLAIN) :].startswith(COMMENT)
    assert len(layout_of(result).loads) == 2


def test_section_headers_that_point_outside_are_no_section_headers() -> None:
    content = bytearray(with_sections(with_data(PLAIN, 0)))
    last = layout_of(content).sections[-1]
    pack_into("<Q", content, last.at + 24, 1 << 40)
    result = edited(bytes(content), ElfEdit(soname="libc-1.so"))
    assert (layout_of(result).sections, len(layout_of(result).loads)) == ((), 2)


def test_an_address_space_that_is_full() -> None:
    full = with_data(build(Obj(arch=Arch.I686, soname="liba.so")), (1 << 32) - 4096)
    with pytest.raises(RepairError, match="no address is left"):
        edit_elf(full, ElfEdit(soname="libb-1.so"), "x.so")
    program = with_data(build(Obj(soname="liba.so", interp="/lib/ld-musl-x86_64.so.1")), 1 << 30)
    with pytest.raises(RepairError, match="empty bytes"):
        edit_elf(program, ElfEdit(soname="libb-1.so"), "x")


def test_a_count_of_relocations_that_lies() -> None:
    content = with_entry(build(Obj(arch=Arch.I686, relr=True, textrel=True)), "DT_TEXTREL", (0x6FFFFFFA, 0xFFFFFFFF))
    with pytest.raises(WheelError, match="larger than its class allows"):
        edit_elf(content, ElfEdit(expand_relr=True), "x.so")


def test_section_headers_that_are_nowhere_stay_there() -> None:
    content = bytearray(with_data(build(Obj(arch=Arch.I686, soname="libx.so")), 0))
    pack_into("<I", content, 32, 0xFFFFFFF0)
    result = edited(bytes(content), ElfEdit(soname="libx-longer.so"))
    assert layout_of(result).header[5] == 0xFFFFFFF0


def test_version_tables_over_each_other_end() -> None:
    content = bytearray(build(Obj(needed=["liba.so"], versions={"liba.so": ["V_1"]}, padding=bytes(70000))))
    start, tags = len(content) - 70000, dict(layout_of(content).dynamic)
    # 4096 needs, 16 bytes apart, each of 4096 names: the needs themselves, read as such.
    for at in range(start, start + 4096 * 16, 16):
        pack_into("<HHIII", content, at, 1, 4096, 1, 16, 16)
    entries = {0x6FFFFFFE: start, 0x6FFFFFFF: 4096}
    layout = layout_of(content)
    rows = [(tag, entries.get(tag, value)) for tag, value in layout.dynamic]
    table = b"".join(layout.form.pair.pack(*row) for row in rows)
    content[layout.dynamic_at : layout.dynamic_at + len(table)] = table
    assert tags.keys() >= entries.keys()
    with pytest.raises(WheelError, match="version tables"):
        edit_elf(content, ElfEdit(soname="libb.so"), "x.so")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(RepairError, match="no name"):
        edit_elf(build(Obj(needed=["liba.so"])), ElfEdit(needed=(("liba.so", name),)), "x.so")


def test_what_cannot_be_edited() -> None:
    with pytest.raises(RepairError, match="no dynamic section"):
        edit_elf(build(Obj(kind=1)), ElfEdit(), "x.o")
    with pytest.raises(WheelError):
        edit_elf(b"#!/bin/sh", ElfEdit(), "script")
    before = facts_of(build(Obj(soname="liba.so")))
    for after in (None, facts_of(build(Obj(soname="liba.so", exports=["new"])))):
        with pytest.raises(RepairError, match="changed something else"):
            check_edit(before, after, ElfEdit())


@settings(max_examples=60, deadline=None)
@given(OBJECTS, EDITS, st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=5), st.integers(0, 1500))
def test_no_mutation_escapes_the_errors_of_the_vocabulary(
    obj: Obj, edit: ElfEdit, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(with_sections(build(obj)))
    for position, value in changes:
        content[position % len(content)] = value
    with suppress(RepairError, WheelError):
        edit_elf(bytes(content[: max(cut, 1)] if cut % 3 == 0 else content), edit, "x.so")


def image_of(arch: Arch, content: bytes, segment: Segment) -> ElfImage:
    row = arch.row.elf
    return ElfImage(
        path="x.so",
        data=memoryview(content),
        bits=row.bits,
        order=row.order,
        machine=row.machine,
        segments=(segment,),
        tags={},
        needed=(),
    )


@st.composite
def relocated_words(draw: st.DrawFn) -> tuple[ElfImage, list[int], bytes]:
    """An image whose segment begins with random words, some of their addresses, and these packed."""
    arch = draw(ARCHS)
    identity = arch.row.elf
    word, mark = identity.bits // 8, "<" if identity.order == "little" else ">"
    indices = sorted(draw(st.sets(st.integers(0, 299), min_size=1, max_size=120)))
    base = draw(st.sampled_from([0x1000, 0x20000]))
    places = [base + index * word for index in indices]
    packed = pack_places(places, word, mark)
    content = draw(st.binary(min_size=300 * word, max_size=300 * word)) + packed
    segment = Segment(type=1, flags=6, offset=0, address=base, file_size=len(content), memory_size=len(content))
    image = image_of(arch, content, segment)
    return image, places, packed


def pack_places(places: list[int], word: int, mark: str) -> bytes:
    """Word-aligned ascending addresses as a DT_RELR table."""
    words: list[int] = []
    width = 8 * word - 1
    rest = list(places)
    while rest:
        here = rest.pop(0)
        words.append(here)
        here += word
        while True:
            bits = 0
            while rest and (rest[0] - here) // word < width:
                bits |= 1 << (rest.pop(0) - here) // word
            if not bits:
                break
            words.append(bits << 1 | 1)
            here += width * word
    return pack(f"{mark}{len(words)}{'Q' if word == 8 else 'I'}", *words)


@settings(max_examples=40, deadline=None)
@given(relocated_words())
def test_expansion_undoes_packing(sample: tuple[ElfImage, list[int], bytes]) -> None:
    image, places, packed = sample
    start = image.segments[0].address + 300 * image.word
    assert list(relr_places(image, start, len(packed))) == places
    rows = expand_relr(image, start, len(packed))
    columns = 3 if image.machine in HAS_ADDEND else 2
    words = array("Q" if image.word == 8 else "I")
    words.extend(unpack_from(f"{image.mark}{columns * len(places)}{words.typecode}", rows))
    assert list(words[::columns]) == places
    assert set(words[1::columns]) == {RELATIVE[image.machine]}
    if columns == 3:
        content = bytes(image.data)
        offsets = [place - image.segments[0].address for place in places]
        assert list(words[2::3]) == [unpack_from(f"{image.mark}Q", content, offset)[0] for offset in offsets]


@pytest.mark.parametrize(
    "table",
    [
        [0x900000],  # outside every segment
        [0x1000 + 8 * 60 - 4],  # half outside
        [0x1000, *[(1 << 64) - 1] * 40],  # more words than there are
        [(1 << 64) - 2, 1, 3],  # beyond the address space
    ],
)
def test_a_table_that_lies(table: list[int]) -> None:
    content = bytes(16 * 8) + pack(f"<{len(table)}Q", *table)
    content += bytes(max(0, 60 * 8 - len(content)))
    segment = Segment(type=1, flags=6, offset=0, address=0x1000, file_size=len(content), memory_size=len(content))
    image = ElfImage(
        path="x.so",
        data=memoryview(content),
        bits=64,
        order="little",
        machine=62,
        segments=(segment,),
        tags={},
        needed=(),
    )
    with pytest.raises(WheelError, match="DT_RELR"):
        expand_relr(image, 0x1000 + 16 * 8, 8 * len(table))


def test_a_machine_that_is_not_ours() -> None:
    content = bytearray(build(Obj(relr=True)))
    content[18] = 243
    with pytest.raises(RepairError, match="machine 243"):
        edit_elf(bytes(content), ElfEdit(expand_relr=True), "x.so")
