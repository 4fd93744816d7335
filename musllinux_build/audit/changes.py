"""Which objects a repair touches: libraries of the root that come in, and objects of the wheel that cannot stay.

An object of the wheel changes when an edit mends something in it, when it needs a library that comes in or gets
another name, or when it moves. Changes spread: whoever needs a renamed library changes too.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from musllinux_build.audit.contents import Contents
from musllinux_build.audit.identity import merge_equal
from musllinux_build.audit.include import Included
from musllinux_build.audit.mend import Mend, kept_entries, mend_of
from musllinux_build.audit.naming import has_hash
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.scripts import is_script, new_place
from musllinux_build.audit.subject import Inventory, Subject
from musllinux_build.elf.closure import Outcome, split_path
from musllinux_build.elf.strip import strip_elf
from musllinux_build.wheel.layout import SITE, is_in_site, origin_relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What comes in and what changes.

    ``same`` maps the path of every library of the root, as opened, to that of the one it is the same as; ``needs`` maps
    every path to name to path of what gets a name here; ``renamed`` are paths of the wheel, ``moved`` maps such paths
    to new ones, ``search_paths`` has those that change, ``mends`` those that are mended.
    """

    same: Mapping[str, str]
    needs: Mapping[str, Mapping[str, str]]
    renamed: frozenset[str]
    moved: Mapping[str, str]
    mends: Mapping[str, Mend]
    search_paths: Mapping[str, str | None]

    @property
    def touched(self) -> tuple[str, ...]:
        """The paths of all objects whose bytes change, those of the root included."""
        needing = {path for path, needs in self.needs.items() if needs}
        return tuple(sorted({*self.same.values(), *needing, *self.moved, *self.mends, *self.search_paths}))


def find_changes(
    subject: Subject,
    options: RepairOptions,
    contents: Contents,
    included: tuple[Included, ...],
    original: Inventory,
) -> Changes:
    """Everything that a repair of ``subject`` touches; ``original`` has the search paths as they are written."""
    same = _same_libraries(subject, contents, included)
    mends = _find_mends(subject, options, contents, same)
    directory = f"{SITE}/{options.libs_directory(subject.name.distribution)}"
    users = {path for item in included for path in item.users}
    outer = _needs(subject, same)
    moved = _moved(subject, {path for path, needs in outer.items() if needs})
    search_paths: dict[str, str | None] = {}
    for path in subject.inventory.objects:
        wanted = _search_path(subject, path, outer.get(path, {}), directory, moved, joins=path in users)
        facts = original.objects[path]
        if facts.is_dynamic and wanted != split_path(facts.search_path or ""):
            search_paths[path] = ":".join(wanted) or None
    changed = {path for path, needs in outer.items() if needs} | mends.keys() | search_paths.keys() | users
    renamed = _renamed(subject, changed, directory, contents)
    needs = _needs(subject, {**same, **{path: path for path in renamed}})
    # Of libraries that are the same, one comes in; what the others need is what it needs.
    needs = {path: found for path, found in needs.items() if same.get(path, path) == path}
    for path in set(same.values()):
        search_paths[path] = _search_path_of_graft(subject, path, directory)
    return Changes(same=same, needs=needs, renamed=renamed, moved=moved, mends=mends, search_paths=search_paths)


def _same_libraries(subject: Subject, contents: Contents, included: tuple[Included, ...]) -> Mapping[str, str]:
    """Every library outside the wheel that is loaded, to the first that is the same."""
    closure, members = subject.closure, subject.inventory.members
    found = {edge.target for edge in closure.edges if edge.outcome is Outcome.FOUND and edge.target}
    outside = {path for path in found if path not in members} | {item.path for item in included if item.path}
    needs: dict[str, dict[str, str]] = {path: {} for path in found | outside}
    for edge in closure.edges:
        if edge.requester in outside and edge.outcome is Outcome.FOUND and edge.target:
            needs[edge.requester][edge.name] = edge.target

    def digest(path: str) -> str:
        if path not in outside:
            return path
        # The facts were read from the real file and carry its path.
        return hashlib.sha256(contents.read_source(closure.objects[path].path)).hexdigest()

    merged = merge_equal(needs, digest)
    return {path: merged[path] for path in sorted(outside)}


