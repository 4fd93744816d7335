"""Undefined symbols against what provides them: the wheel's own closure, CPython, and each musl release.

musl's lookup takes the first definition in global order and ignores versions; a weak reference may stay undefined, a
strong one that nobody defines stops the load (find_sym and do_relocs in ldso/dynlink.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding, FloorReason
from musllinux_build.elf.closure import is_reserved
from musllinux_build.elf.facts import ElfFacts, Hazard
from musllinux_build.policy import MuslVersion

PYTHON_API = re.compile(r"_?Py")
GLIBC_ONLY = re.compile(
    r"__\w+_chk|__cxa_thread_atexit_impl|fcntl64|backtrace(?:_symbols(?:_fd)?)?|__strtok_r|gnu_get_libc_\w+|fts_\w+"
    r"|pthread_attr_setaffinity_np|_?obstack_\w+|argp_\w+|__libc_single_threaded|__isoc23_\w+|mallinfo2?|mallopt"
    r"|__register_atfork|__sched_cpu(?:count|alloc|free)|strtoll_l|qecvt\w*|rpmatch|canonicalize_file_name|error(?:_at_line)?"
    r"|__rawmemchr|rawmemchr|__getauxval|register_printf_\w+|arc4random\w*|close_range|strfromd|__fdelt_chk|malloc_info"
)
"""Names that glibc and not musl has, as far as they turn up in wheels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Where the symbols of the loaded objects come from.

    ``from_musl`` maps (path, symbol) of those that no object of the load defines to the musl release; ``unprovided``
    are (path, symbol) that nothing defines, ``undecided`` those of loads that lack a library which may define them.
    """

    from_musl: Mapping[tuple[str, str], MuslVersion]
    unprovided: frozenset[tuple[str, str]]
    undecided: frozenset[tuple[str, str]]


def find_needs(subject: Subject) -> Needs:
    """Every symbol of every load, with what provides it."""
    table, closure = subject.table, subject.closure
    old = table.provided_at(table.oldest)
    from_musl: dict[tuple[str, str], MuslVersion] = {}
    unprovided: set[tuple[str, str]] = set()
    undecided: set[tuple[str, str]] = set()
    for root, loaded in closure.loads.items():
        objects = [closure.objects[path] for path in loaded]
        in_python = not closure.objects[root].is_program
        # A program that needs no libc runs without it: musl puts itself in the list of libraries when it is asked for.
        has_libc = in_python or any(is_reserved(name) for facts in objects for name in facts.needed)
        lacking = bool(closure.missing_for(root))
        for path in loaded:
            for symbol in closure.objects[path].undefined - (old if has_libc else frozenset()):
                if any(symbol in facts.exports for facts in objects):
                    continue
                if has_libc and symbol in table.since:
                    from_musl[path, symbol] = table.since[symbol]
                elif not (in_python and PYTHON_API.match(symbol)):
                    (undecided if lacking and not GLIBC_ONLY.fullmatch(symbol) else unprovided).add((path, symbol))
    return Needs(from_musl=from_musl, unprovided=frozenset(unprovided), undecided=frozenset(undecided))


def floor_reasons(subject: Subject) -> tuple[FloorReason, ...]:
    """Why the wheel needs more than the oldest known musl, strongest first."""
    reasons = [
        FloorReason(
            version=version,
            cause=symbol,
            file=subject.closure.objects[path].path,
            first_alpine=subject.table.first_alpine.get(symbol),
        )
        for (path, symbol), version in find_needs(subject).from_musl.items()
    ]
    reasons += [
        FloorReason(version=subject.table.relr_floor, cause="DT_RELR", file=facts.path)
        for facts in subject.closure.objects.values()
        if Hazard.RELR in facts.hazards
    ]
    ordered = sorted(reasons, key=lambda reason: (reason.file, reason.cause))
    return tuple(sorted(ordered, key=lambda reason: reason.version, reverse=True))


def symbol_findings(subject: Subject) -> Iterator[Finding]:
    """Every strong undefined symbol is provided on every musl from the floor on."""
    needs = find_needs(subject)
    for (path, symbol), version in sorted(needs.from_musl.items()):
        if version > subject.floor:
            branch = subject.table.first_alpine.get(symbol)
            since = f"musl {version}" + (f" (Alpine {branch} is the first with it)" if branch else "")
            yield _finding(
                subject,
                path,
                symbol,
                rule="symbol-too-new",
                message=f"needs {symbol}, which came with {since}; the floor is {subject.floor}",
                remedy="Build against the musl of the floor, so that configure checks see what is there",
            )
    for path, symbol in sorted(needs.unprovided):
        rule, what, remedy = _about_unprovided(subject, symbol)
        yield _finding(subject, path, symbol, rule=rule, message=f"needs {symbol}, {what}", remedy=remedy)


def _about_unprovided(subject: Subject, symbol: str) -> tuple[str, str, str]:
    """Rule, what is wrong and what to do about a symbol that nothing defines."""
    gone = subject.table.removed.get(symbol)
    if gone:
        return (
            "symbol-of-musl-internals",
            f"which musl exported by accident until {gone}",
            "Use the public interface of the C library",
        )
    if GLIBC_ONLY.fullmatch(symbol):
        return "symbol-of-glibc", "which only glibc has", "Build the code for musl, with musl's headers"
    return (
        "symbol-not-provided",
        "which neither musl, CPython nor a loaded library defines",
        "Link the library that defines it, or build the code for musl",
    )


def _finding(subject: Subject, path: str, symbol: str, *, rule: str, message: str, remedy: str) -> Finding:
    facts: ElfFacts = subject.closure.objects[path]
    return finding(
        rule,
        file=facts.path,
        message=message,
        evidence=symbol,
        remedy=remedy,
        chain=subject.chain(path),
    )
