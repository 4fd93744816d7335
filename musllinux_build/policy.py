"""Musl releases, platform policies, and the facts of each policy as rows of a table that is data.

A policy is a name, ``musllinux_X_Y``; what it promises stands in a table file (``policies/policies.json``; the floors
are derived from evidence into ``policies/data/policies.json``). Another row needs no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError

SCHEMA = 1
COMMITTED = Path(__file__).parent / "policies" / "data" / "policies.json"
_NAME = re.compile(r"musllinux_(0|[1-9]\d{0,3})_(0|[1-9]\d{0,3})")


@dataclass(frozen=True, slots=True, order=True)
class MuslVersion:
    """A musl release ``major.minor.patch``, ordered as musl orders them."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> MuslVersion:
        """The release in ``1.2.2``, ``1.2.2-r1`` or ``1.2.4_git20230717-r4``.

        Raises:
            ValueError: ``text`` does not start with three numbers.
        """
        found = re.match(r"(\d+)\.(\d+)\.(\d+)(?:[-_].*)?$", text)
        if not found:
            raise ValueError(f"not a musl version: {text!r}")
        return cls(*map(int, found.groups()))

    @property
    def series(self) -> tuple[int, int]:
        """What a platform tag names of it (PEP 656)."""
        return self.major, self.minor

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBase:
    """The Alpine releases of a policy that images are built for (``3.13.12``).

    ``base`` has the floor's musl and is what wheels are built on, ``newest`` what every wheel is proven on as well.
    """

    base: str
    musl_package: str
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """What one musllinux series promises (PEP 656).

    ``floor`` is the lowest musl among the distributions it is promised for; ``promises`` maps each distribution to the
    first branch of it. ``libraries`` are those that every promised distribution has and a wheel may be allowed to take
    from there, with the symbols that all of them export; by default it may take libc alone. ``image`` is None for a
    policy that is audited only.
    """

    series: tuple[int, int]
    floor: MuslVersion
    promises: Mapping[str, str]
    libraries: Mapping[str, frozenset[str]]
    image: ImageBase | None = None

    @property
    def base(self) -> str:
        """The Alpine release that wheels are built on."""
        return self._image.base

    @property
    def musl_package(self) -> str:
        """The package of musl there (``1.2.2-r1``)."""
        return self._image.musl_package

    @property
    def newest(self) -> str:
        """The Alpine release that every wheel is proven on as well."""
        return self._image.newest

    @property
    def _image(self) -> ImageBase:
        if self.image is None:
            name = "musllinux_{}_{}".format(*self.series)
            raise UsageError(f"{name} has no image: it is audited only", resolution="Give its policy row an image.")
        return self.image


@dataclass(frozen=True, slots=True)
class Policy:
    """A platform tag without its architecture; ``Policy("musllinux_1_2")`` parses, ``.value`` formats.

    Raises:
        ValueError: ``value`` is not of that form.
    """

    value: str

    MUSLLINUX_1_1: ClassVar[Policy]
    MUSLLINUX_1_2: ClassVar[Policy]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.value):
            raise ValueError(f"not a policy: {self.value!r}")

    @classmethod
    def of(cls, series: tuple[int, int]) -> Policy:
        """The policy of a musl series."""
        return cls("musllinux_{}_{}".format(*series))

    @property
    def series(self) -> tuple[int, int]:
        """The musl series it names."""
        _, major, minor = self.value.split("_")
        return int(major), int(minor)

    @property
    def row(self) -> PolicyRow:
        """The facts of this policy in the table that ships.

        Raises:
            UsageError: it has no row there.
        """
        rows = committed_rows()
        if self not in rows:
            known = ", ".join(policy.value for policy in rows)
            raise UsageError(f"{self.value} is not a known policy", resolution=f"Known: {known}.")
        return rows[self]

    def platform_tag(self, arch: Arch) -> str:
        """``musllinux_1_2_aarch64`` (PEP 656)."""
        return f"{self.value}_{arch.value}"


Policy.MUSLLINUX_1_1 = Policy("musllinux_1_1")
Policy.MUSLLINUX_1_2 = Policy("musllinux_1_2")


def parse_rows(text: str) -> Mapping[Policy, PolicyRow]:
    """The rows of a table with floors, oldest series first.

    Raises:
        KeyError, ValueError: ``text`` is no such table.
    """
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(f"unknown policy table schema {document['schema']!r}")
    rows = {}
    for row in document["policies"]:
        policy, image = Policy(row["name"]), row.get("image")
        rows[policy] = PolicyRow(
            series=policy.series,
            floor=MuslVersion.parse(row["floor"]),
            promises=MappingProxyType(row["promises"]),
            libraries=MappingProxyType({name: frozenset(text.split()) for name, text in row["libraries"].items()}),
            image=ImageBase(**image) if image else None,
        )
    return MappingProxyType(dict(sorted(rows.items(), key=lambda item: item[1].series)))


@cache
def committed_rows() -> Mapping[Policy, PolicyRow]:
    """The rows that ship, oldest series first."""
    return parse_rows(COMMITTED.read_text("utf-8"))


def known_policies() -> tuple[Policy, ...]:
    """The policies that ship, oldest series first."""
    return tuple(committed_rows())
