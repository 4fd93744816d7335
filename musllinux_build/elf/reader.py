"""Bytes of an ELF object to facts, in one bounded pass.

Program headers and the dynamic section decide, as they do for musl: section headers are never read, so that a
stripped or lying section table changes nothing. Tables are read by struct and array,
because a symbol table may have a hundred thousand entries.
"""

from __future__ import annotations

from struct import Struct
from typing import Literal

from musllinux_build.elf.attributes import read_arm_attributes
from musllinux_build.elf.facts import ElfFacts, ElfKind, Hazard
from musllinux_build.elf.image import ElfImage, Segment, StringTable, corrupt
from musllinux_build.elf.notes import read_notes
from musllinux_build.elf.numbers import DF_STATIC_TLS, DF_TEXTREL, EM_ARM, SEGMENT, TAG
from musllinux_build.elf.psabi import APPLIED, IRELATIVE, TPOFF
from musllinux_build.elf.relocations import RelocationTable, read_relocations
from musllinux_build.elf.symbols import DynamicTags, Symbols, read_symbols
from musllinux_build.elf.versions import read_version_needs

MAGIC = b"\x7fELF"
MOST_SEGMENTS = 1024
MOST_TAGS = 4096
LONGEST_INTERP = 4096

ANDROID = frozenset({0x6000000F, 0x60000011})
"""DT_ANDROID_REL and DT_ANDROID_RELA."""
PF_X, PF_W = 1, 2
KINDS = {kind.value: kind for kind in ElfKind if kind is not ElfKind.OTHER}
LOADABLE = {ElfKind.EXECUTABLE, ElfKind.SHARED}
LARGEST_PAGE = 1 << 16


def read_elf(data: bytes | bytearray | memoryview, path: str) -> ElfFacts | None:
    """The facts of the object in ``data``; None when it does not begin like an ELF file.

    ``path`` is only for messages.

    Raises:
        WheelError: it begins like one, and its structures contradict the file.
    """
    view = memoryview(data)
    if bytes(view[:4]) != MAGIC:
        return None
    image, kind, flags = _read_image(view, path)
    bare = ElfFacts(path=path, kind=kind, machine=image.machine, bits=image.bits, order=image.order, flags=flags)
    if kind not in LOADABLE or not image.tags:
        return bare
    return _read_dynamic(image, bare)


def _read_image(view: memoryview, path: str) -> tuple[ElfImage, ElfKind, int]:
    if len(view) < 52 or view[4] not in {1, 2} or view[5] not in {1, 2}:
        raise corrupt(path, "the header is cut short or of no known class or byte order")
    bits: Literal[32, 64] = 64 if view[4] == 2 else 32
    order: Literal["little", "big"] = "little" if view[5] == 1 else "big"
    mark = "<" if order == "little" else ">"
    header = Struct(f"{mark}HHI{'QQQ' if bits == 64 else 'III'}IHHHHHH")
    if len(view) < 16 + header.size:
        raise corrupt(path, "the header is cut short")
    fields = header.unpack(view[16 : 16 + header.size])
    kind_number, machine, start, flags, entry, count = fields[0], fields[1], fields[4], fields[6], fields[8], fields[9]
    kind = _kind(kind_number, machine, path)
    # Firmware or a kernel of a graphics card is nothing musl could load, and may have structures of its own.
    ours = machine in APPLIED
    segments = _read_segments(view, path, (bits, mark), (start, entry, count)) if ours else ()
    bare = ElfImage(
        path=path, data=view, bits=bits, order=order, machine=machine, segments=segments, tags={}, needed=()
    )
    if kind not in LOADABLE or not ours:
        return bare, kind, flags
    tags, needed = _read_tags(bare)
    image = ElfImage(
        path=path, data=view, bits=bits, order=order, machine=machine, segments=segments, tags=tags, needed=needed
    )
    return image, kind, flags


def _kind(number: int, machine: int, path: str) -> ElfKind:
    if number in KINDS:
        return KINDS[number]
    if machine in APPLIED:
        raise corrupt(path, f"e_type {number}")
    return ElfKind.OTHER


