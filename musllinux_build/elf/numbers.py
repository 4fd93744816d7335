"""The numbers of the gABI that are used here; a test holds them against elftools.

They stand here because elftools takes longer to import than a small wheel takes to audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TAG: Final[Mapping[str, int]] = {
    "DT_NULL": 0,
    "DT_NEEDED": 1,
    "DT_PLTRELSZ": 2,
    "DT_HASH": 4,
    "DT_STRTAB": 5,
    "DT_SYMTAB": 6,
    "DT_RELA": 7,
    "DT_RELASZ": 8,
    "DT_RELAENT": 9,
    "DT_STRSZ": 10,
    "DT_SONAME": 14,
    "DT_RPATH": 15,
    "DT_REL": 17,
    "DT_RELSZ": 18,
    "DT_RELENT": 19,
    "DT_PLTREL": 20,
    "DT_TEXTREL": 22,
    "DT_JMPREL": 23,
    "DT_RUNPATH": 29,
    "DT_FLAGS": 30,
    "DT_RELRSZ": 35,
    "DT_RELR": 36,
    "DT_RELRENT": 37,
    "DT_GNU_HASH": 0x6FFFFEF5,
    "DT_CONFIG": 0x6FFFFEFA,
    "DT_DEPAUDIT": 0x6FFFFEFB,
    "DT_AUDIT": 0x6FFFFEFC,
    "DT_VERSYM": 0x6FFFFFF0,
    "DT_RELACOUNT": 0x6FFFFFF9,
    "DT_RELCOUNT": 0x6FFFFFFA,
    "DT_FLAGS_1": 0x6FFFFFFB,
    "DT_VERDEF": 0x6FFFFFFC,
    "DT_VERDEFNUM": 0x6FFFFFFD,
    "DT_VERNEED": 0x6FFFFFFE,
    "DT_VERNEEDNUM": 0x6FFFFFFF,
    "DT_AUXILIARY": 0x7FFFFFFD,
    "DT_FILTER": 0x7FFFFFFF,
}
"""d_tag of an entry of the dynamic section."""
SEGMENT: Final[Mapping[str, int]] = {
    "PT_NULL": 0,
    "PT_LOAD": 1,
    "PT_DYNAMIC": 2,
    "PT_INTERP": 3,
    "PT_PHDR": 6,
    "PT_TLS": 7,
    "PT_GNU_STACK": 0x6474E551,
}
"""p_type of a program header."""
DF_TEXTREL: Final = 4
DF_STATIC_TLS: Final = 0x10
EM_ARM: Final = 40
