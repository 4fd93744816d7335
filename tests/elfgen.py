"""Shared objects of all six architectures from nothing but bytes: what tests say about an object is all it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack

from musllinux_build.arch import Arch

# Per machine: GLOB_DAT, TPOFF, IRELATIVE (the psABI of each), and whether relocations have addends.
RELOCATIONS = {
    Arch.X86_64: (6, 18, 37, True),
    Arch.AARCH64: (1025, 1030, 1032, True),
    Arch.I686: (6, 14, 42, False),
    Arch.PPC64LE: (20, 73, 248, True),
    Arch.S390X: (10, 56, 61, True),
    Arch.ARMV7L: (21, 19, 160, False),
}
LOAD, DYNAMIC, INTERP, NOTE, TLS, STACK = 1, 2, 3, 4, 7, 0x6474E551
ARM_ATTRIBUTES = 0x70000003
FAR = 0x200000
"""Where a second PT_LOAD begins, besides its skew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obj:
    """An object to be built; ``hidden`` are exports with a non-default version, ``unused`` undefined names no
    relocation asks for, ``kind`` is e_type."""

    arch: Arch = Arch.X86_64
    soname: str | None = None
    needed: Sequence[str] = ()
    rpath: str | None = None
    runpath: str | None = None
    exports: Sequence[str] = ()
    hidden: Sequence[str] = ()
    undefined: Sequence[str] = ()
    weak: Sequence[str] = ()
    unused: Sequence[str] = ()
    own: Sequence[str] = ()
    """Those of ``exports`` and ``hidden`` that its own relocations ask for."""
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    interp: str | None = None
    relr: bool = False
    initial_exec: bool = False
    irelative: bool = False
    ifunc: bool = False
    ifunc_used: bool = False
    """It asks for the indirect function itself."""
    read_only: bool = False
    """The first PT_LOAD is not writable."""
    exec_stack: bool = False
    textrel: bool = False
    gnu_hash: bool = False
    flags: int | None = None
    kind: int = 3
    machine: int | None = None
    relocations: Sequence[int] = ()
    """Further relocations by type, of no symbol."""
    dynamic: Sequence[tuple[int, int]] = ()
    """Further entries of the dynamic section."""
    no_hash: bool = False
    notes: bytes = b""
    """The content of a PT_NOTE."""
    stack_size: int = 0
    thread_data: int = 0
    """p_memsz of a PT_TLS; 0 for none."""
    skew: int = 0
    """By how much the address of a second PT_LOAD disagrees with its offset."""
    attributes: bytes = b""
    """The content of a section .ARM.attributes."""
    padding: bytes = b""


def gnu_hash(name: str) -> int:
    """The hash of DT_GNU_HASH."""
    value = 5381
    for byte in name.encode("utf-8", "surrogateescape"):
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


class _Writer:
    """The parts of one object, laid out one after the other at addresses equal to file offsets."""

    def __init__(self, obj: Obj) -> None:
        self.obj = obj
        self.row = obj.arch.row.elf
        self.mark = "<" if self.row.order == "little" else ">"
        self.word = self.row.bits // 8
        self.strings = bytearray(b"\0")
        self.offsets: dict[str, int] = {}
        self.content = bytearray()
        self.tags: list[tuple[int, int]] = []

    def number(self, form: str, *values: int) -> bytes:
        return pack(self.mark + form, *values)

    def words(self, *values: int) -> bytes:
        return self.number(f"{len(values)}{'Q' if self.word == 8 else 'I'}", *values)

    def name(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.strings)
            self.strings += text.encode("utf-8", "surrogateescape") + b"\0"
        return self.offsets[text]

    def put(self, part: bytes) -> int:
        self.content += b"\0" * (-len(self.content) % 8)
        at = len(self.content)
        self.content += part
        return at

    def symbol(self, name: str, *, binding: int, kind: int, section: int, value: int) -> bytes:
        info = binding << 4 | kind
        if self.word == 8:
            return self.number("IBBHQQ", self.name(name), info, 0, section, value, 8)
        return self.number("IIIBBH", self.name(name), value, 8, info, 0, section)

    def relocation(self, symbol: int, kind: int) -> bytes:
        info = symbol << 32 | kind if self.word == 8 else symbol << 8 | kind
        return self.words(64, info, *([0] if RELOCATIONS[self.obj.arch][3] else []))


