"""What musl's own releases brought: the other source of evidence, for the releases no distribution shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion

SCHEMA = 1
RELR = "relr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Symbols that came with one upstream release, and where that is written.

    ``archs`` empty means all. ``late`` are the distribution releases of this version known to lack them; ``again``
    marks names that much older releases had, too; ``expected`` what upstream has and has not released yet.
    """

    version: MuslVersion
    names: frozenset[str]
    source: str
    archs: frozenset[Arch] = frozenset()
    late: frozenset[str] = frozenset()
    again: bool = False
    expected: bool = False

    def concerns(self, arch: Arch) -> bool:
        """Whether it is true of ``arch``."""
        return not self.archs or arch in self.archs


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Something a loader does since one upstream release."""

    name: str
    version: MuslVersion
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """All rows. ``remapped`` are names that the loader resolves since ``remapped_since`` although it exports none."""

    additions: Sequence[Addition] = ()
    features: Sequence[Feature] = ()
    remapped: frozenset[str] = frozenset()
    remapped_since: MuslVersion | None = None

    def since(self, arch: Arch) -> Mapping[str, MuslVersion]:
        """Every symbol with a row that concerns ``arch``, and its release."""
        return {name: row.version for row in self.additions if row.concerns(arch) for name in row.names}

    def remapped_at(self, version: MuslVersion) -> frozenset[str]:
        """The names a loader of ``version`` resolves and does not export."""
        return self.remapped if self.remapped_since and version >= self.remapped_since else frozenset()


def parse_upstream(text: str) -> Upstream:
    """The rows in ``text``.

    Raises:
        KeyError, ValueError: it is no such table.
    """
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(f"unknown upstream schema {document['schema']!r}")
    additions = tuple(
        Addition(
            version=MuslVersion.parse(row["version"]),
            names=frozenset(row["names"].split()),
            source=row["source"],
            archs=frozenset(map(Arch, row.get("archs", "").split())),
            late=frozenset(row.get("late", ())),
            again=row.get("again", False),
            expected=row.get("expected", False),
        )
        for row in document["additions"]
    )
    features = tuple(
        Feature(name=row["name"], version=MuslVersion.parse(row["version"]), source=row["source"])
        for row in document["features"]
    )
    return Upstream(
        additions=additions,
        features=features,
        remapped=frozenset(document["remapped"]["names"].split()),
        remapped_since=MuslVersion.parse(document["remapped"]["version"]),
    )
