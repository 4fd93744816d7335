"""The work of ``audit repair``: the root that libraries come from, and each wheel in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from musllinux_build.adapters.archive_sysroot import ArchiveSysroot
from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.arch import Arch
from musllinux_build.audit.repair import RepairReport
from musllinux_build.audit.repair_report import repair_json, repair_lines
from musllinux_build.audit.report import failure_json
from musllinux_build.cli.say import say, say_json
from musllinux_build.errors import MusllinuxBuildError, UsageError
from musllinux_build.ports import Sysroot

if TYPE_CHECKING:  # only images need engines
    from musllinux_build.builds.session import Session

SIGNALLED = (130, 143)


def repair_each(
    wheels: Sequence[Path], repair_one: Callable[[Path], RepairReport], *, width: int, as_json: bool
) -> MusllinuxBuildError | None:
    """Repair each wheel and print what was done; the first failure, after all others had their turn.

    Raises:
        MusllinuxBuildError: the only wheel cannot be repaired, and the text for people is asked for.
    """
    failures: list[MusllinuxBuildError] = []
    documents: list[Mapping[str, object]] = []
    for wheel in wheels:
        say(f"repairing {wheel.name}", err=True)
        try:
            report = repair_one(wheel)
        except MusllinuxBuildError as error:
            if error.exit_code in SIGNALLED or (len(wheels) == 1 and not as_json):
                raise
            failures.append(error)
            documents.append(failure_json(wheel.name, error))
            for line in (f"error: {error.brief}", *(f"  | {line}" for line in error.details.splitlines())):
                say(line, err=True)
            if error.resolution:
                say(f"  → {error.resolution}", err=True)
            continue
        documents.append(repair_json(report))
        if not as_json:
            for line in repair_lines(report, width=width):
                say(line)
    if as_json:
        say_json(documents)
    return failures[0] if failures else None


@contextmanager
def open_root(root: Path | None, image: str | None, arch: Arch | None) -> Iterator[Sysroot | None]:
    """Where libraries are searched: a directory, the tar archive of a root, or an image; nothing of it is executed.

    Raises:
        UsageError: both are asked for.
    """
    if root and image:
        raise UsageError("--root and --image are two roots", resolution="Give one of them.")
    if image:
        with _open_image(image, arch) as sysroot:
            yield sysroot
    elif root:
        yield DirectorySysroot(root) if root.is_dir() else ArchiveSysroot(root)
    else:
        yield None


@contextmanager
def _open_image(name: str, arch: Arch | None) -> Iterator[Sysroot]:
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - only images need engines
    from musllinux_build.builds.session import Session, signals_as_errors  # noqa: PLC0415
    from musllinux_build.cli.options import progress  # noqa: PLC0415

    lines = progress(0, 0)
    with signals_as_errors(), closing(Session(connect(), lines)) as session, image_root(session, name, arch) as root:
        yield root


@contextmanager
def image_root(session: Session, name: str, arch: Arch | None) -> Iterator[Sysroot]:
    """The files of the image ``name``, for ``arch`` where the engine has to fetch it, in a stopped container."""
    from musllinux_build.adapters.container_sysroot import ContainerSysroot  # noqa: PLC0415 - only images need engines
    from musllinux_build.ports import ContainerSpec  # noqa: PLC0415

    engine = session.engine
    wanted = (arch or engine.info().arch or Arch.X86_64).oci_platform
    with session.progress.step(f"open {name}"):
        info = engine.image(name) or engine.pull(name, wanted)
    platform = info.arch.oci_platform if info.arch else wanted
    with session.container(ContainerSpec(image=name, platform=platform, purpose="audit", network=False)) as container:
        engine.stop(container)  # what is read cannot change under the reader
        yield ContainerSysroot(engine, container)
