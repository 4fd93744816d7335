"""RULES: what is looked for in a wheel. Each rule takes the subject and yields findings."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

from musllinux_build.audit.subject import Subject
from musllinux_build.audit.symbols import symbol_findings
from musllinux_build.audit.verdict import Finding, Severity
from musllinux_build.elf.closure import Edge, Outcome, expand, is_reserved
from musllinux_build.elf.facts import ElfFacts, ElfKind, Hazard
from musllinux_build.wheel.layout import SITE, is_in_site, shown_path

SOFT_FLOAT = 0x200
"""EF_ARM_ABI_FLOAT_SOFT (ELF for the Arm Architecture, "File header")."""
SOABI = re.compile(r"\.cpython-(\d)(\d+)[a-z]*-([A-Za-z0-9_-]+)\.so$")
FIRST_MUSL_SOABI = (3, 11)
"""CPython names musl in extension suffixes since this release; before, it says ``-linux-gnu`` everywhere."""
GLIBC_LIBRARY = re.compile(r"ld-linux|ld64\.so|lib(?:resolv|nsl|crypt|anl|BrokenLocale)\.so")
LIBPYTHON = re.compile(r"libpython\d")

HAZARDS: dict[Hazard, tuple[Severity, str, str]] = {
    Hazard.IFUNC: (
        Severity.ERROR,
        "uses indirect functions, which musl does not have",
        "Build it for musl, without target_clones and ifunc attributes",
    ),
    Hazard.INITIAL_EXEC_TLS: (
        Severity.ERROR,
        "uses initial-exec TLS, which musl refuses in a library opened at run time",
        "Compile with -ftls-model=global-dynamic (mimalloc: local_dynamic_tls; jemalloc: --disable-initial-exec-tls)",
    ),
    Hazard.TEXT_RELOCATIONS: (
        Severity.WARNING,
        "has relocations in its code, which hardened kernels refuse",
        "Compile everything in it with -fPIC",
    ),
    Hazard.EXECUTABLE_STACK: (
        Severity.WARNING,
        "asks for an executable stack",
        "Link it with -z noexecstack; assembly needs a .note.GNU-stack section",
    ),
}


def architecture(subject: Subject) -> Iterator[Finding]:
    """Every loadable object is of the architecture the file name promises."""
    wanted = subject.arch
    for facts in subject.inventory.objects.values():
        if facts.kind in {ElfKind.RELOCATABLE, ElfKind.CORE}:
            continue
        soft = wanted.row.elf.machine == 40 and facts.flags & SOFT_FLOAT
        if not facts.fits(wanted.row.elf) or soft:
            found = "soft-float arm" if soft else facts.describe()
            yield Finding(
                rule="wrong-architecture",
                severity=Severity.ERROR,
                file=facts.path,
                message=f"is {found}, the wheel is for {wanted.value}",
                evidence=found,
                remedy="Build each architecture in its own environment and check what the compiler was told",
            )


def glibc(subject: Subject) -> Iterator[Finding]:
    """No object was linked against glibc or asks for another loader than musl's."""
    interp = f"/lib/{subject.arch.row.loader}"
    for path, facts in subject.closure.objects.items():
        versions = sorted(
            {
                name
                for need in facts.version_needs
                for name in need.versions
                # libgcc_s has a version GLIBC_2.0 of its own on some architectures; only glibc's libraries count.
                if name.startswith("GLIBC_") and (is_reserved(need.library) or GLIBC_LIBRARY.match(need.library))
            }
        )
        if versions:
            yield Finding(
                rule="glibc-versions",
                severity=Severity.ERROR,
                file=facts.path,
                message=f"was linked against glibc: it needs {', '.join(versions[:4])}",
                evidence=versions[-1],
                remedy="Build it against musl; a prebuilt glibc binary cannot be repaired",
                chain=subject.chain(path),
            )
        if facts.interp and facts.interp != interp:
            yield Finding(
                rule="foreign-interpreter",
                severity=Severity.ERROR,
                file=facts.path,
                message=f"asks for the loader {facts.interp}, which is not {interp}",
                evidence=facts.interp,
                remedy="Link it against musl, or statically with -static-pie",
                chain=subject.chain(path),
            )


def hazards(subject: Subject) -> Iterator[Finding]:
    """No object relies on what musl's loader does not do."""
    for path, facts in subject.closure.objects.items():
        for hazard in sorted(facts.hazards - {Hazard.RELR}, key=lambda hazard: hazard.value):
            severity, message, remedy = HAZARDS[hazard]
            if hazard is Hazard.INITIAL_EXEC_TLS and (facts.interp or facts.kind is ElfKind.EXECUTABLE):
                continue  # a program's own TLS is in the static block
            yield Finding(
                rule=hazard.value,
                severity=severity,
                file=facts.path,
                message=message,
                evidence=hazard.value,
                remedy=remedy,
                chain=subject.chain(path),
            )
        if Hazard.RELR in facts.hazards and subject.floor < subject.table.relr_floor:
            yield Finding(
                rule="relr",
                severity=Severity.ERROR,
                file=facts.path,
                message=f"has DT_RELR relocations: musl before {subject.table.relr_floor} skips them and it crashes",
                evidence="DT_RELR",
                remedy="Link it with -Wl,-z,nopack-relative-relocs, or take it from Alpine 3.17 or older",
                chain=subject.chain(path),
            )


def libraries(subject: Subject) -> Iterator[Finding]:
    """Every library is found, is no part of CPython, and is or will be inside the wheel."""
    for edge in subject.closure.edges:
        facts = subject.closure.objects[edge.requester]
        told = _about_library(subject, edge)
        if told:
            rule, message, remedy = told
            yield Finding(
                rule=rule,
                severity=Severity.ERROR,
                file=facts.path,
                message=message,
                evidence=edge.name,
                remedy=remedy,
                chain=subject.chain(edge.requester),
            )


