"""Libraries that no DT_NEEDED reaches, because a program opens them by dlopen, and that a user asks to bring along.

musl answers ``dlopen("libfoo.so.1")`` from what is loaded only if a library of exactly that file name was found by
search before, and searches the *program's* path otherwise, never the caller's. So an included library keeps its file
name. Added to the NEEDED of a member, it is loaded with that member and answers to its bare name from then on; without,
it is opened by its path in the directory of grafts. The price of the kept name: when two wheels bring one in this
first way, the file that is loaded first serves both.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from musllinux_build.audit.options import Include, RepairOptions
from musllinux_build.audit.subject import Inventory
from musllinux_build.elf.closure import split_path
from musllinux_build.errors import UsageError
from musllinux_build.ports import Sysroot
from musllinux_build.wheel.layout import SITE, shown_path

MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """A library to bring along under ``name``. ``path`` is where it is in the root, None when the wheel has it.

    ``users`` are the installed paths of the objects that come to need it.
    """

    name: str
    path: str | None
    users: tuple[str, ...] = ()


def find_included(
    inventory: Inventory, options: RepairOptions, directory: str, sysroot: Sysroot | None, system_path: str
) -> tuple[Included, ...]:
    """What the includes of ``options`` mean; ``directory`` is where grafts go, as a member name.

    Raises:
        UsageError: one of them means nothing.
    """
    found: dict[str, Included] = {}
    for include in options.include:
        places = _in_root(include, sysroot, split_path(system_path)) if sysroot else {}
        names = set(places) | _in_wheel(include, inventory, directory)
        if not names:
            where = "the root" if sysroot else "no root: give one with --root"
            raise UsageError(f"--include {include.library!r} is not in {where}", resolution="Give its path or name.")
        users = _users(include, inventory)
        for name in sorted(names):
            inside = f"{SITE}/{directory}/{name}" in inventory.members
            known = found.get(name, Included(name=name, path=None if inside else places[name]))
            found[name] = replace(known, users=tuple(sorted({*known.users, *users})))
    return tuple(found.values())


def with_needs(inventory: Inventory, included: tuple[Included, ...]) -> Inventory:
    """``inventory`` with what the users of the included libraries come to need."""
    objects = dict(inventory.objects)
    for item in included:
        for user in item.users:
            facts = objects[user]
            if item.name not in facts.needed:
                objects[user] = replace(facts, needed=(*facts.needed, item.name))
    return replace(inventory, objects=objects)


def _in_root(include: Include, sysroot: Sysroot, directories: tuple[str, ...]) -> dict[str, str]:
    """File name to path of the libraries that ``include`` means; of several names of one file one."""
    pattern = include.library
    if "/" in pattern:
        directories, pattern = (posixpath.dirname(pattern) or "/",), posixpath.basename(pattern)
    found: dict[str, str] = {}
    for directory in directories:
        for name in _names(pattern, directory, sysroot.names):
            path = posixpath.normpath(f"{directory}/{name}")
            real = sysroot.real_path(path)
            if real is not None and sysroot.read(real) is not None and name not in found:
                found[name] = path
    if not MAGIC & set(pattern):
        return found
    # A pattern meets a library and the links to it; a program asks for the name with one number behind .so.
    by_file: dict[str, str] = {}
    for name, path in sorted(found.items(), key=lambda item: (not _is_soname(item[0]), item[0])):
        by_file.setdefault(sysroot.real_path(path) or path, name)
    return {name: found[name] for name in by_file.values()}


def _is_soname(name: str) -> bool:
    return name.rpartition(".so.")[2].isdigit()


def _names(pattern: str, directory: str, names: Callable[[str], Sequence[str]]) -> Iterator[str]:
    if not MAGIC & set(pattern):
        yield pattern
        return
    yield from (name for name in sorted(names(directory)) if fnmatchcase(name, pattern))


def _in_wheel(include: Include, inventory: Inventory, directory: str) -> set[str]:
    """The names that ``include`` brought in an earlier repair."""
    pattern, place = posixpath.basename(include.library), f"{SITE}/{directory}"
    return {
        posixpath.basename(path)
        for path in inventory.objects
        if posixpath.dirname(path) == place and fnmatchcase(posixpath.basename(path), pattern)
    }


def _users(include: Include, inventory: Inventory) -> tuple[str, ...]:
    if include.member is None:
        return ()
    users = tuple(
        path
        for path in inventory.objects
        if fnmatchcase(shown_path(path), include.member) or fnmatchcase(inventory.members[path], include.member)
    )
    if not users:
        raise UsageError(
            f"--include {include.library}={include.member} matches no object of the wheel",
            resolution=f"It has {', '.join(sorted(map(shown_path, inventory.objects))[:5])}.",
        )
    return users
