"""Which file musl's loader would open for every DT_NEEDED, and which it would not find.

The rules are those of load_library and load_deps in musl's ldso/dynlink.c:

* a name beginning ``libc.``, ``libpthread.``, ``librt.``, ``libm.``, ``libdl.``, ``libutil.`` or ``libxnet.`` is the
  libc itself, whatever follows;
* a name equal to the file name of a library that was already found by search is that library; DT_SONAME is never read;
* otherwise the search path of the requester, then of whoever needed it, up to the root, then the system's:
  ``/etc/ld-musl-<arch>.path`` or ``/lib:/usr/local/lib:/usr/lib``; lists are split at ``:`` and newlines;
* DT_RUNPATH beats DT_RPATH; only ``$ORIGIN`` is expanded, to the directory of the path *as opened*, and any other ``$``
  discards the whole list;
* the first file that exists is taken, and when it cannot be loaded the search does not go on.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase

from musllinux_build.arch import Arch
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.errors import WheelError

RESERVED = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
DEFAULT_PATH = "/lib:/usr/local/lib:/usr/lib"
MOST_OBJECTS = 2000
MOST_STEPS = 1_000_000
"""Of one load: objects. Of all loads of a wheel: files asked for. Real wheels have hundreds, and ten thousand."""


class Outcome(Enum):
    """What becomes of one DT_NEEDED."""

    LIBC = "libc"
    FOUND = "found"
    MISSING = "missing"
    UNLOADABLE = "unloadable"
    """The first file found is no object of this architecture; musl stops there."""
    EXCLUDED = "excluded"
    """A user asked for it to stay outside; another package brings it."""
    WHITELISTED = "whitelisted"
    """A user trusts every system to have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that exists. ``identity`` is equal for two names of one file; ``facts`` None for what is not ELF."""

    identity: str
    facts: ElfFacts | None


Lookup = Callable[[str], Found | None]
"""The file at an absolute path of the installed layout or the root file system, None when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One DT_NEEDED of ``requester`` (a path). ``target`` is the path opened, None for libc and what is missing.

    ``why`` says what keeps ``target`` from being loaded; for a spared library it is the real path.
    """

    requester: str
    name: str
    outcome: Outcome
    target: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """All that is loaded, from every root.

    ``objects`` maps a path as opened to its facts; ``loads`` a root to the paths loaded for it, itself first;
    ``chains`` a path to the paths that led to it, root first; ``claims`` a file name to the several files that answer
    to it in different loads; ``ambiguous`` a requester and a name to the several files that this need leads to.
    """

    objects: Mapping[str, ElfFacts]
    edges: tuple[Edge, ...]
    loads: Mapping[str, tuple[str, ...]]
    chains: Mapping[str, tuple[str, ...]]
    claims: Mapping[str, tuple[str, ...]]
    ambiguous: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    dead: Mapping[str, tuple[Edge, ...]] = field(default_factory=dict)
    """The edges of every requester that lead nowhere, or to what is not looked at."""

    def missing_for(self, root: str) -> tuple[Edge, ...]:
        """The dead edges of everything loaded for ``root``."""
        return tuple(edge for path in self.loads[root] for edge in self.dead.get(path, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where libraries are searched: ``lookup`` opens paths, ``system_path`` is the loader's own list.

    ``is_own`` tells the files of the wheel from the system's. Of the latter, those whose name or path matches a
    pattern of ``exclude``, or whose name is in ``whitelist``, are not followed. With ``renames``, every other one will
    get a name of its own, so that being loaded under a name already answers no other need. ``given`` are the paths of
    libraries that everybody will find by their name.
    """

    arch: Arch
    lookup: Lookup
    system_path: str = DEFAULT_PATH
    is_own: Callable[[str], bool] = lambda _: True
    exclude: tuple[str, ...] = ()
    whitelist: frozenset[str] = frozenset()
    renames: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    def spared(self, name: str, *paths: str) -> Outcome | None:
        """Why the system's library ``name`` at ``paths`` is not followed, None when it is."""
        if name in self.whitelist:
            return Outcome.WHITELISTED
        if any(fnmatchcase(text, pattern) for pattern in self.exclude for text in (name, *paths)):
            return Outcome.EXCLUDED
        return None


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """The state of one load: everything opened, by path, with the chain that led to it."""

    order: list[str]
    facts: dict[str, ElfFacts]
    chains: dict[str, tuple[str, ...]]
    by_name: dict[str, str] = field(default_factory=dict)
    by_identity: dict[str, str] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    directories: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Steps:
    """How often a file was asked for in all loads together."""

    taken: int = 0

    def take(self, requester: str) -> None:
        self.taken += 1
        if self.taken > MOST_STEPS:
            raise _endless(requester, f"its libraries are looked for in more than {MOST_STEPS:,} places")


