"""The main job: a plan's targets, one after the other, from source tree to proven wheel."""

from __future__ import annotations

import errno
import io
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.builds.compile import OURS, Job, build_wheel, named_in, prepare
from musllinux_build.builds.floor import Floor, Site, sites_for
from musllinux_build.builds.prove import Proof, Stock, prove, stock_with_interpreter, try_here
from musllinux_build.builds.reuse import finished_before, keep, kept_wheel, reused
from musllinux_build.builds.schedule import Group, Schedule, Turn, grouped
from musllinux_build.builds.session import Log
from musllinux_build.builds.workshop import (
    Host,
    Run,
    Workshop,
    build_container,
    leave_container,
    read_fallbacks,
)
from musllinux_build.errors import (
    DiskFullError,
    ImageError,
    InterruptedBuildError,
    MusllinuxBuildError,
    PureProjectError,
    TerminatedError,
    UsageError,
    VerifyError,
    WheelCountError,
    WheelError,
)
from musllinux_build.plaintext import plain_line
from musllinux_build.plan import Plan, Target
from musllinux_build.ports import ImageInfo
from musllinux_build.report import NOT_PROVEN, BuiltWheel, Outcome, Report, human_size, told_fallbacks
from musllinux_build.staging import claimed
from musllinux_build.times import weigh
from musllinux_build.toolchain import DEFAULT_PATH

MAXIMUM_WHEEL_BYTES = 2 << 30


def build_all(run: Run | Sequence[Site], plan: Plan) -> Report:
    """Every target's outcome. Failures are outcomes; signals end the run after cleaning up.

    ``run`` is one engine's, or there are several of the same run. What earlier runs have finished comes first and costs
    no container. A project that turns out to be pure Python is so for every target: the rest is not reached.
    """
    sites = (
        (Site(run=run, native=run.session.engine.info().arch, slots=run.host.jobs),) if isinstance(run, Run) else run
    )
    host = sites[0].run.host
    groups = [Group(targets=targets) for targets in grouped(plan.targets)]
    outcomes: dict[Target, Outcome] = {}
    for group in groups:
        group.outcomes.update(finished_before(sites_for(sites, group.targets[0].arch)[0].run, group.targets))
        outcomes |= group.outcomes
    floor = Floor(sites=sites, make=_outcome, explain=lambda error: _explained(error, host), several=host.jobs > 1)

    def told(outcome: Outcome) -> None:
        outcomes[outcome.target] = outcome

    schedule = Schedule(
        make=floor.outcome,
        able=floor.able,
        last=lambda outcome: bool(outcome.error) and (host.fail_fast or isinstance(outcome.error, PureProjectError)),
        abandon=floor.abandon,
        slots=[site.slots for site in sites],
        weights=dict(zip(plan.targets, weigh(plan.targets, host.times), strict=True)),
    )

    schedule.run(groups, told)
    return Report(plan=plan, outcomes=tuple(outcomes[target] for target in plan.targets if target in outcomes))


def _outcome(run: Run, turn: Turn, workshop: Workshop) -> Outcome:
    started, target = time.monotonic(), turn.target
    kept = kept_wheel(run, target, workshop.image)
    earlier = turn.settle(kept.path.name) if kept is not None else turn.serving()
    if kept is not None and (outcome := reused(run, target, kept, earlier)) is not None:
        return outcome
    wheel: BuiltWheel | None = None
    failure: MusllinuxBuildError | None = None
    path = run.host.logs / f"{target.identifier}.log"
    try:
        _check_python(workshop.image, target)
        with closing(Log(path, target.identifier)) as log:
            run.session.progress.note(f"{target.identifier}  (log: {path})")
            job = Job(run=run, target=target, workshop=workshop, log=log)
            if earlier is None:
                wheel, earlier = _build_one(job, turn.settle)
            else:
                wheel = _prove_again(job, earlier)
            keep(run, target, workshop.image, wheel)
    except (MusllinuxBuildError, OSError) as error:
        failure = _explained(error, run.host)
    return Outcome(
        target=target,
        seconds=time.monotonic() - started,
        wheel=wheel,
        error=failure,
        log=path,
        same_as=earlier.path.name if earlier and wheel else "",
    )


def _check_python(image: ImageInfo, target: Target) -> None:
    """The plan knows what the lock has; an older image may lack it."""
    if image.pythons and target.python not in image.pythons:
        raise ImageError(
            f"the image has no Python {target.python.version}, only {', '.join(image.versions.values())}",
            resolution="Get or build a newer one: --pull always",
        )


def _prove_again(job: Job, earlier: BuiltWheel) -> BuiltWheel:
    """The wheel that is already there, proven with one more Python."""
    job.session.progress.note(f"{earlier.path.name} serves this Python too")
    return replace(earlier, proven=_prove(job, earlier.path))


def _explained(error: MusllinuxBuildError | OSError, host: Host) -> MusllinuxBuildError:
    """The error as an outcome; a signal is none, and is raised again."""
    if isinstance(error, (InterruptedBuildError, TerminatedError)):
        raise error
    if isinstance(error, MusllinuxBuildError):
        return error
    brief = f"cannot write {error.filename or host.output}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(brief, resolution="Free some space there, or choose another --output.")
    return UsageError(brief, resolution="Choose another --output, or another XDG_CACHE_HOME.")


