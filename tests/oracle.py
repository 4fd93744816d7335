"""What pyelftools says about an object, in the words of ElfFacts, for comparison."""

from __future__ import annotations

import io
from collections.abc import Mapping

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment, Segment

BINDINGS = {"STB_GLOBAL", "STB_WEAK", "STB_GNU_UNIQUE", "STB_LOOS"}
TYPES = {"STT_NOTYPE", "STT_OBJECT", "STT_FUNC", "STT_COMMON", "STT_TLS"}


def by_oracle(content: bytes) -> Mapping[str, object]:
    """Fields of ElfFacts by name, read by pyelftools from program headers and the dynamic section."""
    elf = ELFFile(io.BytesIO(content))
    segments = list(elf.iter_segments())
    dynamic = next(segment for segment in segments if isinstance(segment, DynamicSegment))
    tags = {tag.entry.d_tag: tag for tag in dynamic.iter_tags()}
    stack = next((segment for segment in segments if segment["p_type"] == "PT_GNU_STACK"), None)
    undefined, weak = _undefined(dynamic)
    return {
        "bits": elf.elfclass,
        "order": "little" if elf.little_endian else "big",
        "flags": elf["e_flags"],
        "interp": next((_interp(segment) for segment in segments if segment["p_type"] == "PT_INTERP"), None),
        "soname": tags["DT_SONAME"].soname if "DT_SONAME" in tags else None,
        "needed": tuple(tag.needed for tag in dynamic.iter_tags("DT_NEEDED")),
        "rpath": tags["DT_RPATH"].rpath if "DT_RPATH" in tags else None,
        "runpath": tags["DT_RUNPATH"].runpath if "DT_RUNPATH" in tags else None,
        "undefined": undefined,
        "weak": weak,
        "relocation_types": _relocation_types(dynamic),
        "has_tls": any(segment["p_type"] == "PT_TLS" for segment in segments),
        "stack_size": stack["p_memsz"] if stack else 0,
        "dynamic_flags": tags["DT_FLAGS_1"].entry.d_val if "DT_FLAGS_1" in tags else 0,
        "has_hash": bool(tags.keys() & {"DT_HASH", "DT_GNU_HASH"}),
        "build_id": next(iter(_build_ids(segments)), None),
    }


def _interp(segment: Segment) -> str:
    return str(segment.get_interp_name())


def _tables(dynamic: DynamicSegment) -> list[object]:
    return [table for name, table in dynamic.get_relocation_tables().items() if name != "RELR"]


def _relocation_types(dynamic: DynamicSegment) -> frozenset[int]:
    return frozenset(
        kind
        for table in _tables(dynamic)
        for relocation in table.iter_relocations()  # type: ignore[attr-defined] # elftools has no types
        if (kind := relocation["r_info_type"])
    )


def _undefined(dynamic: DynamicSegment) -> tuple[frozenset[str], frozenset[str]]:
    used = {
        relocation["r_info_sym"]
        for table in _tables(dynamic)
        for relocation in table.iter_relocations()  # type: ignore[attr-defined] # elftools has no types
        if relocation["r_info_type"]
    } - {0}
    symbols = [dynamic.get_symbol(index) for index in sorted(used)]
    asked = [symbol for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"]
    strong = frozenset(symbol.name for symbol in asked if symbol["st_info"]["bind"] == "STB_GLOBAL")
    return strong, frozenset(symbol.name for symbol in asked if symbol["st_info"]["bind"] == "STB_WEAK") - strong


def _build_ids(segments: list[Segment]) -> list[str]:
    notes = [note for segment in segments if isinstance(segment, NoteSegment) for note in segment.iter_notes()]
    return [str(note["n_desc"]) for note in notes if note["n_type"] == "NT_GNU_BUILD_ID"]


def exports_by_oracle(content: bytes) -> frozenset[str]:
    """The definitions in .dynsym that the lookup of musl accepts, of objects without hidden versions."""
    table = ELFFile(io.BytesIO(content)).get_section_by_name(".dynsym")
    return frozenset(
        symbol.name
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF"
        and symbol["st_info"]["bind"] in BINDINGS
        and symbol["st_info"]["type"] in TYPES
        and (symbol["st_value"] or symbol["st_info"]["type"] == "STT_TLS")
    )
