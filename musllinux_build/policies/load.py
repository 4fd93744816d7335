"""A policy on an architecture as sets and mappings, read from the generated tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolTable:
    """What every known musl of an architecture provides.

    ``since`` maps each symbol to the first musl version that provides it everywhere; ``first_alpine`` maps those
    newer than the oldest recorded release to the Alpine branch that first has them; ``lfs64`` are the names every
    loader resolves although newer ones do not export them.
    """

    arch: Arch
    since: Mapping[str, MuslVersion]
    first_alpine: Mapping[str, str]
    lfs64: frozenset[str]
    relr_floor: MuslVersion
    oldest: MuslVersion

    def provided_at(self, floor: MuslVersion) -> frozenset[str]:
        """The symbols a library can bind to on every musl from ``floor`` on."""
        return frozenset(name for name, version in self.since.items() if version <= floor) | self.lfs64


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyData:
    """A symbol table seen from one policy; ``exports`` is what its floor provides."""

    policy: Policy
    arch: Arch
    exports: frozenset[str]
    since: Mapping[str, MuslVersion]
    first_alpine: Mapping[str, str]
    lfs64: frozenset[str]
    relr_floor: MuslVersion


def parse_table(text: str) -> SymbolTable:
    """The table in ``text``, as ``generate`` writes it.

    Raises:
        KeyError, ValueError: it is none.
    """
    document = json.loads(text)
    if document["schema"] != 1:
        raise ValueError(f"unknown policy schema {document['schema']!r}")
    since = {}
    for version, names in document["since"].items():
        since.update(dict.fromkeys(names.split(), MuslVersion.parse(version)))
    return SymbolTable(
        arch=Arch(document["arch"]),
        since=MappingProxyType(since),
        first_alpine=MappingProxyType(document["first"]),
        lfs64=frozenset(document["lfs64"].split()),
        relr_floor=MuslVersion.parse(document["relr_floor"]),
        oldest=min(map(MuslVersion.parse, document["releases"].values())),
    )


@cache
def load_table(arch: Arch) -> SymbolTable:
    """The committed table of ``arch``."""
    return parse_table(resources.files(__package__).joinpath("data", f"{arch.value}.json").read_text("utf-8"))


@cache
def load_policy(policy: Policy, arch: Arch) -> PolicyData:
    """The committed data of ``policy`` on ``arch``."""
    table = load_table(arch)
    return PolicyData(
        policy=policy,
        arch=arch,
        exports=table.provided_at(policy.row.floor),
        since=table.since,
        first_alpine=table.first_alpine,
        lfs64=table.lfs64,
        relr_floor=table.relr_floor,
    )
