"""The main job: a plan's targets, one after the other, from source tree to proven wheel."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.audit.apply import Patcher
from musllinux_build.audit.repair import RepairReport, repair_wheel
from musllinux_build.builds.prove import Proof, Stock, prove, stock_with_interpreter
from musllinux_build.builds.repository import RepositoryDirectory
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import (
    CA_BUNDLE,
    DIST,
    PROJECT,
    WORK,
    base_environment,
    before_all_step,
    build_steps,
)
from musllinux_build.config import Config
from musllinux_build.errors import (
    DiskFullError,
    EmulationError,
    ImageError,
    InterruptedBuildError,
    MusllinuxBuildError,
    PureProjectError,
    TerminatedError,
    UsageError,
    VerifyError,
    WheelCountError,
)
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, ContainerSpec, ImageInfo, Sysroot
from musllinux_build.probe import executes
from musllinux_build.project import tar_of
from musllinux_build.report import BuiltWheel, Outcome, Report
from musllinux_build.toolchain import TOOLCHAIN_MOUNT

MAXIMUM_WHEEL_BYTES = 4 << 30
POLICY_LABEL = "org.musllinux-build.policy"
STOCK_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The only scripts whose result does not depend on the project's files.
_APK_ONLY = re.compile(r"(?:\s*(?:apk\s+(?:add|update)\b[^&;|\n$`(]*)(?:&&|;|\n|$))+\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the machine gives to a run, gathered once at the edge."""

    source: bytes
    index: Mapping[str, str]
    ca_bundle: bytes
    output: Path
    logs: Path
    fail_fast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """How images and the toolchain are had; each function may take minutes and reports its own steps."""

    image: Callable[[Policy, Arch], ImageInfo]
    stock: Callable[[str, Arch], ImageInfo]
    toolchain: Callable[[], str]
    """The name of the volume with the native compilers."""
    apk_mirror: Callable[[Policy, Arch], RepositoryDirectory | None]
    """A local package repository for ``before-all``, None when the image's own repositories are used."""
    patcher: Patcher
    sysroot: Callable[[str], Sysroot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One invocation: the engine's session, what was asked, and what the machine and the network give."""

    session: Session
    config: Config
    host: Host
    supply: Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What all wheels of one architecture and policy start from.

    ``start`` is the image a wheel's container is created from: ``image``, or ``image`` after ``before-all``;
    ``toolchain`` the volume with the native compilers.
    """

    image: ImageInfo
    start: str
    toolchain: str
    environment: Mapping[str, str]


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


def build_all(run: Run, plan: Plan) -> Report:
    """Every target's outcome. Failures are outcomes; signals end the run after cleaning up."""
    outcomes: list[Outcome] = []
    for (arch, policy), group in groupby(plan.targets, key=lambda target: (target.arch, target.policy)):
        targets = tuple(group)
        try:
            workshop = _open_workshop(run, targets[0])
        except MusllinuxBuildError as error:
            _stop_if_asked(error)
            outcomes.extend(Outcome(target=target, seconds=0.0, error=error) for target in targets)
            run.session.progress.warn(f"{policy.platform_tag(arch)}: {error.brief}")
            if run.host.fail_fast:
                break
            continue
        for target in targets:
            outcomes.append(_outcome(run, target, workshop))
            if run.host.fail_fast and outcomes[-1].error:
                return Report(plan=plan, outcomes=tuple(outcomes))
    return Report(plan=plan, outcomes=tuple(outcomes))


def _open_workshop(run: Run, target: Target) -> Workshop:
    arch, policy, session = target.arch, target.policy, run.session
    with session.progress.step(f"check that {arch.value} runs here"):
        if not executes(session, arch):
            raise EmulationError(
                f"the engine's kernel does not execute {arch.value}",
                resolution="Register qemu-user with binfmt, as root on Debian or Ubuntu: musllinux-build doctor --fix",
            )
    with session.progress.step(f"image {policy.platform_tag(arch)}"):
        image = run.supply.image(policy, arch)
        _check_architecture(image, policy, arch)
    with session.progress.step("native compilers"):
        toolchain = run.supply.toolchain()
    environment = base_environment(image.env, run.host.index, with_ca=bool(run.host.ca_bundle))
    workshop = Workshop(image=image, start=image.id, toolchain=toolchain, environment=environment)
    if run.config.before_all:
        workshop = replace(workshop, start=_before_all(run, target, workshop))
    return workshop


def _check_architecture(image: ImageInfo, policy: Policy, arch: Arch) -> None:
    label = image.labels.get(POLICY_LABEL, policy.value)
    if image.arch is not arch or label != policy.value:
        raise ImageError(
            f"the image for {policy.platform_tag(arch)} is of {label} on {image.architecture}{image.variant or ''}",
            resolution="Name an image of the wanted architecture, or let it be built: --pull missing",
        )


def _before_all(run: Run, target: Target, workshop: Workshop) -> str:
    """The image after ``before-all``, kept by what went into it and found again by the next run."""
    session = run.session
    tag = f"musllinux-build/before-all:{_before_all_key(run, workshop)}"
    if session.engine.image(tag) is not None:
        session.progress.note("before-all: kept from an earlier run")
        return tag
    log = Log(run.host.logs / f"before-all-{target.policy.platform_tag(target.arch)}.log", "before-all")
    mirror = run.supply.apk_mirror(target.policy, target.arch)
    with session.progress.step("before-all"), closing(log), _build_container(run, target, workshop) as container:
        if mirror is not None:
            session.engine.put(container, "/", mirror.tar())
            session.engine.run(container, ["/bin/sh", "-ec", mirror.enter])
        session.execute(container, before_all_step(target, run.config, workshop.environment), log)
        session.engine.run(container, ["/bin/sh", "-c", f"rm -rf {PROJECT} {WORK}"])
        if mirror is not None:
            session.engine.run(container, ["/bin/sh", "-ec", mirror.leave])
        session.engine.stop(container)
        session.engine.commit(container, tag, {LABEL: "before-all"})
    return tag


def _before_all_key(run: Run, workshop: Workshop) -> str:
    """A script that only installs packages gives the same whatever the project's files say."""
    script, environment = run.config.before_all, sorted(run.config.environment.items())
    source = "" if _APK_ONLY.fullmatch(script) else hashlib.sha256(run.host.source).hexdigest()
    facts = [workshop.image.id, script, environment, workshop.toolchain, source]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@contextmanager
def _build_container(run: Run, target: Target, workshop: Workshop) -> Iterator[str]:
    """A container of the start image with the compilers mounted and a fresh source tree in PROJECT."""
    spec = ContainerSpec(
        image=workshop.start,
        platform=target.arch.oci_platform,
        purpose="build",
        volumes={workshop.toolchain: TOOLCHAIN_MOUNT},
    )
    with run.session.container(spec) as container:
        engine = run.session.engine
        engine.run(container, ["mkdir", "-p", PROJECT, DIST])
        if run.host.ca_bundle:
            engine.put(container, WORK, [tar_of({Path(CA_BUNDLE).name: run.host.ca_bundle})])
        engine.put(container, PROJECT, _pieces(run.host.source))
        yield container


def _pieces(data: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _outcome(run: Run, target: Target, workshop: Workshop) -> Outcome:
    started = time.monotonic()
    log = Log(run.host.logs / f"{target.identifier}.log", target.identifier)
    run.session.progress.note(f"{target.identifier}  (log: {log.path})")
    wheel: BuiltWheel | None = None
    failure: MusllinuxBuildError | None = None
    with closing(log):
        try:
            wheel = _build_one(Job(run=run, target=target, workshop=workshop, log=log))
        except MusllinuxBuildError as error:
            _stop_if_asked(error)
            failure = error
        except OSError as error:
            failure = _cannot_write(error, run.host.output)
    if failure is not None:
        run.session.progress.warn(f"{target.identifier}: {failure.brief}")
    return Outcome(target=target, seconds=time.monotonic() - started, wheel=wheel, error=failure, log=log.path)


def _cannot_write(error: OSError, output: Path) -> MusllinuxBuildError:
    brief = f"cannot write {error.filename or output}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(brief, resolution="Free some space there, or choose another --output.")
    return UsageError(brief, resolution="Choose another --output.")


def _stop_if_asked(error: MusllinuxBuildError) -> None:
    """A signal is no outcome of one target."""
    if isinstance(error, (InterruptedBuildError, TerminatedError)):
        raise error


def _build_one(job: Job) -> BuiltWheel:
    run, session, output = job.run, job.session, job.run.host.output
    output.mkdir(parents=True, exist_ok=True)
    # Beside the finished wheels, so that the last step is one rename on one file system.
    with tempfile.TemporaryDirectory(prefix=".musllinux-build-", dir=output) as staging:
        directory = Path(staging)
        with _build_container(run, job.target, job.workshop) as container:
            for step in build_steps(job.target, run.config, job.workshop.environment):
                with session.progress.step(step.title):
                    session.execute(container, step, job.log)
            raw = _collect(job, container, directory)
            session.engine.stop(container)
            with session.progress.step("audit, graft and tag"):
                repaired = _repair(job, raw, directory / "repaired", container)
        for graft in repaired.grafts:
            session.progress.note(f"grafted {graft.source_path} as {graft.new_name}")
        proven = _prove(job, repaired.path)
        final = output / repaired.path.name
        repaired.path.replace(final)
    return BuiltWheel(
        path=final,
        size=repaired.size,
        sha256=repaired.sha256,
        floor=str(repaired.floor),
        grafted=tuple(graft.new_name for graft in repaired.grafts),
        proven=proven,
    )


def _collect(job: Job, container: str, directory: Path) -> Path:
    """Copy the one wheel out at once; nothing else leaves the container."""
    stream = job.session.engine.get(container, DIST)
    wheels = _wheels_in(b"".join(stream)) if stream is not None else {}
    if len(wheels) != 1:
        found = ", ".join(sorted(wheels)) or "none"
        raise WheelCountError(
            f"the build of {job.target.identifier} made {len(wheels)} wheels ({found})",
            resolution="The PEP 517 backend must put exactly one wheel into the directory it is given.",
        )
    ((name, content),) = wheels.items()
    if name.endswith("-none-any.whl"):
        raise PureProjectError(
            f"{name}: the project has nothing to compile",
            resolution="Publish this one wheel for every platform; it needs no musllinux build: python -m build",
        )
    path = directory / name
    path.write_bytes(content)
    return path


def _wheels_in(archive: bytes) -> Mapping[str, bytes]:
    """Regular files named like wheels, directly in the copied directory; everything else is left in the container."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            _, _, name = member.name.partition("/")
            fits = member.isreg() and "/" not in name and member.size <= MAXIMUM_WHEEL_BYTES
            stream = tar.extractfile(member) if fits and name.endswith(".whl") else None
            if stream is not None:
                found[name] = stream.read()
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
    run, target = job.run, job.target
    if not run.config.verify:
        job.session.progress.warn(f"{wheel.name}: not verified, as asked")
        return ()
    stocks: dict[str, str] = {}
    for release in dict.fromkeys((target.policy.row.base, target.policy.row.newest)):
        stock = Stock(release=release, image=run.supply.stock(release, target.arch))
        stocks[release] = stock_with_interpreter(job.session, target, job.workshop.image, stock)
    proof = Proof(
        session=job.session,
        target=target,
        config=run.config,
        logs=run.host.logs,
        source=run.host.source,
        environment={**job.workshop.environment, "PATH": STOCK_PATH},
        ca_bundle=run.host.ca_bundle,
    )
    try:
        return prove(proof, wheel, stocks)
    except VerifyError as error:
        kept = run.host.logs / wheel.name
        kept.write_bytes(wheel.read_bytes())
        resolution = f"{error.resolution}\nThe wheel is kept as {kept}"
        raise VerifyError(error.brief, details=error.details, resolution=resolution) from error
