"""Rules about one object: what it is, what it asks of the loader and of the processor."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.attributes import V8
from musllinux_build.elf.facts import ElfFacts, ElfKind, Hazard
from musllinux_build.elf.psabi import TLSDESC, unknown_types
from musllinux_build.policy import MuslVersion
from musllinux_build.wheel.layout import OUTSIDE

SOFT_FLOAT = 0x200
"""EF_ARM_ABI_FLOAT_SOFT (ELF for the Arm Architecture, "File header")."""
SHARED_NAME = re.compile(r"\.so(?:\.|$)")
EXTENSION_NAME = re.compile(r"\.(?:cpython-3\d+[a-z]*-[A-Za-z0-9_-]+|abi3t?)\.so$")
LIBRARY_NAME = re.compile(r"\.so(?:\.[0-9]+)*$")
SMALLEST_PAGE = 4096
LARGE_PAGES = {Arch.AARCH64, Arch.PPC64LE}
"""Their kernels are built with pages of up to 64 KiB."""
TLSDESC_FIX = MuslVersion(1, 2, 5)

HAZARDS: dict[Hazard, tuple[str, str]] = {
    Hazard.IFUNC: (
        "uses indirect functions, which musl does not have",
        "Build it for musl, without target_clones and ifunc attributes",
    ),
    Hazard.EXPORTED_IFUNC: (
        "exports an indirect function, which musl does not find for whoever asks for it",
        "Build it for musl, without target_clones and ifunc attributes",
    ),
    Hazard.INITIAL_EXEC_TLS: (
        "uses initial-exec TLS, which musl refuses in a library opened at run time",
        "Compile with -ftls-model=global-dynamic (mimalloc: local_dynamic_tls; jemalloc: --disable-initial-exec-tls)",
    ),
    Hazard.TEXT_RELOCATIONS: (
        "has relocations in its code, which hardened kernels refuse",
        "Compile everything in it with -fPIC",
    ),
    Hazard.UNMARKED_TEXT_RELOCATIONS: (
        "has relocations in its code and no DT_TEXTREL tag, so that musl writes to read-only memory",
        "Compile everything in it with -fPIC",
    ),
    Hazard.EXECUTABLE_STACK: (
        "asks for an executable stack",
        "Link it with -z noexecstack; assembly needs a .note.GNU-stack section",
    ),
    Hazard.PACKED_RELOCATIONS: (
        "has relocations packed for Android, which musl does not unpack",
        "Link it with --pack-dyn-relocs=none",
    ),
    Hazard.STATIC_TLS_FLAG: (
        "says that it needs static TLS and has no relocation that does",
        "Nothing is needed for musl, which ignores the flag",
    ),
}


def architecture(subject: Subject) -> Iterator[Finding]:
    """Every loadable object is of the architecture the file name promises."""
    wanted = subject.arch
    for path, facts in subject.inventory.objects.items():
        if facts.kind in {ElfKind.RELOCATABLE, ElfKind.CORE}:
            continue
        elf = wanted.row.elf
        same = (facts.machine, facts.bits, facts.order) == (elf.machine, elf.bits, elf.order)
        soft = wanted is Arch.ARMV7L and bool(facts.flags & SOFT_FLOAT)
        if same and facts.fits(elf) and not soft:
            continue
        rule = (
            "wrong-abi-flags" if same else "wrong-architecture" if _may_be_loaded(subject, path) else "foreign-object"
        )
        found = ("soft-float arm" if soft else f"e_flags {facts.flags:#x}") if same else facts.describe()
        yield finding(
            rule,
            file=facts.path,
            message=f"is {found}, the wheel is for {wanted.value}",
            evidence=found,
            remedy="Build each architecture in its own environment and check what the compiler was told",
        )


def _may_be_loaded(subject: Subject, path: str) -> bool:
    """Whether something would start or open the file: by its name, its place or its permissions."""
    name = posixpath.basename(path)
    started = path.startswith(f"{OUTSIDE}/scripts/") or path in subject.executables
    return started or SHARED_NAME.search(name) is not None or any(edge.target == path for edge in subject.closure.edges)


def glibc(subject: Subject) -> Iterator[Finding]:
    """No object was linked against glibc or asks for another loader than musl's."""
    interp = f"/lib/{subject.arch.row.loader}"
    for path, facts in subject.closure.objects.items():
        if versions := facts.glibc_versions:
            yield finding(
                "glibc-versions",
                file=facts.path,
                message=f"was linked against glibc: it needs {', '.join(versions[:4])}",
                evidence=versions[-1],
                remedy="Build it against musl; a prebuilt glibc binary cannot be repaired",
                chain=subject.chain(path),
            )
        if facts.interp and facts.interp != interp:
            yield finding(
                "foreign-interpreter",
                file=facts.path,
                message=f"asks for the loader {facts.interp}, which is not {interp}",
                evidence=facts.interp,
                remedy="Link it against musl, or statically with -static-pie",
                chain=subject.chain(path),
            )
        elif facts.interp and not facts.is_program:
            yield finding(
                "library-with-interpreter",
                file=facts.path,
                message=f"is a library and names the loader {facts.interp}: it can only be started where that exists",
                evidence=facts.interp,
                remedy="Link it as a library, without -Wl,--dynamic-linker and -pie",
            )


