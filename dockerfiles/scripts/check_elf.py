"""Refuses an interpreter that would not load: ``check_elf.py /out/opt/_internal/cpython-X.Y.Z SYSROOT``.

The linker lets a shared library leave symbols undefined, so a module that needs what the pinned musl lacks is found
at its first import, on a user's machine. Here every ELF file is held against musl's and the interpreter's exports.
Reads just what that takes of the format (gABI, chapters 4 and 5), as the builder has no other reader.
"""
# ruff: noqa: INP001, T201 - a program of the builder, whose output is the build's log

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

ELFCLASS64, ELFDATA2LSB = 2, 1
PT_DYNAMIC, PT_INTERP = 2, 3
DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_TEXTREL = 1, 15, 29, 22
SHT_DYNSYM = 11
STB_WEAK = 2


@dataclass(frozen=True)
class Object:
    """What matters of one ELF file."""

    machine: int
    bits: int
    interpreter: str
    needed: tuple[str, ...]
    run_paths: tuple[int, ...]
    undefined: frozenset[str]
    defined: frozenset[str]


def text_at(data: bytes, offset: int) -> str:
    """The NUL-terminated string at ``offset``."""
    return data[offset : data.index(0, offset)].decode()


def read_symbols(data: bytes, order: str, *, wide: bool) -> tuple[set[str], set[str], int]:
    """Names the dynamic symbol table defines, names it needs (weak ones aside), and where its strings are."""
    defined, undefined, strings = set(), set(), 0
    (offset,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 40 if wide else 32)
    entry_size, count = struct.unpack_from(order + "2H", data, 58 if wide else 46)
    layout = order + ("IIQQQQIIQQ" if wide else "10I")
    sections = [struct.unpack_from(layout, data, offset + index * entry_size) for index in range(count)]
    for _, kind, _, _, start, size, link, _, _, step in sections:
        if kind != SHT_DYNSYM:
            continue
        strings = sections[link][4]
        for at in range(start + step, start + size, step):
            if wide:
                name, info, _, section = struct.unpack_from(order + "IBBH", data, at)
            else:
                name, _, _, info, _, section = struct.unpack_from(order + "IIIBBH", data, at)
            if section:
                defined.add(text_at(data, strings + name))
            elif info >> 4 != STB_WEAK:
                undefined.add(text_at(data, strings + name))
    return defined, undefined, strings


def read_object(data: bytes) -> Object:
    """Facts of the ELF file in ``data``."""
    wide = data[4] == ELFCLASS64
    order = "<" if data[5] == ELFDATA2LSB else ">"
    (machine,) = struct.unpack_from(order + "H", data, 18)
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 32 if wide else 28)
    entry_size, count = struct.unpack_from(order + "2H", data, 54 if wide else 42)
    interpreter, dynamic = "", range(0)
    for index in range(count):
        fields = struct.unpack_from(order + ("IIQQQQ" if wide else "IIIIII"), data, table + index * entry_size)
        kind, offset, size = fields[0], fields[2] if wide else fields[1], fields[5] if wide else fields[4]
        if kind == PT_INTERP:
            interpreter = text_at(data, offset)
        elif kind == PT_DYNAMIC:
            dynamic = range(offset, offset + size, 16 if wide else 8)
    tags = [struct.unpack_from(order + ("QQ" if wide else "II"), data, at) for at in dynamic]
    defined, undefined, strings = read_symbols(data, order, wide=wide)
    return Object(
        machine=machine,
        bits=64 if wide else 32,
        interpreter=interpreter,
        needed=tuple(text_at(data, strings + value) for tag, value in tags if tag == DT_NEEDED),
        run_paths=tuple(tag for tag, _ in tags if tag in (DT_RPATH, DT_RUNPATH, DT_TEXTREL)),
        undefined=frozenset(undefined),
        defined=frozenset(defined),
    )


def problems(found: Object, exports: frozenset[str]) -> list[str]:
    """Everything that is wrong with an object of the target, in words."""
    machine, bits = map(int, os.environ["TARGET_ELF"].split(":"))
    wrong = []
    if (found.machine, found.bits) != (machine, bits):
        wrong.append(f"is for ELF machine {found.machine} ({found.bits} bits), not {machine} ({bits})")
    if extra := [name for name in found.needed if name != os.environ["TARGET_LIBC"]]:
        wrong.append(f"needs {', '.join(extra)}")
    if found.run_paths:
        wrong.append("has a run path or text relocations")
    if found.interpreter not in ("", f"/lib/{os.environ['TARGET_LOADER']}"):
        wrong.append(f"wants the loader {found.interpreter}")
    if missing := sorted(found.undefined - exports):
        wrong.append(f"leaves undefined: {', '.join(missing)}")
    return wrong


def main() -> None:
    """Checks every ELF file below the root; all problems are reported together."""
    root, sysroot = Path(sys.argv[1]), Path(sys.argv[2])
    libc = read_object((sysroot / "lib" / os.environ["TARGET_LOADER"]).read_bytes()).defined
    python = read_object((root / "bin" / "python3").read_bytes()).defined
    objects = 0
    failed = False
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if data[:4] != b"\x7fELF":
            continue
        objects += 1
        for problem in problems(read_object(data), libc if path.parent.name == "bin" else libc | python):
            failed = True
            print(f"{path.name} {problem}", file=sys.stderr)
    print(f"{objects} ELF files checked")
    if failed or objects < 2:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
