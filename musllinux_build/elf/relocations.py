"""Relocation tables: which symbols must be found, and which kinds occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from musllinux_build.elf.image import ElfImage


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationTable:
    """Where one table lies, as the dynamic section says; ``size`` in bytes."""

    address: int
    size: int
    has_addend: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocations:
    """Symbol indices and relocation types in use; type 0 (R_*_NONE) asks for nothing and is left out."""

    symbols: frozenset[int]
    types: frozenset[int]


def read_relocations(image: ElfImage, tables: Sequence[RelocationTable]) -> Relocations:
    """What the relocations in ``tables`` ask for.

    Raises:
        WheelError: a table lies outside the file.
    """
    shift, mask = (32, 0xFFFFFFFF) if image.bits == 64 else (8, 0xFF)
    infos: set[int] = set()
    for table in tables:
        if not table.size:
            continue
        entry = 3 if table.has_addend else 2
        count = table.size // (entry * image.word)
        size: Literal[4, 8] = 8 if image.bits == 64 else 4
        view = image.at(table.address, count * entry * size, "a relocation table")
        # r_info is the second word of every entry; a column keeps a million entries out of the interpreter's loop.
        infos.update(image.column(view, size, 1, entry))
    asked = [info for info in infos if info & mask]
    return Relocations(
        # Comprehensions: a generator costs twice as much, and there may be a hundred thousand.
        symbols=frozenset({info >> shift for info in asked} - {0}),
        types=frozenset({info & mask for info in asked}),
    )
