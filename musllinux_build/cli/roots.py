"""Root file systems by what a user calls them: a directory, an archive or an image, each with what runs its loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.adapters.container_sysroot import ContainerSysroot
from musllinux_build.adapters.loader import loader_here, loader_in_container
from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.errors import UsageError
from musllinux_build.policies.record import Loader, Run
from musllinux_build.ports import ContainerSpec, Progress, Sysroot

Runner = Callable[[Loader], AbstractContextManager[Run]]
"""Opens what runs a loader."""


@contextmanager
def open_root(name: str, arch: Arch | None, lines: Progress) -> Iterator[tuple[Sysroot, Runner]]:
    """The root called ``name``; what is no directory and no file is an image.

    Raises:
        UsageError: there is no such file, and ``name`` looks like one.
        EngineError, ImageError: the image cannot be had.
    """
    path = Path(name)
    if path.is_dir():
        yield DirectorySysroot(path), loader_here
    elif path.is_file():
        yield ArchiveSysroot(path), loader_here
    elif name.startswith((".", "/")) or name.endswith((".tar", ".gz", ".xz")):
        raise UsageError(f"{name} does not exist", resolution="Give a directory, a tar archive or an image.")
    else:
        from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - only images need an engine

        with (
            signals_as_errors(),
            closing(Session(connect(), lines)) as session,
            image_root(session, name, arch) as opened,
        ):
            yield opened


@contextmanager
def image_root(session: Session, name: str, arch: Arch | None) -> Iterator[tuple[Sysroot, Runner]]:
    """The root of an image in a container without network, which is removed afterwards."""
    engine = session.engine
    wanted = (arch or engine.info().arch or Arch.X86_64).oci_platform
    info = engine.image(name) or engine.pull(name, wanted)
    platform = info.arch.oci_platform if info.arch else wanted
    with session.container(ContainerSpec(image=name, platform=platform, purpose="record", network=False)) as container:

        @contextmanager
        def runner(loader: Loader) -> Iterator[Run]:
            yield loader_in_container(engine, container, loader)

        yield ContainerSysroot(engine, container), runner
