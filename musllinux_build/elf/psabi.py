"""What relocation numbers of each machine mean to musl's loader (its arch/*/reloc.h, after the psABI of each).

Keys are e_machine: 3 i386, 21 powerpc64, 22 s390x, 40 arm, 62 x86_64, 183 aarch64. A type that is not here ends a load
with "unsupported relocation type"; R_*_NONE, 0 everywhere, is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

IRELATIVE: Mapping[int, int] = {62: 37, 3: 42, 183: 1032, 40: 160, 21: 248, 22: 61}
"""The relocation that calls an indirect function's resolver; musl has none of them."""
RELATIVE: Mapping[int, int] = {62: 8, 3: 8, 183: 1027, 40: 23, 21: 22, 22: 12}
"""The relocation that adds the load address to its addend; what DT_RELR packs."""
HAS_ADDEND: AbstractSet[int] = frozenset({62, 183, 21, 22})
"""Machines whose dynamic relocations carry their addend (DT_RELA); the others keep it in the place (DT_REL)."""
TPOFF: Mapping[int, AbstractSet[int]] = {62: {18}, 3: {14, 37}, 183: {1030}, 40: {19}, 21: {73}, 22: {56}}
"""The relocations of the initial-exec TLS model: an offset from the thread pointer."""
TLSDESC: Mapping[int, int] = {62: 36, 3: 41, 183: 1031, 40: 13}
"""TLS descriptors; powerpc64 and s390x have none."""
APPLIED: Mapping[int, AbstractSet[int]] = {
    # symbolic and pc-relative, copy, GOT, PLT, relative; TLS module, offset, thread pointer offset, descriptor
    62: frozenset({1, 2, 5, 6, 7, 8, 16, 17, 18, 36}),
    3: frozenset({1, 2, 5, 6, 7, 8, 14, 35, 36, 37, 41}),
    183: frozenset({257, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031}),
    40: frozenset({2, 13, 17, 18, 19, 20, 21, 22, 23}),
    21: frozenset({19, 20, 21, 22, 38, 43, 68, 73, 78}),
    22: frozenset({9, 10, 11, 12, 22, 54, 55, 56}),
}
"""Every type musl applies."""


def unknown_types(machine: int, types: AbstractSet[int]) -> frozenset[int]:
    """Those of ``types`` that musl's loader stops at, indirect functions apart (they have a finding of their own)."""
    if machine not in APPLIED:
        return frozenset()
    return frozenset(types - APPLIED[machine] - {IRELATIVE[machine]})
