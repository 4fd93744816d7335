"""What runs keep for later ones: kinds of it, and what goes when it becomes too much."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

DEFAULT_LIMIT = 5_000_000_000
"""So many bytes of finished wheels are kept."""

KEPT_BEFORE_ALL = 20
"""So many images with the result of ``before-all`` are kept on an engine."""


class Kind(Enum):
    """What is kept. The value is its name on the command line."""

    WHEELS = "wheels"
    DOWNLOADS = "downloads"
    LOGS = "logs"
    TIMES = "times"
    SURVEY = "survey"
    BEFORE_ALL = "before-all"
    STOCK = "stock"
    ENVIRONMENTS = "environments"
    TOOLCHAIN = "toolchain"
    USERLAND = "userland"
    PYTHON = "python"
    PROBE = "probe"

    @property
    def directories(self) -> tuple[str, ...]:
        """Directories of it below the cache directory."""
        return () if self in _ON_ENGINES else (self.value,)

    @property
    def images(self) -> tuple[str, ...]:
        """What our label says on local images of it. Images to build with and their bases are none of these."""
        return (self.value,) if self in (Kind.BEFORE_ALL, Kind.STOCK, Kind.TOOLCHAIN, Kind.USERLAND, Kind.PROBE) else ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """What our label says on volumes of it; the seal first, which vouches for the other."""
        filled = self in (Kind.TOOLCHAIN, Kind.USERLAND, Kind.PYTHON)
        return (f"{self.value}-seal", self.value) if filled else ()


_ON_ENGINES = frozenset({Kind.BEFORE_ALL, Kind.STOCK, Kind.USERLAND, Kind.PYTHON, Kind.PROBE})
"""What this machine has no directory of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that is kept."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What there is of a kind in one place; ``size`` in bytes, None where nobody counts them."""

    kind: Kind
    what: str
    where: str
    count: int
    size: int | None

    def to_json(self) -> Mapping[str, object]:
        """Plain data; docs/caching.md describes it."""
        return {
            "kind": self.kind.value,
            "what": self.what,
            "where": self.where,
            "count": self.count,
            "bytes": self.size,
        }


def parse_size(text: str) -> int:
    """The bytes in ``500 MB`` or ``5GB`` (decimal units, as sizes are shown), or in a plain number.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no size; write it as 500MB or 5GB")
    return int(float(found[1]) * 1000 ** ("kmgt".index(found[2]) + 1 if found[2] else 0))


def beyond(entries: Sequence[Entry], most: int) -> list[Entry]:
    """What goes when no more than ``most`` bytes may stay, of ``entries`` with the last used first."""
    total = 0
    for place, entry in enumerate(entries):
        total += entry.size
        if total > most:
            return list(entries[place:])
    return []