def hazards(subject: Subject) -> Iterator[Finding]:
    """No object relies on what musl's loader does not do."""
    started = _started_only(subject)
    for path, facts in subject.closure.objects.items():
        for hazard in sorted(facts.hazards - {Hazard.RELR}, key=lambda hazard: hazard.value):
            if hazard is Hazard.INITIAL_EXEC_TLS and path in started:
                continue  # what is there at start has its place in the static block
            message, remedy = HAZARDS[hazard]
            yield finding(
                hazard.value,
                file=facts.path,
                message=message,
                evidence=hazard.value,
                remedy=remedy,
                chain=subject.chain(path),
            )
        if Hazard.RELR in facts.hazards and subject.floor < subject.table.relr_floor:
            yield finding(
                "relr",
                file=facts.path,
                message=f"has DT_RELR relocations: musl before {subject.table.relr_floor} skips them and it crashes",
                evidence="DT_RELR",
                remedy="Link it with -Wl,-z,nopack-relative-relocs, take it from Alpine 3.17 or older, or run "
                "musllinux-build audit repair, which expands them in grafted libraries",
                chain=subject.chain(path),
            )


def _started_only(subject: Subject) -> frozenset[str]:
    """What only programs load, and the programs themselves: all of it is there when the process starts."""
    closure = subject.closure
    opened = {path for root, loaded in closure.loads.items() if not closure.objects[root].is_program for path in loaded}
    return frozenset(closure.objects.keys() - opened)


def relocations(subject: Subject) -> Iterator[Finding]:
    """Every relocation is of a kind that musl applies, and applies rightly at the floor."""
    for path, facts in subject.closure.objects.items():
        for kind in sorted(unknown_types(facts.machine, facts.relocation_types)):
            yield finding(
                "unknown-relocation",
                file=facts.path,
                message=f"has relocations of type {kind}, which musl's loader stops at",
                evidence=str(kind),
                remedy="Compile everything in it with -fPIC and link it with an ordinary linker",
                chain=subject.chain(path),
            )
        descriptors = TLSDESC.get(facts.machine) in facts.relocation_types
        if subject.arch is Arch.ARMV7L and descriptors and subject.floor < TLSDESC_FIX:
            yield finding(
                "tlsdesc-before-fix",
                file=facts.path,
                message=f"uses TLS descriptors; musl before {TLSDESC_FIX} adds their addend wrongly on arm",
                evidence="R_ARM_TLS_DESC",
                remedy="Compile with -mtls-dialect=gnu",
                chain=subject.chain(path),
            )


