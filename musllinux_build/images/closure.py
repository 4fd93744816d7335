"""Which packages a request brings with it: requests, an index and what is installed → the packages to add.

The rules are those of apk-tools 2 (``src/solver.c``, "apk-world(5)") as far as one release of Alpine needs them: a
dependency is met by a package's name or by what it provides, what is installed stays where it fits, of several
providers the one with the higher priority is taken, then the newer one, and ``install_if`` adds what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from musllinux_build.errors import UsageError
from musllinux_build.images.apkfile import Package
from musllinux_build.images.lock import MEASURE

_DEPENDENCY = re.compile(r"(?P<name>[^<>=~]+)(?:(?P<relation>[<>=~]+)(?P<version>.+))?")
_VERSION = re.compile(
    r"(?P<numbers>\d+(?:\.\d+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_[a-z]+\d*)*)(?:~[0-9a-f]+)?(?:-r(?P<release>\d+))?"
)
_SUFFIXES = ("alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p")
"""From the oldest to the newest; the empty one is a release itself (apk-tools 2, ``src/version.c``)."""


VersionKey = tuple[tuple[int, ...], str, tuple[tuple[int, int], ...], int]


@cache
def version_key(version: str) -> VersionKey:
    """A key that sorts as apk compares; what is no version is older than any."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (), "", (), 0
    numbers = tuple(map(int, found["numbers"].split(".")))
    suffixes = [
        (_SUFFIXES.index(name) if name in _SUFFIXES else 0, int(number or 0))
        for name, number in re.findall(r"_([a-z]+)(\d*)", found["suffixes"])
    ]
    return numbers, found["letter"], (*suffixes, (_SUFFIXES.index(""), 0)), int(found["release"] or 0)


def meets(version: str, relation: str, wanted: str) -> bool:
    """Whether ``version`` stands in ``relation`` (``=``, ``>=``, ``<``, ``~`` …) to ``wanted``."""
    if "~" in relation:
        # Fuzzy: 1.2 is met by 1.2.3-r4, not by 1.20.
        numbers, asked = version_key(version)[0], version_key(wanted)[0]
        return numbers[: len(asked)] == asked or (">" in relation and numbers > asked)
    here, there = version_key(version), version_key(wanted)
    return (
        ("=" in relation and here == there) or ("<" in relation and here < there) or (">" in relation and here > there)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """``so:libz.so.1``, ``zlib>=1.2`` or ``!gcc-gnat``; ``relation`` is empty where any version will do."""

    name: str
    relation: str = ""
    version: str = ""
    conflict: bool = False

    @classmethod
    def parse(cls, text: str) -> Dependency:
        """The dependency in ``text``; a repository's tag (``@edge``) is not looked at."""
        found = _DEPENDENCY.fullmatch(text.removeprefix("!").partition("@")[0])
        if found is None:
            return cls(name=text)
        return cls(
            name=found["name"],
            relation=found["relation"] or "",
            version=found["version"] or "",
            conflict=text.startswith("!"),
        )

    def met_by(self, package: Package) -> bool:
        """Whether a package is, or provides, what is asked for."""
        for name, version in _names(package):
            if name == self.name and (not self.relation or meets(version, self.relation, self.version)):
                return True
        return False


def _names(package: Package) -> Iterator[tuple[str, str]]:
    """What a package answers to, with the version it answers with."""
    yield package.name, package.version
    for text in package.provides:
        provided = Dependency.parse(text)
        yield provided.name, provided.version


def resolve(
    requests: Iterable[str], index: Sequence[Package], installed: Sequence[Package] = ()
) -> tuple[Package, ...]:
    """The packages of ``index`` that ``requests`` (``bash=5.1.0-r0``) add to what is installed, by name.

    Raises:
        UsageError: something that is needed is nowhere; every such thing is in the details.
    """
    solver = _Solver(index=index, installed={package.name: package for package in installed})
    for request in requests:
        solver.want(request, "asked for")
    solver.add_consequences()
    if solver.missing:
        raise UsageError(
            "the package index lacks what its packages or the image need",
            details="\n".join(sorted(solver.missing)),
            resolution=f"Take a mirror that has it, or a lock without it: {MEASURE} --apk-mirror DIR --absent FILE",
        )
    return tuple(solver.chosen[name] for name in sorted(solver.chosen))


@dataclass(slots=True, kw_only=True)
class _Solver:
    """What is chosen so far, by name."""

    index: Sequence[Package]
    installed: dict[str, Package]
    chosen: dict[str, Package] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    providers: dict[str, list[Package]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for package in self.index:
            for name in {name for name, _ in _names(package)}:
                self.providers.setdefault(name, []).append(package)

    def want(self, request: str, why: str) -> None:
        """Choose what meets a request, and what that needs."""
        waiting = [(request, why)]
        while waiting:
            text, why = waiting.pop()
            wanted = Dependency.parse(text)
            if wanted.conflict or self._has(wanted):
                continue
            package = self._best(wanted)
            if package is None:
                self.missing.add(f"{text}: {why}")
                continue
            self.chosen[package.name] = package
            waiting.extend((need, f"needed by {package.name}") for need in package.depends)

    def _has(self, wanted: Dependency) -> bool:
        kept = (package for name, package in self.installed.items() if name not in self.chosen)
        return any(wanted.met_by(package) for package in (*self.chosen.values(), *kept))

    def _best(self, wanted: Dependency) -> Package | None:
        def rank(package: Package) -> tuple[bool, int, VersionKey]:
            return package.name == wanted.name, package.priority, version_key(package.version)

        candidates = [package for package in self.providers.get(wanted.name, ()) if wanted.met_by(package)]
        return max(candidates, key=rank, default=None)

    def add_consequences(self) -> None:
        """Packages that install themselves where all of their ``install_if`` is there."""
        conditional = [package for package in self.index if package.install_if]
        before = -1
        while before != len(self.chosen):
            before = len(self.chosen)
            for package in conditional:
                conditions = map(Dependency.parse, package.install_if)
                if package.name not in self.chosen and all(map(self._has, conditions)):
                    self.want(f"{package.name}={package.version}", "installs itself")
