"""From source tree to raw wheel in a build container."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.environment import (
    ANSWER,
    HOME,
    WANTS_MORE,
    Environment,
    Environments,
    Wanted,
    completed,
    fresh,
    hand_over,
    hooks_argv,
    install_argv,
    native_refusal,
    obtain,
    read_answer,
    take,
)
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import (
    Step,
    before_build_step,
    build_step,
    environment_steps,
    of_files,
    pip_environment,
)
from musllinux_build.builds.workshop import (
    Run,
    Workshop,
    bare_container,
    lasting,
    leave_container,
    renew_source,
)
from musllinux_build.buildsystem import generates
from musllinux_build.errors import BuildError
from musllinux_build.plan import Target
from musllinux_build.tarstream import CHUNK

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


def prepare(job: Job, container: str) -> None:
    """``before-build``, where there is one.

    Raises:
        BuildError: it failed.
    """
    run = job.run
    if run.config.before_build:
        with job.session.progress.step("before-build"):
            step = before_build_step(job.target, run.config, job.workshop.environment, run.supply.places(container))
            job.session.execute(container, step, job.log)


def build_wheel(job: Job, container: str) -> None:
    """The PEP 517 build of one wheel in a prepared tree; it appears in the container's ``dist``.

    In an environment made natively, or, where that cannot be had, in one that the container makes itself.

    Raises:
        BuildError: the backend failed.
    """
    if job.run.config.accel == "python" and job.workshop.emulated and _build_natively(job, container):
        return
    if _build_in_environment(job, container):
        return
    run = job.run
    step = build_step(job.target, run.config, job.workshop.environment, run.supply.places(container))
    with job.session.progress.step(step.title):
        job.session.execute(container, step, job.log)


def _build_natively(job: Job, container: str) -> bool:
    """Whether it was built on a native interpreter that answers as the target's; if not, why is told."""
    run, system, engine = job.run, job.run.host.build_system, job.session.engine.info().arch
    if system is None or engine is None or job.workshop.userland is None:
        reason = "the container has no native interpreter"
    else:
        reason = native_refusal(system.requires, job.target, engine)
    if not reason and engine is not None:
        try:
            if _build_in_environment(job, container, interpreter=engine):
                return True
            reason = "its environment is not to be had"
        except BuildError as error:
            reason = error.brief
        renew_source(run, container)
        prepare(job, container)
    job.session.progress.note(f"{job.target.identifier} is built on an emulated interpreter: {reason}")
    return False


def _build_in_environment(job: Job, container: str, *, interpreter: Arch | None = None) -> bool:
    """Whether it was built so, with ``interpreter`` on a native one of that architecture.

    Raises:
        BuildError: the backend failed, or asks for what no native interpreter builds with.
    """
    native = interpreter is not None
    run, session, system = job.run, job.session, job.run.host.build_system
    unwanted = job.workshop.emulated and run.config.accel not in ("full", "python")
    if run.supply.environments is None or system is None or unwanted:
        return False
    asked = pip_environment(run.config, job.workshop.environment)
    if others := [name for name in asked if name in (*of_files(asked), "PIP_NO_BINARY")]:
        session.progress.note(f"the container makes its own build environment, because of {', '.join(others)}")
        return False
    # Native programs need one, which the userland brings.
    has_loader = job.workshop.userland is not None
    requires = system.requires
    for _ in range(ROUNDS):
        if interpreter is not None and (reason := native_refusal(requires, job.target, interpreter)):
            raise BuildError(reason)
        wanted = Wanted(
            target=job.target,
            requires=requires,
            index={**run.host.index, **asked},
            ca_bundle=run.host.ca_bundle,
            log=run.host.logs / f"{job.target.identifier}-environment.log",
            generators=has_loader and not native and generates(system.requires),
            programs=has_loader and not native,
            native=native,
        )
        environment = obtain(session, run.supply.environments, wanted)
        if environment is None or (environment.left and native):
            return False
        tar = _complete(job, run.supply.environments, environment) if environment.left else environment.tar
        hand_over(session, container, tar)
        machine = job.target.arch.row.uname if native else ""
        commands = {"build": hooks_argv(system, requires, run.config.config_settings, machine)}
        (build,) = environment_steps(job.target, run.config, job.workshop.environment, HOME, commands)
        with session.progress.step(build.title):
            more = _run_hooks(job, container, build)
        if not more:
            return more is not None
        requires = (*requires, *more)
    return False


def _complete(job: Job, environments: Environments, environment: Environment) -> Path:
    """The environment with what has no wheel, which is built once and kept.

    In a container of its own that has what ``before-all`` left and no file of the project, so that what is kept is what
    the index gave and no later build has written it.
    """
    run, workshop, target = job.run, job.workshop, job.target
    userland = workshop.userland.volume if workshop.userland else ""
    facts = [workshop.toolchain, run.config.compiler, userland, lasting(run.config.environment)]
    kept = completed(environments, environment, workshop.start, facts)
    if fresh(environments, kept):
        return kept
    title = f"install {', '.join(environment.left)}"
    commands = {title: install_argv(target, environment.left)}
    (step,) = environment_steps(target, run.config, workshop.environment, HOME, commands)
    with run.session.progress.step(title), bare_container(run, target, workshop, "requirements") as container:
        hand_over(run.session, container, environment.tar)
        run.session.execute(container, step, job.log)
        leave_container(run, workshop, container)
        run.session.engine.stop(container)
        if not take(run.session, container, kept):
            raise BuildError(f"{title} has removed the build environment", resolution=f"The whole log: {job.log.path}")
    return kept


def _run_hooks(job: Job, container: str, step: Step) -> tuple[str, ...] | None:
    """What the backend wants besides; nothing when the wheel is there; None when it says so in no way we know."""
    session = job.session
    status = session.attempt(container, step, job.log)
    if status == WANTS_MORE:
        stream = session.engine.get(container, ANSWER)
        return read_answer(stream) or None
    if status:
        raise session.failed(step, job.log, status)
    return ()
