"""Which objects of a repaired wheel are new or change, under which names, and what must change in them, as data.

A library of the root is named after its real file, not after its SONAME: musl never reads that, and two names that lead
to one file must lead to one graft. The name carries a hash of the final bytes, so two wheels share a name in one
process only when they share the bytes. A library that is in the wheel already and changes gets a new hash for the same
reason, under these rules:

* an object of the wheel names it in DT_NEEDED, so that every reference can be rewritten;
* its name is a tool's: it carries a hash or lies in a directory of grafts; a public name (``libarrow.so.2600``) may be
  known to other packages and stays;
* it is no extension and no program, and no Python source of the wheel mentions its file name (ctypes).

Everything else that changes keeps its name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from musllinux_build.audit.changes import Changes, find_changes
from musllinux_build.audit.conflicts import excluded_out_of_reach, find_conflicts
from musllinux_build.audit.contents import Contents
from musllinux_build.audit.include import Included
from musllinux_build.audit.mend import NOTHING, Mend, after
from musllinux_build.audit.naming import hashed_name, unhashed_name
from musllinux_build.audit.options import PLAIN, RepairOptions
from musllinux_build.audit.subject import Inventory, Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.wheel.layout import SITE, shown_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """An object that is new in the wheel or changes; ``key`` is its path in the root or its installed one.

    ``source`` is the real path in the root, None for an object of the wheel, which has a ``member``. The result is
    ``directory/name``; a ``name`` of None is made of ``stem`` and a hash. ``needs`` maps a DT_NEEDED to the key of
    another object of the plan; ``search_path`` is the new one when ``sets_search_path``.
    """

    key: str
    source: str | None
    member: str | None
    directory: str
    stem: str
    name: str | None
    asked_as: str
    facts: ElfFacts
    needs: Mapping[str, str]
    added: tuple[str, ...] = ()
    sets_search_path: bool = False
    search_path: str | None = None
    mend: Mend = NOTHING

    def named(self, digest: str) -> str:
        """The file name with ``digest``, or the one it has."""
        return self.name or hashed_name(self.stem, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraftPlan:
    """What to do. ``groups`` get names after their bytes, needed ones first, those of a cycle together.

    ``objects`` keep the name they have; ``shims`` maps a script that moves to the member it becomes; ``reached`` tells
    of included libraries how a program gets at them. ``conflicts`` are reasons not to begin, ``warnings`` are not.
    """

    directory: str
    groups: tuple[tuple[Object, ...], ...] = ()
    objects: tuple[Object, ...] = ()
    shims: Mapping[str, str]
    reached: Mapping[str, str]
    changes: Changes
    conflicts: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def after(self, subject: Subject) -> Subject:
        """``subject`` as it will be, which is what the rules have to look at."""
        return after(subject, self.changes.mends, self.changes.search_paths)


def plan_graft(
    subject: Subject,
    contents: Contents,
    options: RepairOptions = PLAIN,
    included: tuple[Included, ...] = (),
    *,
    original: Inventory | None = None,
) -> GraftPlan:
    """The plan for everything that has to come into the wheel or to change in it; conflicts are found here.

    ``original`` has the objects as they are, when ``subject`` has them with search paths made readable.
    """
    changes = find_changes(subject, options, contents, included, original or subject.inventory)
    directory = options.libs_directory(subject.name.distribution)
    kept = {changes.same[item.path]: item.name for item in included if item.path}
    objects = {
        path: (
            _of_wheel(subject, changes, path, included)
            if path in subject.inventory.members
            else _of_root(subject, changes, path, directory, kept.get(path))
        )
        for path in changes.touched
    }
    unnamed = {path: found for path, found in objects.items() if found.name is None}
    return GraftPlan(
        directory=directory,
        groups=_groups(unnamed),
        objects=tuple(found for found in objects.values() if found.name is not None),
        shims={
            subject.inventory.members[path]: place.removeprefix(f"{SITE}/") for path, place in changes.moved.items()
        },
        reached={changes.same[item.path]: _reached(item, directory) for item in included if item.path},
        changes=changes,
        conflicts=find_conflicts(subject, changes),
        warnings=excluded_out_of_reach(subject),
    )


def _reached(item: Included, directory: str) -> str:
    if item.users:
        return f"dlopen({item.name!r}) finds it once {shown_path(item.users[0])} is loaded"
    return f"open it by its path in site-packages: {directory}/{item.name}"


def _of_root(subject: Subject, changes: Changes, path: str, directory: str, name: str | None) -> Object:
    facts = subject.closure.objects[path]
    file_name = posixpath.basename(facts.path)
    asked = (edge.name for edge in subject.closure.edges if changes.same.get(edge.target or "") == path)
    return Object(
        key=path,
        source=facts.path,
        member=None,
        directory=directory,
        stem=file_name,
        name=name,
        asked_as=min(asked, default=name or file_name),
        facts=facts,
        needs=changes.needs.get(path, {}),
        sets_search_path=True,
        search_path=changes.search_paths[path],
        mend=changes.mends.get(path, NOTHING),
    )


def _of_wheel(subject: Subject, changes: Changes, path: str, included: tuple[Included, ...]) -> Object:
    member = subject.inventory.members[path]
    moved = changes.moved.get(path)
    directory, file_name = posixpath.split(moved.removeprefix(f"{SITE}/") if moved else member)
    return Object(
        key=path,
        source=None,
        member=member,
        directory=directory,
        stem=unhashed_name(file_name),
        name=None if path in changes.renamed else file_name,
        asked_as=file_name,
        facts=subject.inventory.objects[path],
        needs=changes.needs.get(path, {}),
        added=tuple(item.name for item in included if path in item.users),
        sets_search_path=path in changes.search_paths,
        search_path=changes.search_paths.get(path),
        mend=changes.mends.get(path, NOTHING),
    )


def _groups(objects: Mapping[str, Object]) -> tuple[tuple[Object, ...], ...]:
    """Cycles together, needed groups first: whatever one reaches, its reach is part of the other's."""
    reach = {key: _reach(key, objects) for key in objects}
    groups = {frozenset(other for other in reach[key] if key in reach[other]): len(reach[key]) for key in reach}
    ordered = sorted(groups, key=lambda group: (groups[group], min(group)))
    return tuple(tuple(objects[key] for key in sorted(group)) for group in ordered)


def _reach(key: str, objects: Mapping[str, Object]) -> frozenset[str]:
    found, waiting = {key}, [key]
    while waiting:
        for other in objects[waiting.pop()].needs.values():
            if other in objects and other not in found:
                found.add(other)
                waiting.append(other)
    return frozenset(found)
