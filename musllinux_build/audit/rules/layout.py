"""Rules about where things lie: ``.data``, objects that nothing can load, and what runs at start."""

from __future__ import annotations

from collections.abc import Iterator

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.facts import ElfKind
from musllinux_build.wheel.layout import is_in_site

SCHEMES = frozenset({"purelib", "platlib", "headers", "scripts", "data"})
"""The keys of an installation scheme (PEP 427, "The .data directory")."""


def data_directories(subject: Subject) -> Iterator[Finding]:
    """``.data`` has known schemes only, and no extension or library lies outside site-packages.

    A ``.data`` directory of another project is refused where wheels are read.
    """
    members = subject.inventory.members.values()
    seen: set[str] = set()
    for member in sorted(members):
        top, _, rest = member.partition("/")
        scheme = rest.partition("/")[0]
        if not top.endswith(".data") or scheme in seen or (scheme in SCHEMES and scheme != rest):
            continue
        seen.add(scheme)
        yield finding(
            "data-unknown-scheme",
            file=member,
            message=f"is in no directory of an installation scheme ({', '.join(sorted(SCHEMES))})",
            evidence=scheme,
            remedy="Move it below one of them",
        )
    yield from _out_of_reach(subject)


def _out_of_reach(subject: Subject) -> Iterator[Finding]:
    for path, facts in subject.inventory.objects.items():
        if is_in_site(path) or facts.is_program or not facts.is_dynamic:
            continue
        what = "no import finds it" if facts.python_init else "no relative search path leads to it"
        yield finding(
            "data-out-of-reach",
            file=facts.path,
            message=f"is installed outside site-packages: {what}",
            evidence=subject.inventory.members[path],
            remedy="Put it into the package, or into .data/platlib",
        )


def dead_weight(subject: Subject) -> Iterator[Finding]:
    """Object files and archives are for linking: nothing loads them."""
    members = subject.inventory.members
    objects = {members[path] for path, facts in subject.inventory.objects.items() if facts.kind is ElfKind.RELOCATABLE}
    for member in sorted(objects | {member for member in members.values() if member.endswith(".a")}):
        yield finding(
            "not-loadable",
            file=member,
            message="is for linking and cannot be loaded; whose it is, and for which libc, is not checked",
            evidence=member.rpartition(".")[2],
            remedy="Leave it out unless the package is for building others",
        )


def start_up(subject: Subject) -> Iterator[Finding]:
    """A file that runs at every start of the interpreter is worth knowing about."""
    for path, member in sorted(subject.inventory.members.items()):
        name = path.rpartition("/")[2]
        if is_in_site(path) and name.endswith((".pth", ".start")) and path.count("/") == 5:
            yield finding(
                "starts-with-python",
                file=member,
                message="is read at every start of Python in that environment, imported or not",
                evidence=name,
                remedy="Leave it out if the package works without",
            )