def _about_library(subject: Subject, edge: Edge) -> tuple[str, str, str] | None:
    if LIBPYTHON.match(edge.name):
        return (
            "libpython",
            f"links {edge.name}, which the interpreter already contains or does not have at all",
            "Link the extension without libpython (PEP 513); remove -lpython from its flags",
        )
    if edge.outcome is Outcome.MISSING:
        where = "in the wheel, its search path or the root" if subject.may_graft else "in the wheel or its search path"
        return (
            "library-not-found",
            f"needs {edge.name}, which musl does not find {where}",
            "Install the library where the wheel is built, or repair with --root pointing at a root that has it",
        )
    if edge.outcome is Outcome.UNLOADABLE:
        return (
            "library-not-loadable",
            f"needs {edge.name}, but {edge.why}; musl stops there",
            f"Remove that file or install {edge.name} for {subject.arch.value}",
        )
    if edge.outcome is Outcome.FOUND and edge.target and not subject.may_graft and not _is_inside(edge.target):
        return (
            "library-outside",
            f"needs {edge.name}, found at {edge.target} and not in the wheel",
            "Run musllinux-build audit repair to graft it",
        )
    return None


def _is_inside(path: str) -> bool:
    return path.startswith(SITE.split("/lib/", maxsplit=1)[0])


def suffix(subject: Subject) -> Iterator[Finding]:
    """Every extension has a suffix that CPython of this architecture on musl imports."""
    for path, facts in subject.inventory.objects.items():
        found = SOABI.search(path)
        if not found or not facts.python_init:
            continue
        version, triplet = (int(found[1]), int(found[2])), found[3]
        wanted = subject.arch.row.multiarch
        if version < FIRST_MUSL_SOABI:
            wanted = wanted.replace("-musl", "-gnu", 1)
        if triplet != wanted:
            yield Finding(
                rule="suffix-never-imports",
                severity=Severity.ERROR,
                file=facts.path,
                message=f"is called ...-{triplet}.so; CPython {version[0]}.{version[1]} imports ...-{wanted}.so here",
                evidence=triplet,
                remedy="Build it with the interpreter of a musl image, or rename it",
            )


def search_paths(subject: Subject) -> Iterator[Finding]:
    """Search paths stay inside what is installed, and musl reads them."""
    for path, facts in subject.inventory.objects.items():
        text = facts.search_path
        if not text:
            continue
        directories = expand(text, path)
        if directories is None:
            message = f"has the search path {text!r}: musl discards all of it for a $ token other than $ORIGIN"
            yield _about_search_path(facts, "search-path-token", Severity.WARNING, message)
            continue
        outside = [entry for entry in directories if not is_in_site(f"{posixpath.normpath(entry)}/")]
        if outside:
            message = f"searches outside the wheel: {', '.join(map(shown_path, outside[:3]))}"
            yield _about_search_path(facts, "search-path-outside", Severity.NOTE, message)


def _about_search_path(facts: ElfFacts, rule: str, severity: Severity, message: str) -> Finding:
    return Finding(
        rule=rule,
        severity=severity,
        file=facts.path,
        message=message,
        evidence=facts.search_path or "",
        remedy="Link it with -rpath $ORIGIN/... or none",
    )


def shared_names(subject: Subject) -> Iterator[Finding]:
    """No two files of the wheel answer to one name: musl gives the second user the first one's file."""
    for name, paths in subject.closure.claims.items():
        inside = [path for path in paths if _is_inside(path)]
        if len(inside) > 1:
            yield Finding(
                rule="one-name-two-files",
                severity=Severity.WARNING,
                file=shown_path(inside[0]),
                message=f"and {shown_path(inside[1])} both answer to {name}; the one loaded first serves both users",
                evidence=name,
                remedy="Give them different file names",
            )


def interposition(subject: Subject) -> Iterator[Finding]:
    """No library exports a function of musl: musl's own comes first and its users get that one."""
    for path, facts in subject.closure.objects.items():
        same = sorted(name for name in facts.exports & subject.table.since.keys() if not name.startswith("_"))
        if same and not facts.interp and not facts.python_init:
            more = f" and {len(same) - 4} more" if len(same) > 4 else ""
            yield Finding(
                rule="interposed-by-musl",
                severity=Severity.WARNING,
                file=facts.path,
                message=f"exports {', '.join(same[:4])}{more}, which musl also has: its users get musl's",
                evidence=same[0],
                remedy="Hide those symbols, or make sure both do the same",
                chain=subject.chain(path),
            )


def metadata(subject: Subject) -> Iterator[Finding]:
    """File name and WHEEL agree, and a wheel with objects is not called pure."""
    wheel_file = "WHEEL"
    remedy = "Run musllinux-build audit repair, which writes them anew"
    if subject.wheel_tags != subject.name.expanded:
        message = f"has the tags {', '.join(subject.wheel_tags[:3]) or 'none'}; the file name says otherwise"
        yield Finding(
            rule="tags-disagree",
            severity=Severity.WARNING,
            file=wheel_file,
            message=message,
            evidence=", ".join(subject.wheel_tags),
            remedy=remedy,
        )
    if subject.root_is_purelib:
        yield Finding(
            rule="purelib-with-objects",
            severity=Severity.WARNING,
            file=wheel_file,
            message="says Root-Is-Purelib: true and the wheel has ELF objects",
            evidence="Root-Is-Purelib: true",
            remedy=remedy,
        )


RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    architecture,
    glibc,
    hazards,
    libraries,
    symbol_findings,
    suffix,
    search_paths,
    shared_names,
    interposition,
    metadata,
)
