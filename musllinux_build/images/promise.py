"""What a row of the contract is, and what an image is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag


class Level(Enum):
    """How much a row matters."""

    MUST = "must"
    SHOULD = "should"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an image is held to; ``pythons`` are the interpreters that have to be there."""

    policy: Policy
    arch: Arch
    pythons: tuple[PythonTag, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the scripts of the table may use as variables."""
        row = self.policy.row
        return {
            "POLICY": self.policy.value,
            "ARCH": self.arch.value,
            "MUSL_FLOOR": str(row.floor),
            "LOADER": self.arch.row.loader,
            "MULTIARCH": self.arch.row.multiarch,
        }


ConfigCheck = Callable[[ImageInfo, Wanted], str | None]
"""What is wrong with an image's configuration, None when nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise: ``config`` looks at the configuration, ``script`` is run by ``/bin/sh`` in a container.

    A script passes with exit status 0; the last line it writes is the evidence either way. One ``for_each_python`` has
    ``$TAG`` and ``$PYTHON`` and is run once for each of them.
    """

    id: str
    level: Level
    claim: str
    config: ConfigCheck | None = None
    script: str = ""
    for_each_python: bool = False
