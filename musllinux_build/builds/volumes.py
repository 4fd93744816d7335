"""Named volumes that hold the files of a data image: filled once, read-only in every container that mounts them.

An engine copies an image's files into an empty volume when a container is created, and an interrupted copy leaves a
volume that looks like any other. Labels cannot be added later, so a second, empty volume is the seal: it is made last
and repeats the word of the volume it vouches for.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from musllinux_build.builds.session import Session
from musllinux_build.errors import EngineError, ImageError, MusllinuxBuildError
from musllinux_build.ports import LABEL, ContainerSpec, Engine

FILL_LABEL = "org.musllinux-build.fill"
"""A random word on a volume and on its seal: equal words mean that this very volume was filled to its end."""

SEAL = "-seal"
FILL_SECONDS = 60
"""How long another run may take to fill a volume (it takes seconds) before it counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as a value: ``now`` in seconds since the epoch, ``pause`` waits so many seconds."""

    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class DataVolume:
    """A volume called ``name`` with what ``image`` has below ``mount``; ``what`` is its word in labels and messages.

    ``command`` runs in the data image, which has no shell, ends at once, and shows that the engine can execute what was
    copied. ``expected`` are paths below the mount, some in each directory that an engine copies.
    """

    what: str
    name: str
    image: str
    platform: str
    mount: str
    command: Sequence[str]
    expected: Sequence[str]


def ensure_volume(session: Session, wanted: DataVolume, *, clock: Clock | None = None) -> str:
    """The name of the volume, filled from its data image if need be.

    Raises:
        EngineError: the engine failed, another run interfered, or a signal has ended this one.
        ImageError: the volume did not receive the files.
    """
    engine, progress, clock = session.engine, session.progress, clock or Clock()
    name = wanted.name
    if _sealed(engine, name):
        return name
    with progress.step(f"{wanted.what} volume"):
        if _filled_by_another_run(session, name, clock):
            return name
        engine.remove_volume(f"{name}{SEAL}")
        for container in engine.containers(f"{FILL_LABEL}={name}"):
            engine.remove(container)
        engine.remove_volume(name)
        word = f"{clock.now():.0f}-{uuid.uuid4().hex}"
        try:
            engine.volume(name, {LABEL: wanted.what, FILL_LABEL: word})
            _fill(session, wanted)
            # A run that took the volume over meanwhile has another word; this seal is then worth nothing.
            engine.volume(f"{name}{SEAL}", {LABEL: f"{wanted.what}-seal", FILL_LABEL: word})
        except BaseException:
            with contextlib.suppress(MusllinuxBuildError):
                engine.remove_volume(name)
            raise
    if not _sealed(engine, name):
        raise EngineError(f"volume {name} was changed by another run", resolution="Start again.")
    return name


def _word(engine: Engine, name: str) -> str:
    return (engine.volume_labels(name) or {}).get(FILL_LABEL, "")


def _sealed(engine: Engine, name: str) -> bool:
    word = _word(engine, name)
    return word != "" and word == _word(engine, f"{name}{SEAL}")


def _filled_by_another_run(session: Session, name: str, clock: Clock) -> bool:
    """Wait for a run that began to fill lately; false when there is none, or when it must have died."""
    engine, progress, told = session.engine, session.progress, False
    while started := _word(engine, name).partition("-")[0]:
        if not started.isdecimal() or not 0 <= clock.now() - int(started) < FILL_SECONDS:
            return False
        if not told:
            progress.note(f"another run fills {name}, or was killed in it; waiting at most {FILL_SECONDS} s")
            told = True
        clock.pause(0.5)
        session.go_on()
        if _sealed(engine, name):
            return True
    return False


def _fill(session: Session, wanted: DataVolume) -> None:
    spec = ContainerSpec(
        image=wanted.image,
        platform=wanted.platform,
        purpose=wanted.what,
        command=wanted.command,
        volumes={wanted.name: wanted.mount},
        network=False,
        labels={FILL_LABEL: wanted.name},
    )
    engine = session.engine
    with session.container(spec) as container:
        status = engine.wait(container)
        missing = [path for path in wanted.expected if engine.stat(container, f"{wanted.mount}/{path}") is None]
    if status or missing:
        raise ImageError(
            f"volume {wanted.name} did not become a usable {wanted.what}",
            details=f"{' '.join(wanted.command)}: exit status {status}\nmissing: {', '.join(missing) or 'nothing'}",
            resolution=f"Remove the image {wanted.image} and run again; it is built anew.",
        )
