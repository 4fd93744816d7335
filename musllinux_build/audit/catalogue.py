"""Every rule, one row each: what it is called, how bad it is, what it says and which text it enforces.

docs/rules.md is this table, and a test holds the two together. ``ERROR`` is for what breaks the promise of a tag. Most
errors stop musl's loader; the rules marked ``may_load`` refuse what a loader may well take: those are about installing,
importing or promises, and nothing else may be refused that loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from musllinux_build.audit.verdict import Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``source`` is the clause it enforces; ``may_load`` tells that a loader may take what it refuses."""

    id: str
    severity: Severity
    summary: str
    source: str
    may_load: bool = False


def _rows(severity: Severity, *rows: tuple[str, str, str], may_load: bool = False) -> tuple[Rule, ...]:
    return tuple(
        Rule(id=name, severity=severity, summary=summary, source=source, may_load=may_load)
        for name, summary, source in rows
    )


RULES: tuple[Rule, ...] = (
    *_rows(
        ERROR,
        ("symbol-too-new", "A symbol came with a musl newer than the floor", "PEP 656; musl's dynamic symbol tables"),
        ("symbol-of-glibc", "A symbol that only glibc has", "musl ldso, find_sym: symbol not found"),
        (
            "symbol-not-provided",
            "A symbol that neither musl, CPython nor a loaded library defines",
            "musl ldso, do_relocs",
        ),
        ("symbol-of-musl-internals", "A symbol that musl used to export by accident", "musl 1.1.21: internals hidden"),
        ("relr", "DT_RELR relocations below the musl that applies them", "musl 1.2.4 release notes; gABI, DT_RELR"),
        ("unknown-relocation", "A relocation type that musl does not apply", "musl arch/*/reloc.h"),
        ("ifunc", "Indirect functions, which musl does not have", "musl ldso: no STT_GNU_IFUNC, no R_*_IRELATIVE"),
        ("initial-exec-tls", "Initial-exec TLS in a library opened at run time", "musl ldso, do_relocs: REL_TPOFF"),
        ("text-relocations-unmarked", "Relocations in code without DT_TEXTREL", "musl ldso, map_library"),
        ("no-dynamic-section", "A library without a dynamic section", "musl ldso, map_library: no PT_DYNAMIC"),
        ("not-an-object", "An extension module that is no ELF file", "gABI, e_ident"),
        ("no-symbol-hash", "Neither DT_HASH nor DT_GNU_HASH", "musl ldso, find_sym"),
        ("library-not-found", "A needed library that the loader does not find", "PEP 656; musl ldso, load_library"),
        ("library-out-of-reach", "A needed library is in the wheel where no search path leads", "musl ldso, path_open"),
        ("library-outside", "A needed library is outside the wheel", "PEP 513; PEP 656, dependencies"),
        (
            "graft-out-of-reach",
            "A program that is installed at no fixed distance from grafted libraries",
            "PEP 427, .data",
        ),
        ("graft-ambiguous", "A need that leads to different libraries, depending on the user", "musl ldso, path_open"),
        ("graft-place-taken", "A program has to move where another file lies", "PEP 427, .data"),
    ),
    *_rows(
        ERROR,
        (
            "wrong-architecture",
            "An object of another machine, class or byte order than the tag",
            "PEP 656; gABI, e_ident",
        ),
        (
            "packed-relocations",
            "Relocations packed for Android's loader",
            "bionic, DT_ANDROID_RELA; no musl reads them",
        ),
        ("segment-misaligned", "A segment whose address and offset disagree within a page", "gABI, p_align"),
        ("library-not-loadable", "The first file found for a needed library cannot be loaded", "musl ldso, path_open"),
        ("wrong-abi-flags", "An object of another float or calling convention than the tag", "psABI of arm, powerpc64"),
        ("glibc-versions", "Linked against glibc: it wants GLIBC_ versions", "PEP 656; musl ignores DT_VERNEED"),
        ("foreign-interpreter", "A program that asks for another loader than musl's", "gABI, PT_INTERP"),
        ("library-of-the-system", "A library that only the promised distributions have", "PEP 656, dependencies"),
        ("symbol-private", "A private symbol of a library taken from the system", "PEP 600, symbol blacklists"),
        ("libpython", "A link to libpython", "PEP 513"),
        ("libc-inside", "A copy of musl itself inside the wheel", "musl ldso, load_library: a second libc is ignored"),
        ("suffix-never-imports", "An extension suffix that no interpreter of the tags imports", "PEP 3149; PEP 703"),
        ("suffix-too-narrow", "An abi3 wheel whose extension only one Python imports", "PEP 425; PEP 3149"),
        ("abi3-outside-limited-api", "An abi3 wheel that uses what is not in the stable ABI", "PEP 384; PEP 652"),
        ("abi3-too-new", "An abi3 wheel that uses what came after the Python of its tag", "PEP 384; PEP 652"),
        ("tag-of-two-architectures", "Platform tags of several architectures on one wheel", "PEP 656"),
        ("tag-any-with-objects", "Compiled code in a wheel for any platform", "PEP 425"),
        ("data-unknown-scheme", "A .data subdirectory that installers refuse", "PEP 427, .data"),
        may_load=True,
    ),
    *_rows(
        WARNING,
        ("ifunc-exported", "An indirect function for others to use", "musl ldso, find_sym: OK_TYPES"),
        ("executable-stack", "An executable stack is asked for", "gABI, PT_GNU_STACK"),
        ("text-relocations", "Relocations in code, which hardened kernels refuse", "gABI, DT_TEXTREL"),
        (
            "interposed-by-musl",
            "A library exports what musl exports: its users get musl's",
            "musl ldso: libc comes first",
        ),
        (
            "excluded-not-reachable",
            "An excluded library where no search path of its user leads",
            "musl ldso, load_library: a path opened before answers no name",
        ),
        ("one-name-two-files", "Two files answer to one library name", "musl ldso, load_library: by file name"),
        ("name-not-unique", "A bundled library without a name of its own", "PEP 600, play well with others"),
        (
            "reserved-library-name",
            "A bundled library with a name that musl takes for itself",
            "musl ldso, load_library",
        ),
        ("libpython-inside", "A Python interpreter inside a library of the wheel", "PEP 513"),
        ("mixed-time64", "32-bit and 64-bit time_t in one load", "musl 1.2.0 release notes, time64"),
        (
            "isa-above-baseline",
            "Compiled for a newer processor than every one of the architecture",
            "x86-64 psABI, levels",
        ),
        (
            "cpu-above-baseline",
            "Compiled for a newer arm than the tag says",
            "ABI for the Arm Architecture, attributes",
        ),
        ("page-size", "Segments that do not fit the page size of common kernels", "gABI, p_align"),
        ("tlsdesc-before-fix", "TLS descriptors on arm before musl 1.2.5", "musl 1.2.5 release notes"),
        ("search-path-token", "A $ token other than $ORIGIN: musl discards the whole list", "musl ldso, fixup_rpath"),
        ("search-path-absolute", "An absolute directory in the search path", "PEP 513; gABI, DT_RUNPATH"),
        ("search-path-escapes", "A search path that leaves what the wheel installs", "PEP 513; gABI, DT_RUNPATH"),
        ("not-shared", "A position-dependent object under a library's name", "musl ldso, map_library: EBUSY"),
        ("tags-disagree", "WHEEL and the file name have different tags", "PEP 427, WHEEL"),
        ("purelib-with-objects", "Root-Is-Purelib: true with compiled code", "PEP 427, WHEEL"),
        ("abi-none-with-extension", "An extension module in a wheel with the ABI tag none", "PEP 425; PEP 513"),
        ("data-out-of-reach", "An object in .data that neither imports nor search paths reach", "PEP 427, .data"),
        ("program-not-executable", "A program without the permission to execute", "PEP 427; zip external attributes"),
    ),
    *_rows(
        NOTE,
        ("suffix-stale", "A second extension that no interpreter of the tags imports", "PEP 3149"),
        ("foreign-object", "An object of another machine that nothing loads", "PEP 656"),
        ("not-loadable", "An object file or archive: dead weight at run time", "gABI, ET_REL"),
        ("library-with-interpreter", "A library that names a loader", "gABI, PT_INTERP"),
        ("static-tls-flag", "DF_STATIC_TLS, which musl ignores", "gABI, DF_STATIC_TLS"),
        ("small-thread-stack", "A program with threads and musl's small default stack", "musl: 128 KiB; PT_GNU_STACK"),
        ("starts-with-python", "A .pth or .start file runs at every start of Python", "PEP 829; site"),
    ),
)
CATALOGUE: Mapping[str, Rule] = {rule.id: rule for rule in RULES}


