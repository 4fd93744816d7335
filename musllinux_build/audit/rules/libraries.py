"""Rules about libraries: who needs which, where it is found, and what it is called."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.closure import Edge, Outcome, is_reserved
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.wheel.layout import is_of_wheel, shown_path

LIBPYTHON = re.compile(r"libpython\d")
GLIBC_LIBRARY = re.compile(r"ld-linux|ld64\.so|lib(?:resolv|nsl|crypt|anl|mvec|thread_db|BrokenLocale)\.so")
"""Libraries of glibc whose names musl does not take for itself."""
MUSL_ITSELF = re.compile(r"ld-musl-|libc\.musl-|libc\.so")
UNIQUE = re.compile(r"-[0-9a-f]{8,}(?:\.|$)")
INTERPRETER = frozenset({"Py_InitializeEx", "Py_BytesMain", "Py_RunMain"})


def needs(subject: Subject) -> Iterator[Finding]:
    """Every library is found, is no part of CPython, and is or will be inside the wheel."""
    names = {posixpath.basename(path): path for path in subject.inventory.members}
    for edge in subject.closure.edges:
        told = _about(subject, edge, names.get(edge.name))
        if told:
            rule, message, remedy = told
            yield finding(
                rule,
                file=subject.closure.objects[edge.requester].path,
                message=message,
                evidence=edge.name,
                remedy=remedy,
                chain=subject.chain(edge.requester),
            )


def _about(subject: Subject, edge: Edge, inside: str | None) -> tuple[str, str, str] | None:
    if LIBPYTHON.match(edge.name):
        return (
            "libpython",
            f"links {edge.name}, which the interpreter already contains or does not have at all",
            "Link the extension without libpython (PEP 513); remove -lpython from its flags",
        )
    if edge.outcome is Outcome.MISSING:
        return _about_missing(subject, edge, inside)
    if edge.outcome is Outcome.UNLOADABLE:
        return (
            "library-not-loadable",
            f"needs {edge.name}, but {edge.why}; musl stops there",
            f"Remove that file or install {edge.name} for {subject.arch.value}",
        )
    outside = edge.target is not None and not is_of_wheel(edge.target)
    if edge.outcome is Outcome.FOUND and outside and not subject.may_graft:
        return (
            "library-outside",
            f"needs {edge.name}, found at {edge.target} and not in the wheel",
            "Run musllinux-build audit repair to graft it",
        )
    return None


def _about_missing(subject: Subject, edge: Edge, inside: str | None) -> tuple[str, str, str]:
    if inside:
        return (
            "library-out-of-reach",
            f"needs {edge.name}, which is in the wheel as {shown_path(inside)} and on no search path of its users",
            "Link it with -rpath $ORIGIN/... leading there, or run musllinux-build audit repair",
        )
    if edge.name in subject.libraries:
        return (
            "library-of-the-system",
            f"needs {edge.name}, which the promised distributions have and other musl systems may not",
            f"Run musllinux-build audit repair to graft it, or accept it with --whitelist {edge.name}",
        )
    if GLIBC_LIBRARY.match(edge.name):
        return (
            "library-not-found",
            f"needs {edge.name}, a part of glibc that no musl has",
            "Build it against musl; do not count on gcompat",
        )
    where = "in the wheel, its search path or the root" if subject.may_graft else "in the wheel or its search path"
    return (
        "library-not-found",
        f"needs {edge.name}, which musl does not find {where}",
        "Repair with a --root that has it, or --exclude it if another package brings it",
    )


def copies(subject: Subject) -> Iterator[Finding]:
    """The wheel brings neither a C library nor an interpreter of its own, nor a name musl never opens."""
    for path, facts in subject.inventory.objects.items():
        name = posixpath.basename(path)
        if facts.is_program or not facts.is_dynamic:
            continue
        if {"__libc_start_main", "stdin"} <= facts.exports or (MUSL_ITSELF.match(name) and not facts.python_init):
            yield finding(
                "libc-inside",
                file=facts.path,
                message="is a C library; musl never loads a second one, and none can be distributed like this",
                evidence=name,
                remedy="Take it out of the wheel, and --exclude it from the repair that put it there",
            )
        elif is_reserved(name) and not facts.python_init:
            yield finding(
                "reserved-library-name",
                file=facts.path,
                message=f"has a name that musl takes for itself: who needs {name} gets the C library",
                evidence=name,
                remedy="Give it a name that does not begin with libc., libm. and the like",
            )
        if LIBPYTHON.match(name) or facts.exports >= INTERPRETER:
            yield finding(
                "libpython-inside",
                file=facts.path,
                message="contains a Python interpreter, a second one in the process of its user",
                evidence=name,
                remedy="Link extensions without libpython (PEP 513)",
            )


def names(subject: Subject) -> Iterator[Finding]:
    """Every bundled library has a name that no other wheel uses, and one file answers to each."""
    for name, paths in subject.closure.claims.items():
        inside = [path for path in paths if is_of_wheel(path)]
        if len(inside) > 1:
            yield finding(
                "one-name-two-files",
                file=shown_path(inside[0]),
                message=f"and {shown_path(inside[1])} both answer to {name}; the one loaded first serves both users",
                evidence=name,
                remedy="Give them different file names",
            )
    needed = {edge.target for edge in subject.closure.edges if edge.outcome is Outcome.FOUND and edge.target}
    for path in sorted(needed & subject.inventory.objects.keys()):
        name = posixpath.basename(path)
        if not UNIQUE.search(name):
            yield finding(
                "name-not-unique",
                file=shown_path(path),
                message="is found by a name that another wheel may have, too; the one loaded first serves both",
                evidence=name,
                remedy="Put a hash of its content into its file name, as musllinux-build audit repair does",
            )


def interposition(subject: Subject) -> Iterator[Finding]:
    """No library exports a function of musl: musl's own comes first and its users get that one."""
    for path, facts in subject.closure.objects.items():
        same = _shared_names(subject, facts)
        if same:
            more = f" and {len(same) - 4} more" if len(same) > 4 else ""
            yield finding(
                "interposed-by-musl",
                file=facts.path,
                message=f"exports {', '.join(same[:4])}{more}, which musl also has: its users get musl's",
                evidence=same[0],
                remedy="Hide those symbols, or make sure both do the same",
                chain=subject.chain(path),
            )


def _shared_names(subject: Subject, facts: ElfFacts) -> list[str]:
    if facts.is_program or "__libc_start_main" in facts.exports:
        return []
    return sorted(name for name in facts.exports.intersection(subject.table.since) if not name.startswith("_"))
