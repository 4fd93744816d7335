"""Rules about symbols, and the musl a wheel really needs."""

from __future__ import annotations

from collections.abc import Iterator

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.needs import GLIBC_ONLY, PYTHON_API
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding, FloorReason
from musllinux_build.elf.closure import Outcome
from musllinux_build.elf.facts import Hazard
from musllinux_build.policy import MuslVersion

__all__ = ["PYTHON_API", "floor_reasons", "symbol_findings"]

FIRST_RELR = "3.15"
"""The first Alpine whose musl (1.2.2-r9) applies DT_RELR, before upstream's 1.2.4."""


def floor_reasons(subject: Subject) -> tuple[FloorReason, ...]:
    """Why the wheel needs more than the oldest known musl, strongest first."""
    reasons = [
        FloorReason(
            version=version,
            cause=symbol,
            file=subject.closure.objects[path].path,
            first_alpine=subject.table.first_alpine.get(symbol),
        )
        for (path, symbol), version in subject.needs.from_musl.items()
    ]
    reasons += [
        FloorReason(version=subject.table.relr_floor, cause="DT_RELR", file=facts.path, first_alpine=FIRST_RELR)
        for facts in subject.closure.objects.values()
        if Hazard.RELR in facts.hazards
    ]
    ordered = sorted(reasons, key=lambda reason: (reason.file, reason.cause))
    return tuple(sorted(ordered, key=lambda reason: reason.version, reverse=True))


def symbol_findings(subject: Subject) -> Iterator[Finding]:
    """Every strong undefined symbol is provided on every musl from the floor on, and by what may be relied on."""
    for (path, symbol), version in sorted(subject.needs.from_musl.items()):
        if version > subject.floor:
            yield _about(subject, path, symbol, ("symbol-too-new", *_too_new(subject, symbol, version)))
    for path, symbol in sorted(subject.needs.unprovided):
        yield _about(subject, path, symbol, _unprovided(subject, symbol))
    trusted = {edge.name for edge in subject.closure.edges if edge.outcome is Outcome.WHITELISTED}
    # With a library that is not known, nobody can say what it does not define.
    if trusted <= subject.libraries.keys() and not _has_unseen(subject):
        public = frozenset().union(*(subject.libraries[name] for name in trusted))
        for path, symbol in sorted(subject.needs.undecided):
            if symbol not in public:
                told = f"which {' and '.join(sorted(trusted))} of the promised distributions do not all have"
                remedy = "Graft the library that defines it instead of trusting the system's"
                yield _about(subject, path, symbol, ("symbol-private", told, remedy))


def _has_unseen(subject: Subject) -> bool:
    """Whether anything that is loaded needs a library that is neither there nor trusted."""
    unseen = {Outcome.MISSING, Outcome.UNLOADABLE, Outcome.EXCLUDED}
    return any(edge.outcome in unseen for edge in subject.closure.edges)


def _too_new(subject: Subject, symbol: str, version: MuslVersion) -> tuple[str, str]:
    branch = subject.table.first_alpine.get(symbol)
    since = f"musl {version}" + (f" (Alpine {branch} is the first with it)" if branch else "")
    return (
        f"which came with {since}; the floor is {subject.floor}",
        "Build against the musl of the floor, so that configure checks see what is there",
    )


def _unprovided(subject: Subject, symbol: str) -> tuple[str, str, str]:
    """Rule, what is wrong and what to do about a symbol that nothing defines."""
    gone = subject.table.removed.get(symbol)
    if gone and subject.table.resolves_no_more(symbol):
        return (
            "symbol-not-provided",
            f"a large-file name that the loader does not resolve since musl {gone}",
            "Compile without _LARGEFILE64_SOURCE: the name without 64 is the same function",
        )
    if gone:
        told = f"which musl exported by accident until {gone}"
        return "symbol-of-musl-internals", told, "Use the public interface of the C library"
    if GLIBC_ONLY.fullmatch(symbol):
        return "symbol-of-glibc", "which only glibc has", "Build the code for musl, with musl's headers"
    return (
        "symbol-not-provided",
        "which neither musl, CPython nor a loaded library defines",
        "Link the library that defines it, or build the code for musl",
    )


def _about(subject: Subject, path: str, symbol: str, told: tuple[str, str, str]) -> Finding:
    rule, what, remedy = told
    return finding(
        rule,
        file=subject.closure.objects[path].path,
        message=f"needs {symbol}, {what}",
        evidence=symbol,
        remedy=remedy,
        chain=subject.chain(path),
    )
