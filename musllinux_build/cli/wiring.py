"""Picks the adapters of a run: where images, bases, compilers and packages come from."""

from __future__ import annotations

import functools
from pathlib import Path

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
from musllinux_build.ports import Engine, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.toolchain import (
    ENGINES,
    ensure_toolchain_image,
    toolchain_image_tag,
    toolchain_volume,
)
from musllinux_build.userland import Userland, userland_volume


def make_supply(session: Session, config: Config, supplies: Supplies, cache: Path) -> Supply:
    """The functions the pipeline asks for what it needs; each result is asked for once per run."""
    engine, lines = session.engine, session.progress

    def toolchain_image() -> str:
        arch = _native(engine)
        wheel = supplies.toolchain_wheel(arch)
        tag = toolchain_image_tag(arch, wheel.sha256)
        if engine.image(tag) is None:
            path = cache / "toolchain" / wheel.filename
            with lines.step(f"fetch {wheel.name} {wheel.version}"):
                HostFetch(cache=cache / "downloads").wheel(wheel, path.parent, ENGINES[arch].wheel_platforms)
            ensure_toolchain_image(engine, arch, path, lines)
            path.unlink(missing_ok=True)  # the download cache has it
        return tag

    @functools.cache
    def toolchain() -> str:
        tag = toolchain_image()
        return ensure_volume(session, toolchain_volume(tag, _native(engine).oci_platform))

    @functools.cache
    def userland(policy: Policy) -> Userland:
        arch = _native(engine)
        tag = ensure_userland_image(
            engine, arch, policy, toolchain=toolchain_image(), supplies=supplies, progress=lines
        )
        return Userland(volume=ensure_volume(session, userland_volume(tag, arch)), arch=arch)

    @functools.cache
    def image(policy: Policy, arch: Arch) -> ImageInfo:
        return _obtain(session, config, supplies, policy, arch)

    @functools.cache
    def stock(release: str, arch: Arch) -> ImageInfo:
        ref = ensure_base(engine, release, arch, supplies, lines)
        found = engine.image(ref)
        if found is None:
            raise ImageError(f"{ref} is gone", resolution="Start again.")
        return found

    @functools.cache
    def interpreter(policy: Policy, python: PythonTag) -> str:
        return ensure_volume(session, interpreter_volume(image(policy, _native(engine)), python))

    def repository(policy: Policy, arch: Arch) -> RepositoryDirectory | None:
        path = supplies.apk_directory()
        return RepositoryDirectory(path=path, policy=policy, arch=arch) if path is not None else None

    return Supply(
        image=image,
        stock=stock,
        toolchain=toolchain,
        apk_mirror=repository,
        patcher=built_in,
        sysroot=lambda container: ContainerSysroot(engine, container),
        userland=userland,
        environments=Environments(
            directory=cache / "environments",
            native=lambda policy: image(policy, _native(engine)),
            interpreter=interpreter,
        ),
        used=uses_of_images(cache, lines).note,
    )


def _native(engine: Engine) -> Arch:
    found = engine.info()
    if found.arch is None or found.arch not in ENGINES:
        raise EngineError(f"no native compiler for an engine on {found.machine}")
    return found.arch


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