def _find_mends(
    subject: Subject, options: RepairOptions, contents: Contents, same: Mapping[str, str]
) -> dict[str, Mend]:
    found = {}
    for path in (*subject.inventory.objects, *set(same.values())):
        facts = subject.closure.objects.get(path)
        if facts is None:
            continue  # not dynamic, or of another architecture: a rule says so
        strip = options.strip
        if strip and path in subject.inventory.members:
            content = contents.read_member(subject.inventory.members[path])
            strip = strip_elf(content) is not content
        mend = mend_of(subject, facts, clear_exec_stack=options.clear_exec_stack, strip=strip)
        if mend:
            found[path] = mend
    return found


def _needs(subject: Subject, named: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Every path to its needs among ``named``, which maps paths to those they stand for."""
    found: dict[str, dict[str, str]] = {}
    for edge in subject.closure.edges:
        if edge.outcome is Outcome.FOUND and edge.target and edge.target in named:
            found.setdefault(edge.requester, {})[edge.name] = named[edge.target]
    return found


def _moved(subject: Subject, needing: set[str]) -> dict[str, str]:
    """Programs among the scripts that need what comes in, and where in site-packages they go."""
    data_dir = f"{subject.name.stem}.data"
    moved = {}
    for path in sorted(needing & subject.inventory.objects.keys()):
        member = subject.inventory.members[path]
        if is_script(member, data_dir) and subject.inventory.objects[path].is_program:
            moved[path] = f"{SITE}/{new_place(member, subject.name.distribution)}"
    return moved


def _search_path(
    subject: Subject, path: str, outer: Mapping[str, str], directory: str, moved: Mapping[str, str], *, joins: bool
) -> tuple[str, ...]:
    """The entries of the search path that the object of the wheel at ``path`` should have."""
    place = moved.get(path, path)
    entries = list(kept_entries(subject, path)) if place == path else []
    if place != path:
        entries += [origin_relative(posixpath.dirname(target), place) for target in _own_targets(subject, path)]
    if outer or joins:
        entries.append(origin_relative(directory, place))
    return tuple(dict.fromkeys(entries))


def _search_path_of_graft(subject: Subject, path: str, directory: str) -> str | None:
    """Where a grafted library finds what it needs, from the directory of grafts."""
    place = f"{directory}/library"
    edges = [edge for edge in subject.closure.edges if edge.requester == path and edge.outcome is Outcome.FOUND]
    beside = any(edge.target not in subject.inventory.members for edge in edges)
    targets = [directory] if beside else []
    targets += [posixpath.dirname(target) for target in _own_targets(subject, path)]
    return ":".join(dict.fromkeys(origin_relative(target, place) for target in targets)) or None


def _own_targets(subject: Subject, path: str) -> list[str]:
    """The libraries of the wheel that the object at ``path`` needs."""
    return sorted(
        edge.target
        for edge in subject.closure.edges
        if edge.requester == path and edge.outcome is Outcome.FOUND and edge.target and is_in_site(edge.target)
    )


def _renamed(subject: Subject, changed: set[str], directory: str, contents: Contents) -> frozenset[str]:
    """The libraries of the wheel that change and get another name; see the rules in ``graft``."""
    users: dict[str, set[str]] = {}
    for edge in subject.closure.edges:
        if edge.outcome is Outcome.FOUND and edge.target and edge.target in subject.inventory.objects:
            users.setdefault(edge.target, set()).add(edge.requester)
    candidates = {path for path in users if _is_tool_named(subject, path, directory)}
    reached = _reached(candidates, changed, users)
    mentioned = contents.mentioned(map(posixpath.basename, reached))
    return _reached({path for path in candidates if posixpath.basename(path) not in mentioned}, changed, users)


def _is_tool_named(subject: Subject, path: str, directory: str) -> bool:
    facts, place = subject.inventory.objects[path], posixpath.dirname(path)
    bundled = has_hash(posixpath.basename(path)) or place == directory or place.endswith(".libs")
    return bundled and is_in_site(path) and not facts.python_init and not facts.is_program


def _reached(candidates: set[str], changed: set[str], users: Mapping[str, set[str]]) -> frozenset[str]:
    """The candidates that change, when needing one of them is a change too."""
    found: set[str] = set()
    waiting = sorted(candidates & changed)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += sorted(users.get(path, set()) & candidates)
    return frozenset(found)
