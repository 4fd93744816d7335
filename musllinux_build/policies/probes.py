"""Programs of a few hundred bytes that end with EXIT_STATUS if, and only if, the loader does what they need.

Each is a position-independent program for ``ld-musl-ARCH.so.1 PROGRAM``: no compiler makes it, and it needs nothing of
a root file system but the loader, which is libc as well. A loader that refuses a program says so and exits with 127;
one that skips a relocation lets it jump to an address where nothing is mapped, and it dies of SIGSEGV.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from musllinux_build.arch import Arch

EXIT_STATUS: Final = 42

# exit(42) by each kernel's own system call convention (syscall(2), "Architecture calling conventions").
EXIT_CODE: Final = {
    Arch.X86_64: bytes.fromhex("bf2a000000 b83c000000 0f05"),
    Arch.I686: bytes.fromhex("bb2a000000 b801000000 cd80"),
    Arch.AARCH64: struct.pack("<3I", 0xD2800540, 0xD2800BA8, 0xD4000001),
    Arch.ARMV7L: struct.pack("<3I", 0xE3A0002A, 0xE3A07001, 0xEF000000),
    Arch.PPC64LE: struct.pack("<3I", 0x38000001, 0x3860002A, 0x44000002),
    Arch.S390X: bytes.fromhex("a729002a 0a01"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationTypes:
    """The numbers of a psABI that probes use; ``tls_descriptor`` is None where the ABI has none."""

    relative: int
    glob_dat: int
    irelative: int
    tls_descriptor: int | None
    has_addend: bool = True


RELOCATIONS: Final = {
    Arch.X86_64: RelocationTypes(relative=8, glob_dat=6, irelative=37, tls_descriptor=36),
    Arch.I686: RelocationTypes(relative=8, glob_dat=6, irelative=42, tls_descriptor=41, has_addend=False),
    Arch.AARCH64: RelocationTypes(relative=1027, glob_dat=1025, irelative=1032, tls_descriptor=1031),
    Arch.ARMV7L: RelocationTypes(relative=23, glob_dat=21, irelative=160, tls_descriptor=13, has_addend=False),
    Arch.PPC64LE: RelocationTypes(relative=22, glob_dat=20, irelative=248, tls_descriptor=None),
    Arch.S390X: RelocationTypes(relative=12, glob_dat=10, irelative=61, tls_descriptor=None),
}


class Probe(Enum):
    """What a loader is asked to do; the values are the keys of ``applies`` in evidence.

    CONTROL is what every loader does: a root whose loader fails it cannot be measured here.
    """

    CONTROL = "relative"
    RELR = "relr"
    RESERVED_NAMES = "reserved_names"
    TLS_DESCRIPTORS = "tls_descriptors"
    INDIRECT_FUNCTIONS = "indirect_functions"


def probe_program(probe: Probe, arch: Arch) -> bytes | None:
    """The program of ``probe``, None where the architecture's ABI has no such thing."""
    types = RELOCATIONS[arch]
    match probe:
        case Probe.CONTROL:
            return _program(_Plan(arch=arch, relocations=((types.relative, 0),)))
        case Probe.RELR:
            return _program(_Plan(arch=arch, relr=True))
        case Probe.RESERVED_NAMES:
            # musl takes any name that begins with libm. for itself (reserved[] in ldso/dynlink.c).
            return _program(_Plan(arch=arch, relocations=((types.relative, 0),), needed="libm.probe-1234.so"))
        case Probe.INDIRECT_FUNCTIONS:
            return _program(_Plan(arch=arch, relocations=((types.irelative, 0),)))
        case Probe.TLS_DESCRIPTORS:
            if types.tls_descriptor is None:
                return None
            return _program(_Plan(arch=arch, relocations=((types.relative, 0), (types.tls_descriptor, 1))))


