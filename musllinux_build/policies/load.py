"""A policy on an architecture as sets and mappings, read from the generated tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.policy import MuslVersion, Policy, PolicyRow, committed_rows

SCHEMA = 2
"""Of the generated tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolTable:
    """What every known musl of an architecture provides.

    ``since`` maps each symbol to the first musl version that provides it everywhere; ``first_alpine`` maps those
    newer than the oldest recorded release to the Alpine branch that first has them; ``lfs64`` are the names every
    loader resolves although newer ones do not export them; ``removed`` maps names that are gone to the first musl
    without them. ``features`` maps what loaders do (``relr``) to the first musl from which on all do it. ``oldest`` is
    the oldest recorded musl: nothing is known below it.
    """

    arch: Arch
    since: Mapping[str, MuslVersion]
    first_alpine: Mapping[str, str]
    lfs64: frozenset[str]
    relr_floor: MuslVersion
    oldest: MuslVersion
    removed: Mapping[str, MuslVersion] = field(default_factory=dict)
    features: Mapping[str, MuslVersion] = field(default_factory=dict)
    _provided: dict[MuslVersion, frozenset[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check_known(self, floor: MuslVersion) -> None:
        """Refuse a floor that nothing is recorded of.

        Raises:
            UsageError: ``floor`` is older than the oldest recorded musl.
        """
        if floor < self.oldest:
            raise UsageError(
                f"nothing is known of musl {floor} on {self.arch.value}",
                resolution=f"The oldest recorded musl is {self.oldest}: measure against that one or a newer one.",
            )

    def resolves_no_more(self, name: str) -> bool:
        """Whether ``name`` is a large-file name of a function that is there, which newer loaders do not resolve."""
        return name in self.removed and "64" in name and name.replace("64", "", 1) in self.since

    def provided_at(self, floor: MuslVersion) -> frozenset[str]:
        """The symbols a library can bind to on every musl from ``floor`` on."""
        if floor not in self._provided:
            self._provided[floor] = frozenset(name for name, version in self.since.items() if version <= floor)
        return self._provided[floor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyData:
    """A symbol table seen from one policy; ``exports`` is what its floor provides.

    ``libraries`` are those a wheel may be allowed to take from the system, with what they export everywhere.
    """

    policy: Policy
    arch: Arch
    exports: frozenset[str]
    since: Mapping[str, MuslVersion]
    first_alpine: Mapping[str, str]
    lfs64: frozenset[str]
    relr_floor: MuslVersion
    libraries: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policy rows and the symbol tables they are measured with: those that ship, or others."""

    rows: Mapping[Policy, PolicyRow]
    table: Callable[[Arch], SymbolTable]

    def row(self, policy: Policy) -> PolicyRow:
        """The facts of ``policy``.

        Raises:
            UsageError: there is no such row.
        """
        if policy not in self.rows:
            known = ", ".join(row.value for row in self.rows)
            raise UsageError(f"{policy.value} is not a known policy", resolution=f"Known: {known}.")
        return self.rows[policy]

    @property
    def libraries(self) -> Mapping[str, frozenset[str]]:
        """The libraries that a row allows, with what they export on every distribution of every row that does."""
        found: dict[str, frozenset[str]] = {}
        for row in self.rows.values():
            for name, exports in row.libraries.items():
                found[name] = found.get(name, exports) & exports
        return found

    def data(self, policy: Policy, arch: Arch) -> PolicyData:
        """The table of ``arch`` seen from ``policy``."""
        row, table = self.row(policy), self.table(arch)
        return PolicyData(
            policy=policy,
            arch=arch,
            exports=table.provided_at(row.floor),
            since=table.since,
            first_alpine=table.first_alpine,
            lfs64=table.lfs64,
            relr_floor=table.relr_floor,
            libraries=row.libraries,
        )


def parse_table(text: str) -> SymbolTable:
    """The table in ``text``, as ``generate`` writes it.

    Raises:
        KeyError, ValueError: it is none.
    """
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(f"unknown policy schema {document['schema']!r}")
    releases = [package for history in document["releases"].values() for package in history.values()]
    return SymbolTable(
        arch=Arch(document["arch"]),
        since=_by_name(document["since"]),
        first_alpine=MappingProxyType(document["first"].get("alpine", {})),
        lfs64=frozenset(document["lfs64"].split()),
        relr_floor=MuslVersion.parse(document["relr_floor"]),
        oldest=min(map(MuslVersion.parse, releases)),
        removed=_by_name(document["removed"]),
        features=MappingProxyType({name: MuslVersion.parse(text) for name, text in document["features"].items()}),
    )


def _by_name(groups: Mapping[str, str]) -> Mapping[str, MuslVersion]:
    """Version to names, turned round."""
    found: dict[str, MuslVersion] = {}
    for version, names in groups.items():
        found.update(dict.fromkeys(names.split(), MuslVersion.parse(version)))
    return MappingProxyType(found)


@cache
def load_table(arch: Arch) -> SymbolTable:
    """The committed table of ``arch``."""
    return parse_table(Path(__file__).with_name("data").joinpath(f"{arch.value}.json").read_text("utf-8"))


@cache
def load_policies() -> Policies:
    """What ships."""
    return Policies(rows=committed_rows(), table=load_table)


@cache
def load_policy(policy: Policy, arch: Arch) -> PolicyData:
    """The committed data of ``policy`` on ``arch``."""
    return load_policies().data(policy, arch)