def build(obj: Obj) -> bytes:
    """The bytes of ``obj``."""
    writer = _Writer(obj)
    has_interp = obj.interp is not None
    headers = 3 + sum(map(bool, (has_interp, obj.notes, obj.thread_data, obj.skew)))
    header_size, program_size = (64, 56) if writer.word == 8 else (52, 32)
    writer.content += b"\0" * (header_size + headers * program_size)
    interp = writer.put((obj.interp or "").encode() + b"\0") if has_interp else 0
    _put_symbols(writer)
    _put_versions(writer)
    for tag, texts in ((1, obj.needed), (14, [obj.soname]), (15, [obj.rpath]), (29, [obj.runpath])):
        writer.tags += [(tag, writer.name(text)) for text in texts if text is not None]
    if obj.relr:
        writer.tags += [(36, writer.put(writer.words(64))), (35, writer.word), (37, writer.word)]
    if obj.textrel:
        writer.tags.append((22, 0))
    writer.tags += obj.dynamic
    notes = writer.put(obj.notes)
    writer.tags += [(5, writer.put(bytes(writer.strings))), (10, len(writer.strings)), (0, 0)]
    dynamic = writer.put(b"".join(writer.words(tag, value) for tag, value in writer.tags))
    dynamic_size = len(writer.content) - dynamic
    writer.content += obj.padding
    size = len(writer.content)
    segments: list[tuple[int, int, int, int, int]] = [
        (LOAD, 5 if obj.read_only else 7, 0, 0, size),
        (DYNAMIC, 6, dynamic, dynamic, dynamic_size),
        (STACK, 7 if obj.exec_stack else 6, 0, 0, 0),
    ]
    if has_interp:
        segments.append((INTERP, 4, interp, interp, len(obj.interp or "") + 1))
    if obj.notes:
        segments.append((NOTE, 4, notes, notes, len(obj.notes)))
    if obj.thread_data:
        segments.append((TLS, 4, dynamic, dynamic, 0))
    if obj.skew:
        segments.append((LOAD, 6, dynamic, dynamic + FAR + obj.skew, writer.word))
    return _with_headers(writer, segments, header_size, program_size)


def _put_symbols(writer: _Writer) -> None:
    obj = writer.obj
    rows = [b"\0" * (24 if writer.word == 8 else 16)]
    asked = [(name, 1) for name in obj.undefined] + [(name, 2) for name in obj.weak]
    rows += [writer.symbol(name, binding=binding, kind=0, section=0, value=0) for name, binding in asked]
    rows += [writer.symbol(name, binding=1, kind=0, section=0, value=0) for name in obj.unused]
    defined = [*obj.exports, *obj.hidden]
    first = len(rows)
    rows += [writer.symbol(name, binding=1, kind=2, section=1, value=64) for name in defined]
    if obj.ifunc or obj.ifunc_used:
        rows.append(writer.symbol("ifunc_here", binding=1, kind=10, section=1, value=64))
    glob_dat, tpoff, irelative, addends = RELOCATIONS[obj.arch]
    relocations = b"".join(writer.relocation(index, glob_dat) for index in range(1, len(asked) + 1))
    relocations += b"".join(writer.relocation(first + defined.index(name), glob_dat) for name in obj.own)
    relocations += writer.relocation(len(rows) - 1, glob_dat) if obj.ifunc_used else b""
    relocations += writer.relocation(0, tpoff) if obj.initial_exec else b""
    relocations += writer.relocation(0, irelative) if obj.irelative else b""
    relocations += b"".join(writer.relocation(0, kind) for kind in obj.relocations)
    writer.tags.append((6, writer.put(b"".join(rows))))
    if relocations:
        writer.tags += [(7 if addends else 17, writer.put(relocations)), (8 if addends else 18, len(relocations))]
    if obj.hidden:
        versions = [0x8002 if first + len(obj.exports) <= row < first + len(defined) else 1 for row in range(len(rows))]
        writer.tags.append((0x6FFFFFF0, writer.put(writer.number(f"{len(versions)}H", *versions))))
    if obj.no_hash:
        pass
    elif obj.gnu_hash:
        named = [*defined, *(["ifunc_here"] if obj.ifunc else [])]
        # One bucket; the lowest bit tells the last of its chain, and a filter of ones lets every name through.
        chain = [gnu_hash(name) & ~1 | (name is named[-1]) for name in named]
        has_any = bool(named)
        table = writer.number("4I", 1, first, 1, 0) + writer.words(2 ** (8 * writer.word) - 1)
        table += writer.number("I", first if has_any else 0) + (
            writer.number(f"{len(chain)}I", *chain) if has_any else b""
        )
        writer.tags.append((0x6FFFFEF5, writer.put(table)))
    else:
        size = "Q" if obj.arch is Arch.S390X else "I"
        chain = [*range(2, len(rows)), 0] if len(rows) > 1 else []
        words = [1, len(rows), 1 if len(rows) > 1 else 0, 0, *chain]
        writer.tags.append((4, writer.put(writer.number(f"{len(words)}{size}", *words))))


