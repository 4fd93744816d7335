"""Images and volumes that builds leave on an engine for later ones: ours by their label and name, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from musllinux_build.errors import EngineError
from musllinux_build.images.cleaning import remove_stages
from musllinux_build.kept import Kind
from musllinux_build.ports import LABEL, Engine, ImageInfo

OWN_NAMES = "musllinux-build/"
"""What our local images are called; one that somebody gave another name to is theirs."""


def local_images(engine: Engine, kind: Kind) -> list[ImageInfo]:
    """The images of a kind on the engine.

    Raises:
        EngineError: the engine failed.
    """
    identities = (identity for word in kind.images for identity in engine.images(f"{LABEL}={word}"))
    found = (engine.image(identity) for identity in dict.fromkeys(identities))
    return [info for info in found if info is not None and all(tag.startswith(OWN_NAMES) for tag in info.tags)]


def local_volumes(engine: Engine, kind: Kind) -> list[str]:
    """The names of the volumes of a kind on the engine, a seal before what it vouches for.

    Raises:
        EngineError: the engine failed.
    """
    return [name for word in kind.volumes for name in engine.volumes(f"{LABEL}={word}")]


def remove_volumes(engine: Engine, names: Sequence[str]) -> list[str]:
    """Remove volumes; those that are gone. One that a container has mounted stays."""
    gone = []
    for name in names:
        try:
            engine.remove_volume(name)
        except EngineError:
            continue
        gone.append(name)
    return gone


def surplus_images(engine: Engine, last_use: Callable[[str], float], most: int) -> list[ImageInfo]:
    """The images with the result of ``before-all`` that go when no more than ``most`` may stay.

    Raises:
        EngineError: the engine failed.
    """
    found = local_images(engine, Kind.BEFORE_ALL)
    if len(found) <= most:
        return []
    return sorted(found, key=lambda info: max(map(last_use, info.tags), default=0.0), reverse=True)[most:]


def remove_images(engine: Engine, images: Sequence[ImageInfo]) -> list[ImageInfo]:
    """Remove images; those that are gone. One in use stays."""
    return remove_stages(engine, images)