def finding(rule: str, *, file: str, message: str, evidence: str, remedy: str, chain: tuple[str, ...] = ()) -> Finding:
    """A finding of ``rule``, with the severity of its row; a rule without a row is a bug."""
    return Finding(
        rule=rule,
        severity=CATALOGUE[rule].severity,
        file=file,
        message=message,
        evidence=evidence,
        remedy=remedy,
        chain=chain,
    )


def rules_page() -> str:
    """docs/rules.md: the catalogue for people, as ``audit rules`` prints it."""
    kinds = {
        ERROR: "The wheel breaks the promise of its tag; `audit show` exits with 1.",
        WARNING: "It may break in some process, on some processor or beside some other wheel.",
        NOTE: "Worth knowing.",
    }
    lines = [
        "# Rules of the auditor",
        "",
        "`musllinux-build audit rules` prints this page. Every finding names its rule; the names are stable.",
        "",
        "A loader may take what the rules marked *may load* refuse: they are about installing, importing and what a",
        "tag promises, or about what goes wrong later and without a word. No other rule refuses what loads, except",
        "that DT_RELR and a symbol that one distribution's musl has early may go well there.",
    ]
    for severity, told in kinds.items():
        rows = [rule for rule in RULES if rule.severity is severity]
        lines += ["", f"## {severity.value.capitalize()}s", "", told, "", "| rule | what it finds | clause | |"]
        lines.append("| --- | --- | --- | --- |")
        lines += [f"| `{row.id}` | {row.summary} | {row.source} | {'may load' * row.may_load} |" for row in rows]
    return "\n".join(lines) + "\n"