def _put_versions(writer: _Writer) -> None:
    needs = list(writer.obj.versions.items())
    if not needs:
        return
    table = b""
    for at, (library, versions) in enumerate(needs):
        following = 16 + 16 * len(versions) if at + 1 < len(needs) else 0
        table += writer.number("HHIII", 1, len(versions), writer.name(library), 16, following)
        for index, version in enumerate(versions):
            table += writer.number("IHHII", 0, 0, 2, writer.name(version), 16 if index + 1 < len(versions) else 0)
    writer.tags += [(0x6FFFFFFE, writer.put(table)), (0x6FFFFFFF, len(needs))]


def _with_headers(
    writer: _Writer, segments: Sequence[tuple[int, int, int, int, int]], header_size: int, program_size: int
) -> bytes:
    row, obj = writer.row, writer.obj
    flags = row.flags_value if obj.flags is None else obj.flags
    identity = b"\x7fELF" + bytes([2 if writer.word == 8 else 1, 1 if row.order == "little" else 2, 1]) + b"\0" * 9
    machine = row.machine if obj.machine is None else obj.machine
    notes = next((offset for kind, _, offset, _, _ in segments if kind == NOTE), 0)
    parts, count = _sections(writer, notes) if obj.attributes or obj.notes else (b"", 0)
    entry = 64 if writer.word == 8 else 40
    table = len(writer.content) + len(parts) - count * entry if count else 0
    header = identity + writer.number("HHI", obj.kind, machine, 1) + writer.words(0, header_size, table)
    header += writer.number(
        "IHHHHHH", flags, header_size, program_size, len(segments), entry * bool(count), count, max(count - 1, 0)
    )
    for kind, mode, offset, address, size in segments:
        memory = {STACK: obj.stack_size, TLS: obj.thread_data}.get(kind, size)
        if writer.word == 8:
            header += writer.number("IIQQQQQQ", kind, mode, offset, address, address, size, memory, 8)
        else:
            header += writer.number("IIIIIIII", kind, offset, address, address, size, memory, mode, 8)
    return header + bytes(writer.content[len(header) :]) + parts


def _sections(writer: _Writer, notes: int) -> tuple[bytes, int]:
    """What follows the loaded content: attributes, names and section headers; and how many headers there are."""
    obj, start = writer.obj, len(writer.content)
    names = b"\0.ARM.attributes\0.note.gnu.property\0.shstrtab\0"
    rows = [(b"", 0, 0, 0)]
    if obj.attributes:
        rows.append((b".ARM.attributes", ARM_ATTRIBUTES, start, len(obj.attributes)))
    if obj.notes:
        rows.append((b".note.gnu.property", 7, notes, len(obj.notes)))
    rows.append((b".shstrtab", 3, start + len(obj.attributes), len(names)))
    form = "IIQQQQIIQQ" if writer.word == 8 else "10I"
    headers = [
        writer.number(form, names.index(name), kind, 0, 0, offset, size, 0, 0, 8, 0)
        for name, kind, offset, size in rows
    ]
    return obj.attributes + names + b"".join(headers), len(rows)
