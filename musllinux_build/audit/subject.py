"""A wheel as the rules see it: the facts of its objects in their installed places, and what loading them opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from musllinux_build.arch import Arch
from musllinux_build.audit.needs import Needs
from musllinux_build.elf.closure import DEFAULT_PATH, Closure, Found, Lookup, World, resolve, system_path_file
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import MAGIC, read_elf
from musllinux_build.errors import WheelError
from musllinux_build.policies.load import SymbolTable
from musllinux_build.policy import MuslVersion
from musllinux_build.tags import WheelName
from musllinux_build.wheel.contents import Scratch, Wheel
from musllinux_build.wheel.crew import cores, share
from musllinux_build.wheel.layout import installed_path, is_of_wheel, shown_path

if TYPE_CHECKING:  # a protocol, named in annotations alone
    from musllinux_build.ports import Sysroot


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The members of a wheel by installed path: the objects with their facts, and the names of all."""

    objects: Mapping[str, ElfFacts]
    members: Mapping[str, str]

    @property
    def is_pure(self) -> bool:
        """Whether nothing in the wheel is an ELF object."""
        return not self.objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How libraries outside the wheel are searched; see World. A ``system_path`` of None is the root's own."""

    system_path: str | None = None
    exclude: tuple[str, ...] = ()
    whitelist: frozenset[str] = frozenset()
    renames: bool = False
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """All that rules may look at. ``may_graft``: libraries of the root will be copied into the wheel.

    ``executables`` are the installed paths of members with the permission to execute; ``libraries`` what promised
    distributions have beside libc, with what each exports on all of them; ``needs`` what provides every symbol.
    """

    name: WheelName
    wheel_tags: tuple[str, ...]
    root_is_purelib: bool
    arch: Arch
    floor: MuslVersion
    table: SymbolTable
    inventory: Inventory
    closure: Closure
    may_graft: bool
    needs: Needs
    executables: frozenset[str] = frozenset()
    libraries: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def chain(self, path: str) -> tuple[str, ...]:
        """How the loader gets to ``path``, for people."""
        return tuple(shown_path(step) for step in self.closure.chains.get(path, ()))


def take_inventory(wheel: Wheel, workers: int | None = None, *, beside: int = 0) -> Inventory:
    """Read every member once, comparing it with RECORD; on all cores, or ``workers`` of them.

    ``beside`` bytes may be held while the largest member is.

    Raises:
        WheelError: a member is not what was recorded, or an ELF object contradicts itself.
    """
    members: dict[str, str] = {}
    for member in wheel.files:
        path = installed_path(member, wheel.data_dir)
        if path in members:
            raise WheelError(
                f"{wheel.archive.label}: {members[path]!r} and {member!r} are installed to one place",
                resolution="Build the wheel again with one of them.",
            )
        members[path] = member
    scratch = Scratch()

    def examine_member(path: str) -> ElfFacts | None:
        with wheel.lent(members[path], scratch) as content:
            facts = read_elf(content, members[path]) if content[:4] == MAGIC else None
        return replace(facts, path=shown_path(path)) if facts else None

    every = share(
        tuple(members),
        lambda path: wheel.archive.weight(members[path]),
        examine_member,
        workers or cores(),
        beside=beside,
    )
    objects = {path: facts for path, facts in zip(members, every, strict=True) if facts is not None}
    return Inventory(objects=objects, members=members)


def make_lookup(inventory: Inventory, sysroot: Sysroot | None) -> Lookup:
    """Files of the wheel where they are installed, and of ``sysroot`` everywhere else; each is read once."""
    seen: dict[str, Found] = {}
    # A directory of the searched name is opened too, cannot be loaded, and ends the search (EISDIR).
    directories = _directories(inventory.members)

    def lookup(path: str) -> Found | None:
        if path in inventory.members or path in directories:
            return Found(identity=path, facts=inventory.objects.get(path))
        real = sysroot.real_path(path) if sysroot and not is_of_wheel(path) else None
        if real is None or sysroot is None:
            return None
        if real not in seen:
            content = sysroot.read(real)
            if content is None:
                return None
            seen[real] = Found(identity=real, facts=read_elf(content, real))
        return seen[real]

    return lookup


def _directories(paths: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(found)


def trace(inventory: Inventory, arch: Arch, sysroot: Sysroot | None, search: Search) -> Closure:
    """What loading the dynamic objects of a wheel opens, within itself and ``sysroot``."""
    world = World(
        arch=arch,
        lookup=make_lookup(inventory, sysroot),
        system_path=system_path_of(arch, sysroot, search),
        is_own=is_of_wheel,
        exclude=search.exclude,
        whitelist=search.whitelist,
        renames=search.renames,
        given=search.given,
    )
    files = {
        path: facts
        for path, facts in inventory.objects.items()
        if facts.is_dynamic and facts.fits(arch.row.elf)  # the rest is refused by a rule, and not followed
    }
    for path in search.given.values():
        found = world.lookup(path)
        if found and found.facts and found.facts.is_dynamic and found.facts.fits(arch.row.elf):
            files[path] = found.facts
    return resolve(files, world)


def system_path_of(arch: Arch, sysroot: Sysroot | None, search: Search) -> str:
    """The directories that musl searches last."""
    if search.system_path is not None:
        return search.system_path
    listed = sysroot.read(system_path_file(arch)) if sysroot else None
    return DEFAULT_PATH if listed is None else listed.decode("utf-8", "surrogateescape")
