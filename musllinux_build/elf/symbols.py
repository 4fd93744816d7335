"""Dynamic symbols: which names an object defines for others, and which it must find elsewhere."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from musllinux_build.elf.image import ElfImage, StringTable

GLOBAL, WEAK, UNIQUE = 1, 2, 10
BINDINGS = frozenset({GLOBAL, WEAK, UNIQUE})
TLS, IFUNC = 6, 10
# NOTYPE, OBJECT, FUNC, COMMON, TLS: OK_TYPES of musl's find_sym.
TYPES = frozenset({0, 1, 2, 5, TLS})
DEFINES = frozenset(binding << 4 | kind for binding in BINDINGS for kind in TYPES)
OF_TLS = frozenset(binding << 4 | TLS for binding in BINDINGS)
IFUNCS = frozenset(binding << 4 | IFUNC for binding in BINDINGS)
"""Values of st_info: of definitions that are found, of those whose value may be 0, of indirect functions."""
HIDDEN = 0x8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """Names by what the loader does with them.

    ``has_ifunc`` tells that the object asks for an indirect function of its own, ``exports_ifunc`` that it has one.
    """

    exports: frozenset[str]
    undefined: frozenset[str]
    weak: frozenset[str]
    has_ifunc: bool = False
    exports_ifunc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicTags:
    """The addresses in the dynamic section that symbols need; 0 for a table that is not there."""

    symtab: int
    hash: int
    gnu_hash: int
    versym: int


def read_symbols(image: ElfImage, strings: StringTable, tags: DynamicTags, used: AbstractSet[int]) -> Symbols:
    """The symbols of ``image``; ``used`` are the indices its relocations refer to.

    Raises:
        WheelError: the tables disagree with the file.
    """
    size = 24 if image.bits == 64 else 16
    count = max(_hashed_count(image, tags), max(used, default=-1) + 1)
    if not tags.symtab or not count:
        return Symbols(exports=frozenset(), undefined=frozenset(), weak=frozenset())
    rows = _columns(image, image.at(tags.symtab, count * size, "the dynamic symbol table"))
    hidden = _hidden(image, tags, count)
    undefined: set[int] = set()
    weak: set[int] = set()
    for index in used:
        info = rows.infos[index]
        if rows.sections[index]:
            # A definition of its own that the lookup does not accept must come from elsewhere, weak or not.
            found = info in DEFINES and (rows.values[index] or info in OF_TLS) and index not in hidden
            if info >> 4 in BINDINGS and not found and info not in IFUNCS:
                undefined.add(rows.names[index])
        elif info >> 4 in BINDINGS:
            (weak if info >> 4 == WEAK else undefined).add(rows.names[index])
    strong = strings.names(undefined)
    ifuncs = any(info in rows.infos for info in IFUNCS)
    return Symbols(
        exports=strings.names(_definitions(rows, hidden)),
        undefined=strong,
        # Another entry of the same name may be weak; one strong reference is enough to fail.
        weak=strings.names(weak) - strong,
        has_ifunc=ifuncs and any(rows.sections[index] and rows.infos[index] in IFUNCS for index in used),
        exports_ifunc=ifuncs
        and any(section and info in IFUNCS for info, section in zip(rows.infos, rows.sections, strict=True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """A symbol table by columns: st_name, st_info, st_shndx and st_value of every symbol."""

    names: array[int]
    infos: bytes
    sections: array[int]
    values: array[int]


def _columns(image: ElfImage, table: memoryview) -> _Columns:
    # Field order differs by class: st_name st_info st_other st_shndx st_value st_size / st_name st_value st_size ...
    if image.bits == 64:
        return _Columns(
            names=image.column(table, 4, 0, 6),
            infos=bytes(table[4::24]),
            sections=image.column(table, 2, 3, 12),
            values=image.column(table, 8, 1, 3),
        )
    return _Columns(
        names=image.column(table, 4, 0, 4),
        infos=bytes(table[12::16]),
        sections=image.column(table, 2, 7, 8),
        values=image.column(table, 4, 1, 4),
    )


def _definitions(rows: _Columns, hidden: frozenset[int]) -> set[int]:
    """The st_name of every symbol that another object can find."""
    every: Iterable[tuple[int, int, int, int]]
    every = zip(rows.names, rows.infos, rows.sections, rows.values, strict=True)
    if hidden:
        every = (row for index, row in enumerate(every) if index not in hidden)
    return {name for name, info, section, value in every if section and info in DEFINES and (value or info in OF_TLS)}


def _hidden(image: ElfImage, tags: DynamicTags, count: int) -> frozenset[int]:
    """Indices with a hidden version, which musl's lookup skips."""
    if not tags.versym:
        return frozenset()
    versions = image.numbers(image.at(tags.versym, count * 2, "the symbol version table"), 2)
    if max(versions, default=0) < HIDDEN:
        return frozenset()
    return frozenset(index for index, version in enumerate(versions) if version & HIDDEN)


def _hashed_count(image: ElfImage, tags: DynamicTags) -> int:
    """How many symbols the hash table knows of; those before its first are undefined ones."""
    if tags.gnu_hash:
        return _bounded(image, _gnu_count(image, tags.gnu_hash))
    if not tags.hash:
        return 0
    # s390x has 64-bit words in DT_HASH (zSeries ELF ABI, "Hash Table").
    size: Literal[4, 8] = 8 if image.machine == 22 and image.bits == 64 else 4
    return _bounded(image, image.words(tags.hash, 2, size, "DT_HASH")[1])


def _gnu_count(image: ElfImage, address: int) -> int:
    buckets, first, bloom, _ = image.words(address, 4, 4, "DT_GNU_HASH")
    if max(buckets, bloom) > len(image.data):
        raise image.corrupt("DT_GNU_HASH claims more buckets than the file has bytes")
    start = address + 16 + bloom * image.word
    last = max(image.words(start, buckets, 4, "DT_GNU_HASH"), default=0)
    if last < first:
        return first
    chain = image.rest(start + 4 * buckets, "the chains of DT_GNU_HASH")
    skipped = (last - first) * 4
    for position, value in enumerate(image.numbers(chain[skipped : len(chain) // 4 * 4], 4)):
        # The last hash of a chain has its lowest bit set.
        if value & 1:
            return last + position + 1
    raise image.corrupt("a chain of DT_GNU_HASH has no end")


def _bounded(image: ElfImage, count: int) -> int:
    if count * 16 > len(image.data):
        raise image.corrupt(f"{count} dynamic symbols do not fit into the file")
    return count
