"""From source tree to raw wheel in a build container."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

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
    parse_answer,
    take,
)
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import Step, build_step, environment_steps
from musllinux_build.builds.workshop import Run, Workshop, bare_container, leave_container, renew_source
from musllinux_build.buildsystem import generates
from musllinux_build.errors import BuildError
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
        reason = native_refusal(system, job.target, engine)
    if not reason:
        try:
            if _build_in_environment(job, container, native=True):
                return True
            reason = "its environment is not to be had"
        except BuildError as error:
            reason = error.brief
        renew_source(run, container)
    job.session.progress.note(f"{job.target.identifier} is built on an emulated interpreter: {reason}")
    return False


def _build_in_environment(job: Job, container: str, *, native: bool = False) -> bool:
    """Whether it was built so."""
    run, session, system = job.run, job.session, job.run.host.build_system
    unwanted = job.workshop.emulated and run.config.accel not in ("full", "python")
    if run.supply.environments is None or system is None or unwanted:
        return False
    requires = system.requires
    for _ in range(ROUNDS):
        wanted = Wanted(
            target=job.target,
            requires=requires,
            index=run.host.index,
            ca_bundle=run.host.ca_bundle,
            log=run.host.logs / f"{job.target.identifier}-environment.log",
            generators=job.workshop.emulated and not native and generates(system.requires),
            programs=job.workshop.userland is not None and not native,
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
    facts = [workshop.toolchain, workshop.userland.volume if workshop.userland else "", dict(run.config.environment)]
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
        more = parse_answer(only_file(b"".join(stream))) if stream is not None else None
        return more or None
    if status:
        raise session.failed(step, job.log, status)
    return ()
