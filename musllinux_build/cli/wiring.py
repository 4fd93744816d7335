"""Picks the adapters of a run: where images, bases, compilers and packages come from."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

from musllinux_build.adapters.container_sysroot import ContainerSysroot
from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.audit.apply import built_in
from musllinux_build.builds.environment import Environments, interpreter_volume
from musllinux_build.builds.repository import RepositoryDirectory
from musllinux_build.builds.session import Session
from musllinux_build.builds.volumes import ensure_volume
from musllinux_build.builds.workshop import Supply
from musllinux_build.cli.reuse import uses_of_images
from musllinux_build.config import Config
from musllinux_build.errors import EngineError, ImageError
from musllinux_build.images.bases import ensure_base
from musllinux_build.images.build import build_image
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.userland import ensure_userland_image
from musllinux_build.images.works import Order
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.toolchain import (
    ENGINES,
    ensure_toolchain_image,
    toolchain_image_tag,
    toolchain_volume,
)
from musllinux_build.userland import Userland, userland_volume

T = TypeVar("T")
P = ParamSpec("P")


def once(method: Callable[Concatenate[Storehouse, P], T]) -> Callable[Concatenate[Storehouse, P], T]:
    """Each result of a method is had once, by whichever thread asks first; others that ask for it wait."""

    @functools.wraps(method)
    def call(house: Storehouse, /, *key: P.args, **rest: P.kwargs) -> T:
        name = (method.__name__, key)
        with house.guard:
            lock = house.locks.setdefault(name, threading.Lock())
        with lock:
            if name not in house.had:
                house.had[name] = method(house, *key, **rest)
            return cast("T", house.had[name])

    return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Storehouse:
    """Where images, volumes and roots of one engine come from."""

    session: Session
    config: Config
    supplies: Supplies
    cache: Path
    had: dict[tuple[str, tuple[object, ...]], object] = field(default_factory=dict)
    locks: dict[tuple[str, tuple[object, ...]], threading.Lock] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def native(self) -> Arch:
        """The engine's own architecture.

        Raises:
            EngineError: there is no native compiler for it.
        """
        found = self.session.engine.info()
        if found.arch is None or found.arch not in ENGINES:
            raise EngineError(f"no native compiler for an engine on {found.machine}")
        return found.arch

    @once
    def toolchain_image(self) -> str:
        """The tag of the compilers' data image."""
        engine, lines, arch = self.session.engine, self.session.progress, self.native
        wheel = self.supplies.toolchain_wheel(arch)
        tag = toolchain_image_tag(arch, wheel.sha256)
        if engine.image(tag) is None:
            path = self.cache / "toolchain" / wheel.filename
            with lines.step(f"fetch {wheel.name} {wheel.version}"):
                fetch = HostFetch(cache=self.cache / "downloads", go_on=self.session.go_on)
                fetch.wheel(wheel, path.parent, ENGINES[arch].wheel_platforms)
            ensure_toolchain_image(engine, arch, path, lines)
            path.unlink(missing_ok=True)  # the download cache has it
        return tag

    @once
    def toolchain(self) -> str:
        """The volume with the compilers."""
        return ensure_volume(self.session, toolchain_volume(self.toolchain_image(), self.native.oci_platform))

    @once
    def userland(self, policy: Policy) -> Userland:
        """The volume with a native userland."""
        arch, lines = self.native, self.session.progress
        tag = ensure_userland_image(
            self.session.engine,
            arch,
            policy,
            toolchain=self.toolchain_image(),
            supplies=self.supplies,
            progress=lines,
        )
        return Userland(volume=ensure_volume(self.session, userland_volume(tag, arch)), arch=arch)

    @once
    def image(self, policy: Policy, arch: Arch) -> ImageInfo:
        """The image that wheels are built in."""
        return _obtain(self.session, self.config, self.supplies, policy, arch)

    @once
    def stock(self, release: str, arch: Arch) -> ImageInfo:
        """A stock Alpine."""
        ref = ensure_base(self.session.engine, release, arch, self.supplies, self.session.progress)
        found = self.session.engine.image(ref)
        if found is None:
            raise ImageError(f"{ref} is gone", resolution="Start again.")
        return found

    @once
    def interpreter(self, policy: Policy, python: PythonTag) -> str:
        """The volume with a native interpreter."""
        return ensure_volume(self.session, interpreter_volume(self.image(policy, self.native), python))

    def repository(self, policy: Policy, arch: Arch) -> RepositoryDirectory | None:
        """A directory of packages for ``before-all``."""
        path = self.supplies.apk_directory()
        return RepositoryDirectory(path=path, policy=policy, arch=arch) if path is not None else None


def make_supply(session: Session, config: Config, supplies: Supplies, cache: Path) -> Supply:
    """The functions the pipeline asks for what it needs; each result is asked for once per run."""
    if isinstance(supplies.fetch, HostFetch):  # no download is waited for when a signal has ended the run
        supplies = replace(supplies, fetch=replace(supplies.fetch, go_on=session.go_on))
    house = Storehouse(session=session, config=config, supplies=supplies, cache=cache)
    return Supply(
        image=house.image,
        stock=house.stock,
        toolchain=house.toolchain,
        apk_mirror=house.repository,
        patcher=built_in,
        sysroot=lambda container: ContainerSysroot(session.engine, container),
        userland=house.userland,
        environments=Environments(
            directory=cache / "environments",
            native=lambda policy: house.image(policy, house.native),
            interpreter=house.interpreter,
        ),
        used=uses_of_images(cache, session.progress).note,
    )


def _obtain(session: Session, config: Config, supplies: Supplies, policy: Policy, arch: Arch) -> ImageInfo:
    """The image from here, from the registry, or built from the shipped Dockerfile, as ``--pull`` says."""
    engine, lines = session.engine, session.progress
    ref = image_reference(config.registry or DEFAULT_REGISTRY, policy, arch)
    local = engine.image(ref)
    if local is not None and config.pull != "always":
        return local
    if config.pull == "never":
        raise ImageError(
            f"{ref} is not here and --pull is never",
            resolution=f"musllinux-build images build --policy {policy.value} --arch {arch.value}",
        )
    if supplies.offline:
        lines.note("no registry is asked: --offline")
    else:
        try:
            with lines.step(f"pull {ref}"):
                return engine.pull(ref, arch.oci_platform)
        except ImageError as error:
            lines.note(f"{ref} is not to be had from its registry: {error.details or error.brief}")
    lines.note(f"building {ref} from the shipped Dockerfile; later runs find it here")
    order = Order(registry=config.registry or DEFAULT_REGISTRY, jobs=2)
    return build_image(engine, policy, arch, supplies, lines, order=order)