def _build_one(job: Job, settle: Callable[[str], BuiltWheel | None]) -> tuple[BuiltWheel, BuiltWheel | None]:
    """The wheel, and the earlier one that was taken in its place."""
    run, session, output = job.run, job.session, job.run.host.output
    output.mkdir(parents=True, exist_ok=True)
    # Beside the finished wheels, so that the last step is one rename on one file system.
    with claimed(output) as directory:
        with build_container(run, job.target, job.workshop) as container:
            prepare(job, container)
            build_wheel(job, container)
            with session.progress.step("copy the wheel out"):
                leave_container(run, job.workshop, container)
                raw = _collect(job, container, directory)
                fallbacks = read_fallbacks(run, container)
                session.engine.stop(container)
            with session.progress.step("audit, graft and tag"):
                repaired = _repair(job, raw, directory / "repaired", container)
        if (other := settle(repaired.path.name)) is not None:
            return _prove_again(job, other), other
        if leaked := ", ".join(map(plain_line, named_in(repaired.path))):
            session.progress.warn(f"{repaired.path.name} names {OURS.decode()}, where its compiler was, in: {leaked}")
        if fallbacks:
            session.progress.note(f"{job.target.identifier}: {told_fallbacks(fallbacks)}")
        for graft in repaired.grafts:
            session.progress.note(f"grafted {graft.source_path} as {graft.new_name}")
        proven = _prove(job, repaired.path)
        final = output / repaired.path.name
        repaired.path.replace(final)
    wheel = BuiltWheel(
        path=final,
        size=repaired.size,
        sha256=repaired.sha256,
        floor=str(repaired.floor),
        grafted=tuple(graft.new_name for graft in repaired.grafts),
        proven=proven,
        caveat=_caveat(run),
        fallbacks=fallbacks,
        emulated=job.workshop.emulated,
    )
    return wheel, None


def _collect(job: Job, container: str, directory: Path) -> Path:
    """Copy the one wheel out at once; nothing else leaves the container."""
    stream = job.session.engine.get(container, job.run.supply.places(container).dist)
    wheels = _wheels_in(stream) if stream is not None else {}
    if len(wheels) != 1:
        found = ", ".join(map(repr, sorted(wheels))) or "none"
        raise WheelCountError(
            f"the build of {job.target.identifier} made {len(wheels)} wheels ({found})",
            resolution="The PEP 517 backend must put exactly one wheel into the directory it is given.",
        )
    ((name, content),) = wheels.items()
    path = directory / name
    path.write_bytes(content)
    return path


def _wheels_in(stream: Iterable[bytes]) -> Mapping[str, bytes]:
    """Regular files named like wheels, directly in the copied directory; everything else is left in the container.

    Raises:
        WheelError: there is more than any wheel has.
    """
    archive = io.BytesIO()
    for chunk in stream:
        if archive.tell() + len(chunk) > MAXIMUM_WHEEL_BYTES:
            raise WheelError(
                f"the build left more than {human_size(MAXIMUM_WHEEL_BYTES)} in its output directory",
                resolution="Indexes take no such wheel; look at what the backend puts there.",
            )
        archive.write(chunk)
    archive.seek(0)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for member in tar:
            _, _, name = member.name.partition("/")
            fits = member.isreg() and "/" not in name and name.isprintable()
            content = tar.extractfile(member) if fits and name.endswith(".whl") else None
            if content is not None:
                found[name] = content.read()
    return found


def _repair(job: Job, raw: Path, directory: Path, container: str) -> RepairReport:
    directory.mkdir()
    return repair_wheel(
        raw,
        directory,
        policy=job.target.policy,
        arch=job.target.arch,
        sysroot=job.run.supply.sysroot(container),
        patcher=job.run.supply.patcher,
    )


def _prove(job: Job, wheel: Path) -> tuple[str, ...]:
    """The stock releases that the wheel was proven on: none where none is to be had."""
    run = job.run
    if not run.config.verify:
        job.session.progress.warn(f"{wheel.name}: not verified, as asked")
        return ()
    stocks = _stocks(job)
    proof = Proof(
        session=job.session,
        target=job.target,
        config=run.config,
        logs=run.host.logs,
        source=run.host.source,
        environment={**job.workshop.environment, "PATH": DEFAULT_PATH},
        ca_bundle=run.host.ca_bundle,
    )
    try:
        if stocks:
            return prove(proof, wheel, stocks)
        try_here(proof, wheel, job.workshop.start, run.supply.places)
    except VerifyError as error:
        kept = run.host.logs / wheel.name
        kept.write_bytes(wheel.read_bytes())
        resolution = f"{error.resolution}\nThe wheel is kept as {kept}"
        raise VerifyError(error.brief, details=error.details, resolution=resolution) from error
    return ()


def _stocks(job: Job) -> Mapping[str, str]:
    """Release to image, of those that frame the policy's promise."""
    target, obtain, stocks = job.target, job.run.supply.stock, dict[str, str]()
    if obtain is None:
        return stocks
    for release in dict.fromkeys((target.policy.row.base, target.policy.row.newest)):
        stock = Stock(release=release, image=obtain(release, target.arch))
        stocks[release] = stock_with_interpreter(job.session, target, job.workshop.image, stock)
    return stocks


def _caveat(run: Run) -> str:
    """What the report says beside a wheel that no stock Alpine has seen, because there is none."""
    if run.supply.stock is not None:
        return ""
    done = "verified in a fresh environment inside the image" if run.config.verify else "not verified"
    return f"{done}; {NOT_PROVEN}"
