"""Stages on an engine that no recipe needs any more: ours by their label, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError
from musllinux_build.images.reference import Variant
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.works import STAGE_REPOSITORY, Drawing, Order
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, Engine, ImageInfo, Progress


def needed_stages(
    engine: Engine, native: Arch, targets: Sequence[tuple[Policy, Arch]], supplies: Supplies, progress: Progress
) -> frozenset[str]:
    """The names of the stages of all images of the lock, in both variants, with the interpreters they have by default.

    Raises:
        MusllinuxBuildError: one cannot be planned, so that nobody knows what it needs.
    """
    found: set[str] = set()
    with TemporaryDirectory(prefix="musllinux-build-") as scratch:
        for variant in Variant:
            drawing = Drawing(
                engine=engine,
                native=native,
                supplies=supplies,
                progress=progress,
                order=Order(variant=variant),
                scratch=Path(scratch),
            )
            for made in drawing.draw(targets):
                if made.error is not None:
                    raise made.error
            found |= drawing.works.keys()
    return frozenset(found)


def stale_stages(engine: Engine, needed: Collection[str]) -> list[ImageInfo]:
    """Stages, and images that are not called by a name of their own, that are not needed."""
    found = []
    for kind in ("stage", "image"):
        for identity in engine.images(f"{LABEL}={kind}"):
            info = engine.image(identity)
            if info is None or any(tag in needed or not _of_a_stage(tag) for tag in info.tags):
                continue
            found.append(info)
    return found


def _of_a_stage(tag: str) -> bool:
    return tag.startswith(f"{STAGE_REPOSITORY}:")


def remove_stages(engine: Engine, stale: Sequence[ImageInfo]) -> list[ImageInfo]:
    """Remove them; those that were removed. One that another image is made from goes when that is gone."""
    removed: list[ImageInfo] = []
    waiting = list(stale)
    while waiting:
        left = []
        for info in waiting:
            try:
                for name in info.tags or (info.id,):
                    engine.remove_image(name)
            except EngineError:
                left.append(info)
                continue
            # An image that others are made from has lost its names only.
            if engine.image(info.id) is None:
                removed.append(info)
            else:
                left.append(replace(info, tags=()))
        if len(left) == len(waiting) and left == waiting:
            break
        waiting = left
    return removed
