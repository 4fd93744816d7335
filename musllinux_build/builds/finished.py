"""Finished wheels of earlier runs: what each is known by, and what keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from musllinux_build.arch import Arch
from musllinux_build.config import Config
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.report import BuiltWheel

WITHOUT_EFFECT = frozenset({"archs", "policies", "pythons", "build", "skip", "only", "pull", "registry", "engines"})
"""The fields of Config that only choose targets, images and engines, which are facts of their own; any other one may
decide the bytes of a wheel or what its proof is worth, a new one too."""


class Store(Protocol):
    """Keeps proven wheels by their keys."""

    def find(self, key: str) -> BuiltWheel | None:
        """What is said of the wheel under ``key``, its path the one in the store; None where there is none."""
        ...

    def take(self, kept: BuiltWheel, directory: Path) -> BuiltWheel | None:
        """Copy a found wheel into ``directory``, whole or not at all; None when its bytes are not what they were.

        Raises:
            OSError: it cannot be read, or not be written there.
        """
        ...

    def keep(self, key: str, wheel: BuiltWheel) -> None:
        """Keep a copy under ``key``, in the place of what was there.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """What one run needs to find its wheels again.

    ``common`` are the facts that all of its wheels share; ``image`` is the local image of a policy and architecture,
    None where the registry is to be asked first; ``ground`` names what else their wheels are made with (compilers,
    packages, the lock). With ``rebuild`` nothing is found, and what is built is kept.
    """

    store: Store
    common: str
    image: Callable[[Policy, Arch], ImageInfo | None]
    ground: Callable[[Policy, Arch], Sequence[str]]
    rebuild: bool = False


def common_facts(config: Config, *, source: bytes, index: Mapping[str, str], program: str) -> str:
    """The hash of what all wheels of a run share; ``program`` stands for this tool and its version.

    The order of variables counts, because one may refer to another before it.
    """
    options = {
        field.name: _plain(getattr(config, field.name)) for field in fields(Config) if field.name not in WITHOUT_EFFECT
    }
    return _digest([program, hashlib.sha256(source).hexdigest(), sorted(index.items()), options])


def wheel_key(reuse: Reuse, target: Target, image: ImageInfo) -> str:
    """64 hexadecimal digits that change with anything that ``target``'s wheel is made from or proven by."""
    ground = list(reuse.ground(target.policy, target.arch))
    return _digest([reuse.common, target.identifier, image.id, ground])


def _plain(value: object) -> object:
    """What JSON tells apart."""
    return list(value.items()) if isinstance(value, Mapping) else value


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
