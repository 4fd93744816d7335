"""Rules about what CPython imports: extension suffixes against tags, and the limited API of abi3 wheels."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.limited_api import load_limited_api
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.symbols import PYTHON_API
from musllinux_build.audit.verdict import Finding
from musllinux_build.tags import WheelName

SUFFIX = re.compile(
    r"(?P<module>[^/.]+)(?:\.cpython-3(?P<minor>\d+)(?P<flags>[a-z]*)-(?P<triplet>[A-Za-z0-9_-]+)|\.(?P<abi3>abi3t?))?\.so"
)
CPYTHON_ABI = re.compile(r"cp3(\d{1,2})(t?)[dmu]*")
FIRST_MUSL_SOABI = 11
"""CPython 3.11 and later name musl in extension suffixes; before, they say ``-linux-gnu`` everywhere."""
FIRST_ABI3T = 15
"""PEP 803: the stable ABI of free-threaded builds, read by both kinds of 3.15."""
NEWEST = 99
SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreters:
    """The CPythons 3.X that the tags of a wheel name: ``exact`` minors, per threading, and stable ABIs from a minor."""

    exact: frozenset[tuple[int, bool]]
    abi3: int | None
    abi3t: int | None
    any_abi: bool

    @classmethod
    def of(cls, name: WheelName) -> Interpreters:
        """Those ``name`` promises to work with."""
        minors = [int(tag[3:]) for tag in name.pythons if re.fullmatch(r"cp3\d{1,2}", tag)]
        first = min(minors, default=2)
        exact = {(int(found[1]), bool(found[2])) for abi in name.abis if (found := CPYTHON_ABI.fullmatch(abi))}
        return cls(
            exact=frozenset(exact),
            abi3=first if "abi3" in name.abis else None,
            abi3t=max(first, FIRST_ABI3T) if "abi3t" in name.abis else None,
            any_abi="none" in name.abis,
        )

    @property
    def stable_from(self) -> int | None:
        """The oldest minor a stable ABI of the tags promises, None without one."""
        return min((minor for minor in (self.abi3, self.abi3t) if minor is not None), default=None)

    def has(self, minor: int, *, free_threaded: bool) -> bool:
        """Whether CPython 3.``minor`` is one of them."""
        stable = self.abi3t if free_threaded else self.stable_from
        return self.any_abi or (minor, free_threaded) in self.exact or (stable is not None and minor >= stable)

    def read_abi3(self, *, threads: bool) -> bool:
        """Whether one of them reads ``.abi3.so``, or with ``threads`` ``.abi3t.so``."""
        if self.any_abi or self.stable_from is not None:
            return True
        if threads:
            return any(minor >= FIRST_ABI3T for minor, _ in self.exact)
        return any(not free_threaded for _, free_threaded in self.exact)


def suffixes(subject: Subject) -> Iterator[Finding]:
    """Every extension has a suffix that an interpreter of the tags imports, and an abi3 one that all do."""
    if not all(tag.startswith(("cp", "py")) for tag in subject.name.pythons):
        return  # PyPy and GraalPy have suffixes of their own
    wanted = Interpreters.of(subject.name)
    found = []
    for path, facts in subject.inventory.objects.items():
        match = SUFFIX.fullmatch(posixpath.basename(path))
        if match and facts.python_init:
            found.append((path, match, _why_never(match, subject.arch, wanted)))
    working = {_module(path, match) for path, match, why in found if not why}
    for path, match, why in found:
        file = subject.inventory.objects[path].path
        if why:
            yield finding(
                "suffix-stale" if _module(path, match) in working else "suffix-never-imports",
                file=file,
                message=why,
                evidence=posixpath.basename(path),
                remedy="Build it with the interpreter of a musl image that the tags name, or rename it",
            )
        elif wanted.stable_from is not None and match["minor"] and not _has_stable(found, path, match):
            yield finding(
                "suffix-too-narrow",
                file=file,
                message=f"is imported by CPython 3.{match['minor']} alone; the wheel is for every one from "
                f"3.{wanted.stable_from} on",
                evidence=posixpath.basename(path),
                remedy="Name it .abi3.so: set Py_LIMITED_API and py_limited_api=True where it is built",
            )


def _module(path: str, match: re.Match[str]) -> str:
    return f"{posixpath.dirname(path)}/{match['module']}"


def _has_stable(found: list[tuple[str, re.Match[str], str]], path: str, match: re.Match[str]) -> bool:
    """Whether the module of ``match`` also comes with a suffix that is not of one CPython."""
    module = _module(path, match)
    return any(_module(other, its) == module and not its["minor"] and not why for other, its, why in found)


def _why_never(match: re.Match[str], arch: Arch, wanted: Interpreters) -> str:
    """Why no interpreter of the tags imports a file of this name; empty when one does."""
    if match["abi3"]:
        threads = match["abi3"] == "abi3t"
        if wanted.read_abi3(threads=threads):
            return ""
        return f"is called ...{match['abi3']}.so, which no CPython of the wheel's tags imports"
    if not match["minor"]:
        return ""
    minor, free_threaded = int(match["minor"]), "t" in match["flags"]
    triplet = arch.row.multiarch
    if minor < FIRST_MUSL_SOABI:
        triplet = triplet.replace("-musl", "-gnu", 1)
    if match["triplet"] != triplet:
        return f"is called ...-{match['triplet']}.so; CPython 3.{minor} imports ...-{triplet}.so here"
    if not wanted.has(minor, free_threaded=free_threaded):
        which = "free-threaded CPython" if free_threaded else "CPython"
        return f"is for {which} 3.{minor}, which the wheel's tags do not name"
    return ""


def limited_api(subject: Subject) -> Iterator[Finding]:
    """What an abi3 wheel takes from CPython is in the stable ABI, and was at the version of its tag."""
    oldest = Interpreters.of(subject.name).stable_from
    if oldest is None:
        return
    added, closure = load_limited_api(), subject.closure
    seen: set[str] = set()
    for root, loaded in closure.loads.items():
        if closure.objects[root].is_program or _is_of_one_python(root):
            continue
        for path in loaded:
            facts = closure.objects[path]
            asked = sorted(name for name in facts.undefined if PYTHON_API.match(name))
            own = {name for name in asked if any(name in closure.objects[other].exports for other in loaded)}
            asked = [name for name in asked if name not in own]
            if path in seen or not asked:
                continue
            seen.add(path)
            outside = [name for name in asked if name not in added]
            if outside:
                message = f"uses {_some(outside)}, not in the stable ABI; the wheel's tag says abi3"
                yield _about_api(subject, path, "abi3-outside-limited-api", outside, message)
            newer = [name for name in asked if name in added and added[name] > oldest]
            if newer:
                versions = max(added[name] for name in newer)
                message = f"uses {_some(newer)}, in the stable ABI since 3.{versions}; the tag says 3.{oldest}"
                yield _about_api(subject, path, "abi3-too-new", newer, message)


def _is_of_one_python(path: str) -> bool:
    match = SUFFIX.fullmatch(posixpath.basename(path))
    return bool(match and match["minor"])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _about_api(subject: Subject, path: str, rule: str, names: list[str], message: str) -> Finding:
    return finding(
        rule,
        file=subject.closure.objects[path].path,
        message=message,
        evidence=", ".join(names),
        remedy="Compile with Py_LIMITED_API set to the version of the tag, or raise the tag",
        chain=subject.chain(path),
    )


def abi_none(subject: Subject) -> Iterator[Finding]:
    """A wheel with an extension module names the ABI it needs."""
    if subject.name.abis != ("none",):
        return
    for path, facts in subject.inventory.objects.items():
        match = SUFFIX.fullmatch(posixpath.basename(path))
        if match and not match["abi3"] and f"PyInit_{match['module']}" in facts.exports:
            yield finding(
                "abi-none-with-extension",
                file=facts.path,
                message="is an extension module, and the wheel is tagged to fit every ABI",
                evidence=".".join(subject.name.abis),
                remedy="Tag the wheel for the Python it was built with, or for abi3",
            )
            return