def system_path_file(arch: Arch) -> str:
    """The file that overrides the loader's default list: ``/etc/ld-musl-armhf.path``."""
    return f"/etc/{arch.row.loader.removesuffix('.so.1')}.path"


def is_reserved(name: str) -> bool:
    """Whether musl takes any library of this name for itself."""
    return RESERVED.match(name) is not None


def expand(search_path: str, opened: str) -> tuple[str, ...] | None:
    """The directories of a DT_RPATH or DT_RUNPATH of the object at ``opened``; None when musl discards the list."""
    expanded = re.sub(r"\$(?:ORIGIN|\{ORIGIN\})", posixpath.dirname(opened).replace("\\", r"\\"), search_path)
    if "$" in expanded:
        return None
    return split_path(expanded)


def split_path(text: str) -> tuple[str, ...]:
    """The directories of a list, split as musl does; empty ones do not count."""
    return tuple(part for part in re.split(r"[:\n]", text) if part)


def resolve(files: Mapping[str, ElfFacts], world: World, *, extra_roots: Iterable[str] = ()) -> Closure:
    """The closure of ``files`` (path in the installed layout to facts).

    Roots are what the outside opens: Python extensions, ``extra_roots``, executables, and every file no other needs.
    """
    steps = _Steps()
    loads: dict[str, _Loaded] = {}
    loaded: set[str] = set()
    users: dict[str, set[str]] = {}
    for path, facts in files.items():
        for name in facts.needed:
            users.setdefault(name, set()).add(path)

    def load(path: str) -> None:
        loads[path] = _load(path, files[path], world, steps)
        loaded.update(loads[path].facts)

    ordered = sorted(files.items())
    for path, facts in ordered:
        if facts.python_init or facts.interp or path in extra_roots:
            load(path)
    # A library that is only needed by others is judged as they load it; the rest may be opened by ctypes.
    for path, _ in ordered:
        if path not in loaded and not users.get(posixpath.basename(path), set()) - {path}:
            load(path)
    for path, _ in ordered:
        if path not in loaded:
            load(path)
    return _join(loads)


def _load(root: str, facts: ElfFacts, world: World, steps: _Steps) -> _Loaded:
    state = _Loaded(order=[root], facts={root: facts}, chains={root: ()})
    found = world.lookup(root)
    state.by_identity[found.identity if found else root] = root
    for path in state.order:  # grows while it is walked, as musl's list does
        for name in state.facts[path].needed:
            state.edges.append(_need(path, name, state, world, steps))
        if len(state.order) > MOST_OBJECTS:
            raise _endless(root, f"more than {MOST_OBJECTS:,} objects are loaded with it")
    return state


def _endless(path: str, why: str) -> WheelError:
    return WheelError(f"{path}: {why}", resolution="Shorten its search path and what it needs.")


def _need(requester: str, name: str, state: _Loaded, world: World, steps: _Steps) -> Edge:
    """Resolve one DT_NEEDED and put what it opens into ``state``."""

    def edge(outcome: Outcome, target: str | None = None, why: str = "") -> Edge:
        return Edge(requester=requester, name=name, outcome=outcome, target=target, why=why)

    if "/" not in name and is_reserved(name):
        return edge(Outcome.LIBC)
    known = state.by_name.get(name)
    if known and (world.is_own(known) or not world.renames):
        return edge(Outcome.FOUND, known)
    opened = _search(name, requester, state, world, steps)
    if opened is None:
        return edge(Outcome.FOUND, known) if known else edge(world.spared(name) or Outcome.MISSING)
    path, found = opened
    stop = _why_not_followed(name, path, found, world)
    if stop:
        return edge(*stop)
    assert found.facts is not None
    target = state.by_identity.setdefault(found.identity, path)
    state.by_name.setdefault(name, target)
    if target not in state.facts:
        state.order.append(target)
        state.facts[target] = found.facts
        state.chains[target] = (*state.chains[requester], requester)
    return edge(Outcome.FOUND, target)