def structure(subject: Subject) -> Iterator[Finding]:
    """Every object can be mapped and searched."""
    for path, facts in subject.closure.objects.items():
        if not facts.has_hash and not (facts.is_program and facts.interp is None):
            yield finding(
                "no-symbol-hash",
                file=facts.path,
                message="has neither DT_HASH nor DT_GNU_HASH, and musl's symbol lookup crashes on it",
                evidence="DT_HASH",
                remedy="Link it with --hash-style=gnu or both",
                chain=subject.chain(path),
            )
        if facts.page_size < SMALLEST_PAGE:
            yield finding(
                "segment-misaligned",
                file=facts.path,
                message="has a segment whose address and file offset disagree within a page: other bytes are mapped",
                evidence=f"page size {facts.page_size}",
                remedy="Link it again, and do not strip it after patchelf",
                chain=subject.chain(path),
            )
        elif subject.arch in LARGE_PAGES and facts.page_size < 1 << 16:
            yield finding(
                "page-size",
                file=facts.path,
                message=f"loads on pages up to {facts.page_size} bytes; some {subject.arch.value} kernels have 65536",
                evidence=f"page size {facts.page_size}",
                remedy="Link it with -z max-page-size=65536",
                chain=subject.chain(path),
            )


def shapes(subject: Subject) -> Iterator[Finding]:
    """What is called like an extension or a library is an object that can be loaded."""
    objects = subject.inventory.objects
    for path, member in sorted(subject.inventory.members.items()):
        facts, name = objects.get(path), posixpath.basename(path)
        if facts is None and EXTENSION_NAME.search(name):
            yield finding(
                "not-an-object",
                file=member,
                message="has the suffix of an extension module and is no ELF file",
                evidence=name,
                remedy="Build the wheel again where the real file is (a pointer of version control?)",
            )
        elif facts and not facts.is_dynamic and facts.fits(subject.arch.row.elf) and LIBRARY_NAME.search(name):
            yield finding(
                "no-dynamic-section",
                file=facts.path,
                message="is called like a library and has no dynamic section: musl does not load it",
                evidence="PT_DYNAMIC",
                remedy="Link it with -shared",
            )


def processors(subject: Subject) -> Iterator[Finding]:
    """No object says that it was compiled for a newer processor than the tag promises."""
    for path, facts in subject.closure.objects.items():
        if subject.arch is Arch.X86_64 and facts.isa > 1:
            yield finding(
                "isa-above-baseline",
                file=facts.path,
                message=f"needs x86-64-v{facts.isa}; the tag promises every x86_64",
                evidence=f"x86-64-v{facts.isa}",
                remedy="Compile without -march, or choose the code path at run time",
                chain=subject.chain(path),
            )
        if facts.arm and facts.arm.cpu is not None and facts.arm.cpu >= V8:
            yield finding(
                "cpu-above-baseline",
                file=facts.path,
                message=f"was compiled for arm {facts.arm.cpu_name}; the tag promises armv7",
                evidence=f"Tag_CPU_arch: {facts.arm.cpu_name}",
                remedy="Compile with -march=armv7-a",
                chain=subject.chain(path),
            )


def programs(subject: Subject) -> Iterator[Finding]:
    """Programs can be started, and have room for their threads."""
    for path, facts in subject.inventory.objects.items():
        name = posixpath.basename(path)
        if facts.kind is ElfKind.EXECUTABLE and SHARED_NAME.search(name):
            yield finding(
                "not-shared",
                file=facts.path,
                message="is called like a library and is a program at one address, which must be free",
                evidence="ET_EXEC",
                remedy="Link it with -shared, or rename it",
            )
        elif facts.is_program and facts.fits(subject.arch.row.elf):
            yield from _about_program(subject, path, facts)


def _about_program(subject: Subject, path: str, facts: ElfFacts) -> Iterator[Finding]:
    if path not in subject.executables and not path.startswith(f"{OUTSIDE}/scripts/"):
        yield finding(
            "program-not-executable",
            file=facts.path,
            message="is a program and will be installed without the permission to execute it",
            evidence="mode",
            remedy="Set its permissions to 0755 before the wheel is packed",
        )
    if facts.interp and not facts.stack_size and "pthread_create" in facts.undefined:
        yield finding(
            "small-thread-stack",
            file=facts.path,
            message="starts threads and leaves their stacks at musl's 128 KiB",
            evidence="PT_GNU_STACK",
            remedy="Link it with -Wl,-z,stack-size=2097152 if its threads recurse or have large locals",
        )