def _read_segments(
    view: memoryview, path: str, form: tuple[int, str], table: tuple[int, int, int]
) -> tuple[Segment, ...]:
    (bits, mark), (start, entry, count) = form, table
    shape = Struct(f"{mark}{'IIQQQQQQ' if bits == 64 else 'IIIIIIII'}")
    if not count:
        return ()
    if count > MOST_SEGMENTS or entry != shape.size or start + count * entry > len(view):
        raise corrupt(path, "the program headers do not fit into the file")
    segments = []
    for row in shape.iter_unpack(view[start : start + count * entry]):
        if bits == 64:
            kind, flags, offset, address, _, file_size, memory_size, _ = row
        else:
            kind, offset, address, _, file_size, memory_size, flags, _ = row
        if kind == SEGMENT["PT_LOAD"] and offset + file_size > len(view):
            raise corrupt(path, "a loaded segment runs over the end of the file")
        segments.append(
            Segment(
                type=kind, flags=flags, offset=offset, address=address, file_size=file_size, memory_size=memory_size
            )
        )
    return tuple(segments)


def _read_tags(image: ElfImage) -> tuple[dict[int, int], tuple[int, ...]]:
    """The dynamic section as tag to value, and its DT_NEEDED values in order."""
    dynamic = _segment(image, "PT_DYNAMIC")
    tags: dict[int, int] = {}
    needed: list[int] = []
    if dynamic is None or not dynamic.file_size:
        return tags, ()
    content = image.at(dynamic.address, dynamic.file_size, "the dynamic section")
    shape = Struct(f"{image.mark}{'QQ' if image.bits == 64 else 'II'}")
    for position in range(0, len(content) // shape.size * shape.size, shape.size):
        tag, value = shape.unpack_from(content, position)
        if tag == TAG["DT_NULL"]:
            return tags, tuple(needed)
        if tag == TAG["DT_NEEDED"]:
            needed.append(value)
        tags[tag] = value
        if position > MOST_TAGS * shape.size:
            break
    raise image.corrupt("the dynamic section has no end")


def _read_dynamic(image: ElfImage, bare: ElfFacts) -> ElfFacts:
    tags = image.tags
    strings = _strings(image)
    relocations = read_relocations(image, _tables(image))
    addresses = DynamicTags(
        symtab=tags.get(TAG["DT_SYMTAB"], 0),
        hash=tags.get(TAG["DT_HASH"], 0),
        gnu_hash=tags.get(TAG["DT_GNU_HASH"], 0),
        versym=tags.get(TAG["DT_VERSYM"], 0),
    )
    symbols = read_symbols(image, strings, addresses, relocations.symbols)
    notes = read_notes(image)

    def text(tag: str) -> str | None:
        return strings.name(tags[TAG[tag]]) if TAG[tag] in tags else None

    return ElfFacts(
        path=bare.path,
        kind=bare.kind,
        machine=bare.machine,
        bits=bare.bits,
        order=bare.order,
        flags=bare.flags,
        is_dynamic=True,
        interp=_interp(image),
        soname=text("DT_SONAME"),
        needed=tuple(strings.name(offset) for offset in image.needed),
        rpath=text("DT_RPATH"),
        runpath=text("DT_RUNPATH"),
        exports=symbols.exports,
        undefined=symbols.undefined,
        weak=symbols.weak,
        version_needs=read_version_needs(
            image, strings, tags.get(TAG["DT_VERNEED"], 0), tags.get(TAG["DT_VERNEEDNUM"], 0)
        ),
        hazards=_hazards(image, relocations.types, symbols),
        strings=_strings_place(image),
        relocation_types=relocations.types,
        has_hash=bool(addresses.hash or addresses.gnu_hash),
        has_tls=_segment(image, "PT_TLS") is not None,
        dynamic_flags=tags.get(TAG["DT_FLAGS_1"], 0),
        stack_size=stack.memory_size if (stack := _segment(image, "PT_GNU_STACK")) else 0,
        page_size=_page_size(image),
        build_id=notes.build_id,
        isa=notes.isa,
        arm=read_arm_attributes(image.data) if image.machine == EM_ARM and image.order == "little" else None,
    )


def _segment(image: ElfImage, kind: str) -> Segment | None:
    return next((segment for segment in image.segments if segment.type == SEGMENT[kind]), None)


def _page_size(image: ElfImage) -> int:
    """The largest page on which mapping every segment at its own address maps the right bytes."""
    size = LARGEST_PAGE
    for segment in image.segments:
        if segment.type == SEGMENT["PT_LOAD"] and segment.file_size:
            while (segment.address - segment.offset) % size:
                size >>= 1
    return size


def _hazards(image: ElfImage, types: frozenset[int], symbols: Symbols) -> frozenset[Hazard]:
    stack, flags = _segment(image, "PT_GNU_STACK"), image.tags.get(TAG["DT_FLAGS"], 0)
    marked = TAG["DT_TEXTREL"] in image.tags
    initial_exec = bool(TPOFF.get(image.machine, frozenset()) & types)
    found = {
        Hazard.IFUNC: symbols.has_ifunc or IRELATIVE.get(image.machine) in types,
        Hazard.EXPORTED_IFUNC: symbols.exports_ifunc and not symbols.has_ifunc,
        Hazard.INITIAL_EXEC_TLS: initial_exec,
        Hazard.STATIC_TLS_FLAG: bool(flags & DF_STATIC_TLS) and not initial_exec,
        Hazard.RELR: bool(image.tags.get(TAG["DT_RELR"]) and image.tags.get(TAG["DT_RELRSZ"])),
        Hazard.PACKED_RELOCATIONS: bool(ANDROID & image.tags.keys()),
        Hazard.TEXT_RELOCATIONS: marked,
        Hazard.UNMARKED_TEXT_RELOCATIONS: bool(flags & DF_TEXTREL) and not marked and _writes_to_code(image),
        Hazard.EXECUTABLE_STACK: bool(stack and stack.flags & PF_X),
    }
    return frozenset(hazard for hazard, present in found.items() if present)


def _writes_to_code(image: ElfImage) -> bool:
    """Whether a relocation is applied to memory that stays read-only."""
    ranges = [
        range(segment.address, segment.address + segment.memory_size)
        for segment in image.segments
        if segment.type == SEGMENT["PT_LOAD"] and not segment.flags & PF_W
    ]
    size: Literal[4, 8] = 8 if image.bits == 64 else 4
    for table in _tables(image):
        entry = 3 if table.has_addend else 2
        count = table.size // (entry * size)
        offsets = image.words(table.address, count * entry, size, "a relocation table")[::entry] if count else ()
        if any(offset in place for offset in offsets for place in ranges):
            return True
    return False


def _interp(image: ElfImage) -> str | None:
    segment = _segment(image, "PT_INTERP")
    if segment is None:
        return None
    if segment.file_size > LONGEST_INTERP or segment.offset + segment.file_size > len(image.data):
        raise image.corrupt("the interpreter's name lies outside the file")
    content = bytes(image.data[segment.offset : segment.offset + segment.file_size])
    return content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _tables(image: ElfImage) -> tuple[RelocationTable, ...]:
    tags = image.tags
    plt_has_addend = tags.get(TAG["DT_PLTREL"]) == TAG["DT_RELA"]
    places = (
        ("DT_RELA", "DT_RELASZ", True),
        ("DT_REL", "DT_RELSZ", False),
        ("DT_JMPREL", "DT_PLTRELSZ", plt_has_addend),
    )
    return tuple(
        RelocationTable(address=tags[TAG[table]], size=tags.get(TAG[size], 0), has_addend=has_addend)
        for table, size, has_addend in places
        if TAG[table] in tags
    )


def _strings_place(image: ElfImage) -> tuple[int, int]:
    address = image.tags.get(TAG["DT_STRTAB"])
    if address is None:
        return 0, 0
    offset, room = image.offset_of(address, "the dynamic string table")
    size = image.tags.get(TAG["DT_STRSZ"], room)
    if size > room:
        raise image.corrupt("the dynamic string table runs over the end of its segment")
    return offset, size


def _strings(image: ElfImage) -> StringTable:
    offset, size = _strings_place(image)
    return StringTable(path=image.path, content=bytes(image.data[offset : offset + size]))
