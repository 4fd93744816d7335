"""Finished wheels of earlier runs for a build with an engine, and what goes at its end when too much is kept."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from musllinux_build.adapters.cache_files import Uses
from musllinux_build.adapters.wheel_store import WheelStore
from musllinux_build.arch import Arch
from musllinux_build.builds.environment import expire
from musllinux_build.builds.finished import Reuse, common_facts
from musllinux_build.builds.repository import RepositoryDirectory
from musllinux_build.builds.workshop import Host
from musllinux_build.config import Config
from musllinux_build.errors import EngineError
from musllinux_build.images.local import local_images, remove_images, surplus_images
from musllinux_build.images.recipe import lock_digest
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.kept import KEPT_BEFORE_ALL, Kind
from musllinux_build.policy import Policy
from musllinux_build.ports import Engine, ImageInfo, Progress
from musllinux_build.report import Report, human_size
from musllinux_build.shipped import program_digest
from musllinux_build.toolchain import toolchain_image_tag


def wheel_store(cache: Path) -> WheelStore:
    """The finished wheels below the cache directory."""
    return WheelStore(cache / Kind.WHEELS.value)


def uses_of_images(cache: Path, lines: Progress) -> Uses:
    """When this machine last used which image with the result of ``before-all``."""
    return Uses(cache / Kind.BEFORE_ALL.value, warn=lines.detail)


def make_reuse(engine: Engine, supplies: Supplies, cache: Path, *, config: Config, host: Host, rebuild: bool) -> Reuse:
    """What finds the wheels of earlier runs again. Nothing is asked before a target needs it, and each only once."""

    @functools.cache
    def image(policy: Policy, arch: Arch) -> ImageInfo | None:
        if config.pull == "always":  # which image that is, the registry says
            return None
        return engine.image(image_reference(config.registry or DEFAULT_REGISTRY, policy, arch))

    @functools.cache
    def compilers() -> str:
        native = engine.info().arch
        return toolchain_image_tag(native, supplies.toolchain_wheel(native).sha256) if native is not None else ""

    @functools.cache
    def ground(policy: Policy, arch: Arch) -> Sequence[str]:
        mirror = supplies.apk_directory() if config.before_all else None
        packages = RepositoryDirectory(path=mirror, policy=policy, arch=arch).digest if mirror is not None else ""
        return compilers(), packages, lock_digest(supplies.lock)

    return Reuse(
        store=wheel_store(cache),
        common=common_facts(config, source=host.source, index=host.index, program=program_digest()),
        image=image,
        ground=ground,
        rebuild=rebuild,
    )


def tidy(engine: Engine, cache: Path, lines: Progress, *, most: int, report: Report) -> None:
    """Remove what is kept beyond the limits; that it cannot be removed is told, and no failure."""
    try:
        gone = wheel_store(cache).limit(most)
    except OSError as error:
        lines.warn(f"finished wheels are not held to their limit: {error}")
    else:
        if gone:
            lines.detail(f"{len(gone)} finished wheels of earlier runs are removed: more than {human_size(most)}")
    try:
        expire(cache / Kind.ENVIRONMENTS.value, time.time())
    except OSError as error:
        lines.warn(f"old build environments are not removed: {error}")
    if all(outcome.reused for outcome in report.outcomes):  # then there is no image that was not there before
        return
    uses = uses_of_images(cache, lines)
    try:
        surplus = surplus_images(engine, uses.last, KEPT_BEFORE_ALL)
        if surplus:
            removed = remove_images(engine, surplus)
            lines.detail(f"{len(removed)} images of before-all are removed: more than {KEPT_BEFORE_ALL}")
            uses.forget_others([tag for info in local_images(engine, Kind.BEFORE_ALL) for tag in info.tags])
    except EngineError as error:
        lines.warn(f"images of before-all are not held to their limit: {error.brief}")
