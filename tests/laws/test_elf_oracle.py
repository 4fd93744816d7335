"""ElfFacts against pyelftools: generated objects of all architectures, and the interpreter that runs this."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import fields
from pathlib import Path
from struct import pack

import pytest

from musllinux_build.arch import Arch
from musllinux_build.elf.facts import ElfFacts, LibcFlavour
from musllinux_build.elf.reader import read_elf
from tests.defects.objects import arm_attributes
from tests.elfgen import Obj, build
from tests.oracle import by_oracle, exports_by_oracle

MODULES = sorted(
    Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so"), key=lambda path: path.stat().st_size
)
REAL = [Path(sys.executable).resolve(), *MODULES[:2], *MODULES[-2:]]
PARTS: dict[str, object] = {
    "soname": "libx.so.1",
    "needed": ["libc.so", "liby.so.2"],
    "runpath": "$ORIGIN",
    "exports": ["open_door"],
    "undefined": ["puts", "gettid"],
    "weak": ["__cxa_finalize"],
    "initial_exec": True,
    "thread_data": 16,
    "stack_size": 1 << 20,
}


def facts_of(content: bytes) -> ElfFacts:
    facts = read_elf(content, "x.so")
    assert facts is not None
    return facts


def check(content: bytes) -> None:
    facts = facts_of(content)
    ours = {field.name: getattr(facts, field.name) for field in fields(facts)}
    theirs = by_oracle(content)
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize("gnu_hash", [False, True])
@pytest.mark.parametrize("arch", list(Arch))
def test_generated_objects(arch: Arch, *, gnu_hash: bool) -> None:
    mark = "<" if arch.row.elf.order == "little" else ">"
    note = pack(f"{mark}III4s", 4, 20, 3, b"GNU\0") + bytes(range(20))
    # DT_FLAGS_1, and the sizes of entries that pyelftools asks for: DT_RELAENT, DT_RELENT, DT_SYMENT.
    sizes = [(9, 24), (11, 24)] if arch.row.elf.bits == 64 else [(19, 8), (11, 16)]
    parts = {**PARTS, "dynamic": [(0x6FFFFFFB, 0x08000001), *sizes]}
    content = build(Obj(arch=arch, gnu_hash=gnu_hash, notes=note, **parts))  # type: ignore[arg-type] # fields of Obj
    check(content)
    assert facts_of(content).build_id == bytes(range(20)).hex()


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_the_interpreter_that_runs_this(path: Path) -> None:
    content = path.read_bytes()
    check(content)
    assert facts_of(content).exports == exports_by_oracle(content)


def test_libc_flavours() -> None:
    wanted = {
        LibcFlavour.MUSL: Obj(needed=["libc.musl-x86_64.so.1"]),
        LibcFlavour.GLIBC: Obj(versions={"libm.so.6": ["GLIBC_2.29"]}),
        LibcFlavour.NEUTRAL: Obj(needed=["libc.so"], versions={"libgcc_s.so.1": ["GCC_3.0"]}),
    }
    assert {facts_of(build(obj)).libc: obj for obj in wanted.values()} == wanted
    assert facts_of(build(Obj(interp="/lib/ld-linux-aarch64.so.1"))).libc is LibcFlavour.GLIBC
    assert facts_of(build(Obj(interp="/lib/ld-musl-i386.so.1"))).libc is LibcFlavour.MUSL


@pytest.mark.parametrize(
    ("cpu", "vfp", "name", "hard"), [(10, 1, "v7", True), (14, 0, "v8", False), (22, 1, "v8 or later", True)]
)
def test_arm_attributes(cpu: int, vfp: int, name: str, *, hard: bool) -> None:
    arm = facts_of(build(Obj(arch=Arch.ARMV7L, attributes=arm_attributes(cpu, vfp)))).arm
    assert arm is not None
    assert (arm.cpu, arm.cpu_name, arm.hard_float) == (cpu, name, hard)
    for lie in (b"A", b"A\xff\xff\xff\xffaeabi\0\1\xff\xff\xff\xff\x43", b"B" * 40, arm_attributes(cpu)[:-1]):
        assert facts_of(build(Obj(arch=Arch.ARMV7L, attributes=lie))).arm is not None


@pytest.mark.parametrize(("skew", "size"), [(0, 1 << 16), (1 << 14, 1 << 14), (1 << 12, 1 << 12), (8, 8)])
def test_the_largest_page(skew: int, size: int) -> None:
    assert facts_of(build(Obj(skew=skew))).page_size == size


@pytest.mark.parametrize("note", [b"\xff" * 12, pack("<III4s", 4, 16, 5, b"GNU\0") + b"\xff" * 16, b"\0"])
def test_notes_that_lie_say_nothing(note: bytes) -> None:
    facts = facts_of(build(Obj(notes=note)))
    assert (facts.build_id, facts.isa) == (None, 0)