def symbol_program(names: Sequence[str], arch: Arch) -> bytes:
    """A program that needs every symbol in ``names``; a loader names all that it does not find."""
    return _program(
        _Plan(arch=arch, relocations=((RELOCATIONS[arch].relative, 0),), needed="libc.so", symbols=tuple(names))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a program has. Slot 0 holds the link-time address of the exit code, and the entry jumps through it.

    ``relocations`` are pairs of type and slot; ``relr`` relocates slot 0 by DT_RELR and by nothing else. Each of
    ``symbols`` gets a slot of its own behind the first four.
    """

    arch: Arch
    relocations: tuple[tuple[int, int], ...] = ()
    relr: bool = False
    needed: str | None = None
    symbols: tuple[str, ...] = ()


FIXED_SLOTS: Final = 4
_CODE_SIZE: Final = 64


def _jump(arch: Arch, distance: int) -> bytes:
    """Code that jumps to the address stored ``distance`` bytes after its own first byte."""
    match arch:
        case Arch.X86_64:  # jmp *distance(%rip)
            return struct.pack("<HI", 0x25FF, distance - 6)
        case Arch.I686:  # call next; next: pop %eax; jmp *(slot - next)(%eax)
            return struct.pack("<BIBHI", 0xE8, 0, 0x58, 0xA0FF, distance - 5)
        case Arch.AARCH64:  # ldr x16, slot; br x16
            return struct.pack("<2I", 0x58000010 | distance >> 2 << 5, 0xD61F0200)
        case Arch.ARMV7L:  # ldr pc, [pc, #distance - 8]
            return struct.pack("<I", 0xE59FF000 | distance - 8)
        case Arch.PPC64LE:  # bcl 20,31,next; next: mflr r12; ld r12, slot - next(r12); mtctr r12; bctr
            return struct.pack("<5I", 0x429F0005, 0x7D8802A6, 0xE98C0000 | distance - 4, 0x7D8903A6, 0x4E800420)
        case Arch.S390X:  # lgrl %r1, slot; br %r1
            return struct.pack(">HIH", 0xC418, distance >> 1, 0x07F1)


class _Layout:
    """A program as it is laid out: file offsets are virtual addresses, and one segment holds all."""

    def __init__(self, arch: Arch) -> None:
        identity = arch.row.elf
        self.arch, self.wide = arch, identity.bits == 64
        self.mark = "<" if identity.order == "little" else ">"
        self.word = identity.bits // 8
        self.content = bytearray(64 + 4 * 56 if self.wide else 52 + 4 * 32)
        self.tags: list[tuple[int, int]] = []

    def words(self, *values: int) -> bytes:
        return struct.pack(f"{self.mark}{len(values)}{'Q' if self.wide else 'I'}", *values)

    def put(self, part: bytes) -> int:
        self.content += bytes(-len(self.content) % 16)
        at = len(self.content)
        self.content += part
        return at

    def table(self, part: bytes, tag: int, size_tag: int) -> None:
        if part:
            self.tags += [(tag, self.put(part)), (size_tag, len(part))]


def _program(plan: _Plan) -> bytes:
    layout = _Layout(plan.arch)
    code = layout.put(bytes(_CODE_SIZE))
    ending = layout.put(EXIT_CODE[plan.arch])
    slots = layout.put(layout.words(ending, *[0] * (FIXED_SLOTS - 1 + len(plan.symbols))))
    jump = _jump(plan.arch, slots - code)
    layout.content[code : code + len(jump)] = jump
    _put_symbols(layout, plan.symbols, plan.needed)
    _put_relocations(layout, plan, slots, ending)
    if plan.relr:  # one even word: the address of one place (generic ABI, "Relative relocation table")
        layout.tags += [(36, layout.put(layout.words(slots))), (35, layout.word), (37, layout.word)]
    tags = [*layout.tags, (0, 0)]
    dynamic = layout.put(b"".join(layout.words(*tag) for tag in tags))
    return _with_headers(layout, code, (dynamic, len(tags) * 2 * layout.word), slots)


def _put_symbols(layout: _Layout, names: Sequence[str], needed: str | None) -> None:
    strings = b"\0"
    rows = [bytes(24 if layout.wide else 16)]
    for name in names:
        row = (len(strings), 1 << 4, 0, 0, 0, 0) if layout.wide else (len(strings), 0, 0, 1 << 4, 0, 0)
        rows.append(struct.pack(f"{layout.mark}{'IBBHQQ' if layout.wide else 'IIIBBH'}", *row))
        strings += name.encode() + b"\0"
    if needed:
        layout.tags.append((1, len(strings)))
        strings += needed.encode() + b"\0"
    # One bucket and no chain: nobody looks a symbol up in here. s390x has 64-bit words in DT_HASH.
    size = "Q" if layout.arch is Arch.S390X else "I"
    hashes = struct.pack(f"{layout.mark}{3 + len(rows)}{size}", 1, len(rows), 0, *[0] * len(rows))
    layout.tags += [
        (6, layout.put(b"".join(rows))),
        (11, len(rows[0])),
        (4, layout.put(hashes)),
        (5, layout.put(strings)),
        (10, len(strings)),
    ]


def _put_relocations(layout: _Layout, plan: _Plan, slots: int, ending: int) -> None:
    types = RELOCATIONS[plan.arch]
    asked = [(kind, slot, 0) for kind, slot in plan.relocations]
    asked += [(types.glob_dat, FIXED_SLOTS + index, index + 1) for index in range(len(plan.symbols))]
    table = b""
    for kind, slot, symbol in asked:
        info = symbol << 32 | kind if layout.wide else symbol << 8 | kind
        addend = [ending if slot == 0 else 0] if types.has_addend else []
        table += layout.words(slots + slot * layout.word, info, *addend)
    tag, size_tag, entry_tag = (7, 8, 9) if types.has_addend else (17, 18, 19)
    layout.table(table, tag, size_tag)
    layout.tags.append((entry_tag, (3 if types.has_addend else 2) * layout.word))


def _with_headers(layout: _Layout, entry: int, dynamic: tuple[int, int], slots: int) -> bytes:
    """The program with its ELF header and PT_LOAD, PT_DYNAMIC, PT_TLS, PT_GNU_STACK (gABI, chapters 4 and 5)."""
    identity, total = layout.arch.row.elf, len(layout.content)
    segments = [
        (1, 7, 0, total, 0x1000),
        (2, 6, *dynamic, 8),
        (7, 4, slots + layout.word, layout.word, layout.word),
        (0x6474E551, 6, 0, 0, 16),
    ]
    flags = identity.flags_value | (0x400 if layout.arch is Arch.ARMV7L else 0)
    header_size, entry_size = (64, 56) if layout.wide else (52, 32)
    head = b"\x7fELF" + bytes([2 if layout.wide else 1, 1 if layout.mark == "<" else 2, 1]) + bytes(9)
    head += struct.pack(f"{layout.mark}HHI", 3, identity.machine, 1) + layout.words(entry, header_size, 0)
    head += struct.pack(f"{layout.mark}I6H", flags, header_size, entry_size, len(segments), 0, 0, 0)
    for kind, mode, offset, size, align in segments:
        place = (offset, offset, offset, size, size)
        head += (
            struct.pack(f"{layout.mark}II6Q", kind, mode, *place, align)
            if layout.wide
            else struct.pack(f"{layout.mark}8I", kind, *place, mode, align)
        )
    return head + bytes(layout.content[len(head) :])
