"""From source tree to raw wheel in a build container."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.builds.environment import (
    ANSWER,
    HOME,
    WANTS_MORE,
    Wanted,
    hand_over,
    hooks_argv,
    install_argv,
    obtain,
    parse_answer,
)
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import Step, build_step, environment_steps
from musllinux_build.builds.workshop import Run, Workshop
from musllinux_build.buildsystem import generates
from musllinux_build.plan import Target
from musllinux_build.tarstream import CHUNK, only_file

OURS = b"/opt/musllinux-build/"
"""Where everything lies in a build container that is not the image's or the project's."""
ROUNDS = 3
"""How often a backend may ask for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One target under work."""

    run: Run
    target: Target
    workshop: Workshop
    log: Log

    @property
    def session(self) -> Session:
        """The run's session."""
        return self.run.session


def named_in(wheel: Path, place: bytes = OURS) -> list[str]:
    """The members of a wheel that name a place of ours: what was native in its build is no business of its users."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                tail = b""
                while chunk := stream.read(CHUNK):
                    if place in tail + chunk:
                        found.append(member.filename)
                        break
                    tail = chunk[-len(place) :]
    return found


def build_wheel(job: Job, container: str) -> None:
    """The PEP 517 build of one wheel, which appears in the container's ``dist``.

    In an environment made natively, or, where that cannot be had, in one that the container makes itself.

    Raises:
        BuildError: the backend failed.
    """
    if _build_in_environment(job, container):
        return
    run = job.run
    step = build_step(job.target, run.config, job.workshop.environment, run.supply.places(container))
    with job.session.progress.step(step.title):
        job.session.execute(container, step, job.log)


def _build_in_environment(job: Job, container: str) -> bool:
    """Whether it was built so."""
    run, session, system = job.run, job.session, job.run.host.build_system
    if run.supply.environments is None or system is None or (job.workshop.emulated and run.config.accel != "full"):
        return False
    requires = system.requires
    for _ in range(ROUNDS):
        wanted = Wanted(
            target=job.target,
            requires=requires,
            index=run.host.index,
            ca_bundle=run.host.ca_bundle,
            log=run.host.logs / f"{job.target.identifier}-environment.log",
            generators=job.workshop.emulated and generates(system.requires),
        )
        environment = obtain(session, run.supply.environments, wanted)
        if environment is None:
            return False
        hand_over(session, container, environment.tar)
        commands = {"build": hooks_argv(system, requires)}
        if environment.left:
            install = install_argv(job.target, environment.left)
            commands = {f"install {', '.join(environment.left)}": install, **commands}
        *before, build = environment_steps(job.target, run.config, job.workshop.environment, HOME, commands)
        for step in before:
            with session.progress.step(step.title):
                session.execute(container, step, job.log)
        with session.progress.step(build.title):
            more = _run_hooks(job, container, build)
        if more == ():
            return True
        if more is None:
            return False
        requires = (*requires, *more)
    return False


def _run_hooks(job: Job, container: str, step: Step) -> tuple[str, ...] | None:
    """What the backend wants besides; nothing when the wheel is there; None when it says so in no way we know."""
    session = job.session
    status = session.attempt(container, step, job.log)
    if status == WANTS_MORE:
        stream = session.engine.get(container, ANSWER)
        more = parse_answer(only_file(b"".join(stream))) if stream is not None else None
        return more or None
    if status:
        raise session.failed(step, job.log, status)
    return ()
