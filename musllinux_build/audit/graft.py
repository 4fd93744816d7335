"""Which libraries go into a wheel, under which names, and what must change for them to be found: a plan, as data.

A grafted library is named after its real file, not after its SONAME: musl never reads that, and two names that lead
to one file must lead to one graft. The name carries a hash of the final bytes, so two wheels share a name in one
process only when they share the bytes, and it never begins like one of the names musl takes for itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.closure import Closure, Outcome, expand, is_reserved
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.wheel.layout import SITE, is_in_site, origin_relative, shown_path

HASH_DIGITS = 12
LIBRARY_NAME = re.compile(r"(?P<base>.+?)\.(?P<ext>so(?:\..+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library to copy from the root: its real path, the NEEDED name it was first found by, and its own needs.

    ``needs`` maps a NEEDED name to the real path of another library of the plan.
    """

    source: str
    asked_as: str
    facts: ElfFacts
    needs: Mapping[str, str]

    @property
    def name_length(self) -> int:
        """Length of every name this library can get."""
        return len(self.named("0" * HASH_DIGITS))

    def named(self, digest: str) -> str:
        """The file name with ``digest``: ``libyaml-0-1a2b3c4d5e6f.so.2.0.9``."""
        file_name = posixpath.basename(self.source)
        found = LIBRARY_NAME.fullmatch(file_name)
        base, ext = (found["base"], found["ext"]) if found else (file_name, "so")
        name = f"{base}-{digest}.{ext}"
        return f"grafted-{name}" if is_reserved(name) else name


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An object of the wheel that needs grafted libraries: ``needs`` as in Library, ``search_path`` the new one."""

    member: str
    facts: ElfFacts
    needs: Mapping[str, str]
    search_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraftPlan:
    """What to do. ``groups`` are the libraries, needed ones first, those of a cycle together."""

    directory: str
    groups: tuple[tuple[Library, ...], ...]
    users: tuple[User, ...]
    conflicts: tuple[Finding, ...]


def plan_graft(subject: Subject, options: RepairOptions) -> GraftPlan:
    """The plan for every library found outside the wheel; conflicts are found here, before anything is written."""
    closure, inventory = subject.closure, subject.inventory
    sources = _sources(subject)
    directory = options.libs_directory(subject.name.distribution)
    libraries = {
        source: Library(
            source=source,
            asked_as=min(edge.name for edge in closure.edges if edge.target == path),
            facts=closure.objects[path],
            needs=_needs(closure, path, sources),
        )
        for path, source in sorted(sources.items(), reverse=True)
    }
    users, conflicts = [], []
    for path, facts in sorted(inventory.objects.items()):
        needs = _needs(closure, path, sources)
        if not needs:
            continue
        if not is_in_site(path):
            conflicts.append(_out_of_reach(facts, min(needs)))
        users.append(
            User(
                member=inventory.members[path],
                facts=facts,
                needs=needs,
                search_path=_search_path(facts, path, f"{SITE}/{directory}"),
            )
        )
    return GraftPlan(directory=directory, groups=_groups(libraries), users=tuple(users), conflicts=tuple(conflicts))


def _sources(subject: Subject) -> dict[str, str]:
    """Path as opened to real path, of every library outside the wheel."""
    found = {}
    for edge in subject.closure.edges:
        if edge.outcome is Outcome.FOUND and edge.target and edge.target not in subject.inventory.members:
            # The facts were read from the real file and carry its path.
            found[edge.target] = subject.closure.objects[edge.target].path
    return found


def _needs(closure: Closure, path: str, sources: Mapping[str, str]) -> dict[str, str]:
    return {
        edge.name: sources[edge.target]
        for edge in closure.edges
        if edge.requester == path and edge.target and edge.target in sources and edge.outcome is Outcome.FOUND
    }


def _search_path(facts: ElfFacts, path: str, directory: str) -> str:
    """The entries that stay inside the wheel, and the grafted libraries' directory."""
    kept = []
    if facts.search_path and expand(facts.search_path, path) is not None:
        for entry in re.split(r"[:\n]", facts.search_path):
            places = expand(entry, path) if entry.startswith("$") else None
            if places and is_in_site(f"{posixpath.normpath(places[0])}/"):
                kept.append(entry)
    return ":".join(dict.fromkeys([*kept, origin_relative(directory, path)]))


def _out_of_reach(facts: ElfFacts, name: str) -> Finding:
    return finding(
        "graft-out-of-reach",
        file=shown_path(facts.path),
        message=f"needs {name}, and is installed at no fixed distance from grafted libraries",
        evidence=name,
        remedy="Move the program into the package and start it from an entry point, or link it statically",
    )


def spared_names(closure: Closure) -> tuple[str, ...]:
    """The names of the libraries that were excluded."""
    return tuple(sorted({edge.name for edge in closure.edges if edge.outcome is Outcome.EXCLUDED}))


def unmatched(subject: Subject, options: RepairOptions) -> tuple[str, ...]:
    """The patterns of ``exclude`` that match no library."""
    spared = [edge for edge in subject.closure.edges if edge.outcome is Outcome.EXCLUDED]
    texts = {text for edge in spared for text in (edge.name, edge.target, edge.why) if text}
    return tuple(pattern for pattern in options.exclude if not any(fnmatchcase(text, pattern) for text in texts))


def _groups(libraries: Mapping[str, Library]) -> tuple[tuple[Library, ...], ...]:
    """Cycles together, needed groups first: whatever one reaches, its reach is part of the other's."""
    reach = {source: _reach(source, libraries) for source in libraries}
    groups = {
        frozenset(other for other in reach[source] if source in reach[other]): len(reach[source]) for source in reach
    }
    ordered = sorted(groups, key=lambda group: (groups[group], min(group)))
    return tuple(tuple(libraries[source] for source in sorted(group)) for group in ordered)


def _reach(source: str, libraries: Mapping[str, Library]) -> frozenset[str]:
    found, waiting = {source}, [source]
    while waiting:
        for other in libraries[waiting.pop()].needs.values():
            if other not in found:
                found.add(other)
                waiting.append(other)
    return frozenset(found)