def _why_not_followed(name: str, path: str, found: Found, world: World) -> tuple[Outcome, str | None, str] | None:
    """What ends the walk at the file found first, as the rest of an Edge; None when it is loaded."""
    if not world.is_own(path) and (spared := world.spared(name, path, found.identity)):
        return spared, path, found.identity
    if posixpath.basename(found.identity) in {world.arch.row.loader, world.arch.row.libc_soname}:
        return Outcome.LIBC, None, ""
    if found.facts is None or not found.facts.fits(world.arch.row.elf) or not found.facts.is_dynamic:
        what = f"an object of {found.facts.describe()}" if found.facts else "no ELF object"
        return Outcome.UNLOADABLE, path, f"{path} is found first and is {what}"
    return None


def _search(name: str, requester: str, state: _Loaded, world: World, steps: _Steps) -> tuple[str, Found] | None:
    if "/" in name:
        found = world.lookup(name) if name.startswith("/") else None
        return (name, found) if found else None
    if name in world.given and (found := world.lookup(world.given[name])):
        return world.given[name], found
    for path in (requester, *reversed(state.chains[requester])):
        if path not in state.directories:
            search_path = state.facts[path].search_path
            state.directories[path] = expand(search_path, path) or () if search_path else ()
        steps.take(requester)
        for directory in state.directories[path]:
            steps.take(requester)
            if hit := _open(directory, name, world):
                return hit
    for directory in split_path(world.system_path):
        if hit := _open(directory, name, world):
            return hit
    return None


def _open(directory: str, name: str, world: World) -> tuple[str, Found] | None:
    # A relative directory would depend on the process's working directory: nothing a wheel can count on.
    if not directory.startswith("/"):
        return None
    path = posixpath.normpath(f"{directory}/{name}")
    found = world.lookup(path)
    return (path, found) if found else None


def _join(loads: Mapping[str, _Loaded]) -> Closure:
    objects: dict[str, ElfFacts] = {}
    chains: dict[str, tuple[str, ...]] = {}
    edges: dict[tuple[str, str], Edge] = {}
    claims: dict[str, set[str]] = {}
    targets: dict[tuple[str, str], set[str]] = {}
    for load in loads.values():
        objects.update(load.facts)
        for path, chain in load.chains.items():
            chains.setdefault(path, chain)
        for edge in load.edges:
            if edge.outcome is Outcome.FOUND and edge.target:
                targets.setdefault((edge.requester, edge.name), set()).add(edge.target)
            known = edges.get((edge.requester, edge.name))
            # One load that finds nothing is what breaks; a later one that does hides it no more.
            if known is None or (known.outcome is Outcome.FOUND and edge.outcome is not Outcome.FOUND):
                edges[edge.requester, edge.name] = edge
        for name, path in load.by_name.items():
            claims.setdefault(name, set()).add(path)
    bad = {Outcome.MISSING, Outcome.UNLOADABLE, Outcome.EXCLUDED, Outcome.WHITELISTED}
    dead: dict[str, list[Edge]] = {}
    for _, edge in sorted(edges.items()):
        if edge.outcome in bad:
            dead.setdefault(edge.requester, []).append(edge)
    return Closure(
        objects=objects,
        edges=tuple(edges[key] for key in sorted(edges)),
        loads={root: tuple(load.order) for root, load in loads.items()},
        chains=chains,
        claims={name: tuple(sorted(paths)) for name, paths in sorted(claims.items()) if len(paths) > 1},
        ambiguous={key: tuple(sorted(paths)) for key, paths in sorted(targets.items()) if len(paths) > 1},
        dead={path: tuple(found) for path, found in dead.items()},
    )


def spared_names(closure: Closure) -> tuple[str, ...]:
    """The names of the libraries that were excluded."""
    return tuple(sorted({edge.name for edge in closure.edges if edge.outcome is Outcome.EXCLUDED}))


def unmatched(closure: Closure, patterns: Iterable[str]) -> tuple[str, ...]:
    """Those of the exclusions that match no library."""
    spared = [edge for edge in closure.edges if edge.outcome is Outcome.EXCLUDED]
    texts = {text for edge in spared for text in (edge.name, edge.target, edge.why) if text}
    return tuple(pattern for pattern in patterns if not any(fnmatchcase(text, pattern) for text in texts))
