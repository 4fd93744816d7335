"""Why a plan cannot be carried out, found before anything is written; and what is doubtful about it."""

from __future__ import annotations

import posixpath

from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.changes import Changes
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.closure import Outcome, expand
from musllinux_build.wheel.layout import is_in_site, shown_path


def find_conflicts(subject: Subject, changes: Changes) -> tuple[Finding, ...]:
    """All reasons why ``changes`` cannot be made."""
    return (*_out_of_reach(subject, changes), *_ambiguous(subject, changes), *_taken(subject, changes))


def _out_of_reach(subject: Subject, changes: Changes) -> list[Finding]:
    """Objects that are installed at no fixed distance from what they need and cannot move."""
    found = []
    for path, needs in sorted(changes.needs.items()):
        facts = subject.inventory.objects.get(path)
        if facts is None or not needs or is_in_site(path) or path in changes.moved:
            continue
        found.append(
            finding(
                "graft-out-of-reach",
                file=shown_path(path),
                message=f"needs {min(needs)}, and is installed at no fixed distance from grafted libraries",
                evidence=min(needs),
                remedy="Put it into the package instead of .data, or link it statically",
            )
        )
    return found


def _ambiguous(subject: Subject, changes: Changes) -> list[Finding]:
    """Needs that lead to different libraries, depending on who loads the object."""
    found = []
    for (requester, name), targets in subject.closure.ambiguous.items():
        different = sorted({changes.same.get(target, target) for target in targets})
        if len(different) < 2 or not any(target in changes.same for target in different):
            continue
        found.append(
            finding(
                "graft-ambiguous",
                file=shown_path(requester),
                message=f"needs {name}, which is {' or '.join(map(shown_path, different))}, depending on who loads it",
                evidence=name,
                remedy="Give it a search path of its own that leads to the right one",
            )
        )
    return found


def _taken(subject: Subject, changes: Changes) -> list[Finding]:
    """Places that a program would move to and that are taken."""
    return [
        finding(
            "graft-place-taken",
            file=shown_path(path),
            message=f"has to move to {shown_path(place)}, and that file exists",
            evidence=shown_path(place),
            remedy="Rename one of the two",
        )
        for path, place in changes.moved.items()
        if place in subject.inventory.members
    ]


def excluded_out_of_reach(subject: Subject) -> tuple[Finding, ...]:
    """Excluded libraries that their user does not find: a library loaded by its path before answers no name on musl."""
    found = []
    for edge in subject.closure.edges:
        if edge.outcome is not Outcome.EXCLUDED or _leads_away(subject, edge.requester):
            continue
        found.append(
            finding(
                "excluded-not-reachable",
                file=shown_path(edge.requester),
                message=f"needs {edge.name}, which was excluded, and has no search path that leaves the wheel",
                evidence=edge.name,
                remedy="Link it with -rpath $ORIGIN/... into the package that brings the library; preloading "
                "the library by its path, as works on glibc, does not help on musl",
            )
        )
    return tuple(found)


def _leads_away(subject: Subject, path: str) -> bool:
    """Whether somebody in the chain that loads ``path`` searches a directory which the wheel has no file in."""
    own = {posixpath.dirname(member) for member in subject.inventory.members}
    for step in (path, *subject.closure.chains.get(path, ())):
        text = subject.closure.objects[step].search_path if step in subject.inventory.members else None
        for place in expand(text or "", step) or ():
            if posixpath.normpath(place) not in own:
                return True
    return False
