"""What every wheel of one architecture and policy starts from: the image, the compilers, and what before-all left."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from musllinux_build.arch import Arch
from musllinux_build.audit.apply import Patcher
from musllinux_build.builds.environment import MOST_BYTES, NATIVE_MOUNT, Environments
from musllinux_build.builds.finished import Reuse
from musllinux_build.builds.repository import RepositoryDirectory
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import CA_BUNDLE, FALLBACKS, IN_CONTAINER, Places, base_environment, before_all_step
from musllinux_build.buildsystem import BuildSystem, generates
from musllinux_build.config import Config
from musllinux_build.errors import EmulationError, FetchError, ImageError
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, POLICY_LABEL, ContainerSpec, ImageInfo, Sysroot
from musllinux_build.probe import executes
from musllinux_build.report import human_size
from musllinux_build.scm import PRETEND
from musllinux_build.tarstream import only_file, read_at_most, tar_of
from musllinux_build.toolchain import DEFAULT_PATH, TOOLCHAIN_MOUNT, path_with_toolchain
from musllinux_build.userland import USERLAND_MOUNT, Userland, enter, leave, path_with_userland

# The only scripts whose result cannot depend on the project's files: packages by name, no path, no variable.
_PACKAGES = r"apk +(?:add|update)(?: +(?:--no-cache|-U|[A-Za-z0-9][\w.+@~=<>-]*))*"
# A word with .apk is a file to apk.
_APK_ONLY = re.compile(rf"(?!(?s:.*)\.apk)\s*{_PACKAGES}\s*(?:(?:&&|;|\n)\s*{_PACKAGES}\s*)*;?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the machine gives to a run, gathered once at the edge."""

    source: bytes
    index: Mapping[str, str]
    ca_bundle: bytes
    output: Path
    logs: Path
    fail_fast: bool = False
    jobs: int = 1
    """How many wheels are made at once."""
    times: Mapping[str, float] = field(default_factory=dict)
    """What this machine remembers of how long they took."""
    build_system: BuildSystem | None = None
    """Without one the container's own frontend finds out what the project wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """How images and the toolchain are had; each function may take minutes and reports its own steps."""

    image: Callable[[Policy, Arch], ImageInfo]
    stock: Callable[[str, Arch], ImageInfo] | None
    """None where no other root than the image's own is to be had: wheels are then tried in a fresh environment."""
    toolchain: Callable[[], str] | None
    """The name of the volume with the native compilers; None for the image's own compilers."""
    apk_mirror: Callable[[Policy, Arch], RepositoryDirectory | None]
    """A local package repository for ``before-all``, None when the image's own repositories are used."""
    patcher: Patcher
    sysroot: Callable[[str], Sysroot]
    userland: Callable[[Policy], Userland] | None = None
    """The native userland for containers of a policy's Alpine; None where every program is native."""
    environments: Environments | None = None
    """Where build environments are made natively; None where each container makes its own."""
    places: Callable[[str], Places] = lambda _: IN_CONTAINER
    """Where a container has project and work."""
    reuse: Reuse | None = None
    """Finished wheels of earlier runs; None where nothing says what a wheel was made from, or none are kept."""
    used: Callable[[str], None] = lambda _: None
    """Is told which kept image a run uses, so that those that no run uses any more can go."""


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
    ``toolchain`` the volume with the native compilers, "" for its own. ``environment`` is what builds get.
    ``userland`` is there where everything else would be emulated.
    """

    image: ImageInfo
    start: str
    toolchain: str
    environment: Mapping[str, str]
    userland: Userland | None = None
    emulated: bool = False

    @property
    def volumes(self) -> Mapping[str, str]:
        """Volumes of a build container, and where they are mounted."""
        mounts = {self.toolchain: TOOLCHAIN_MOUNT} if self.toolchain else {}
        return {**mounts, **({self.userland.volume: USERLAND_MOUNT} if self.userland is not None else {})}


def open_workshop(run: Run, target: Target) -> Workshop:
    """Everything up to the first wheel of ``target``'s architecture and policy.

    Raises:
        EmulationError: the engine does not execute the architecture.
        ImageError: the image is not to be had, or not what it should be.
        BuildError: ``before-all`` failed.
    """
    arch, policy, session = target.arch, target.policy, run.session
    native = session.engine.info().arch
    emulated = native is not None and not arch.runs_natively_on(native)
    if arch is not native:
        _require_emulation(session, arch)
    with session.progress.step(f"image {policy.platform_tag(arch)}"):
        image = run.supply.image(policy, arch)
        _check_architecture(image, policy, arch)
    environment = dict(base_environment(image.env, run.host.index, with_ca=bool(run.host.ca_bundle)))
    environment["PATH"] = environment.get("PATH") or DEFAULT_PATH
    userland = _userland(run, policy) if emulated and run.config.accel in ("full", "python") else None
    if userland is not None:
        environment["PATH"] = path_with_userland(environment["PATH"])
    toolchain = ""
    unwanted = run.config.compiler == "gcc" or (emulated and run.config.accel == "off")
    if run.supply.toolchain is not None and not unwanted:
        with session.progress.step("native compilers"):
            toolchain = run.supply.toolchain()
        environment["PATH"] = path_with_toolchain(arch, environment["PATH"])
        if run.config.compiler == "auto":
            environment["MUSLLINUX_BUILD_FALLBACKS"] = FALLBACKS
    workshop = Workshop(
        image=image,
        start=image.id,
        toolchain=toolchain,
        environment=MappingProxyType(environment),
        userland=userland,
        emulated=emulated,
    )
    if run.config.before_all:
        workshop = replace(workshop, start=_before_all(run, target, workshop))
    return workshop


def _userland(run: Run, policy: Policy) -> Userland | None:
    """What makes a foreign container fast; without it the same is built, slowly."""
    if run.supply.userland is None:
        return None
    with run.session.progress.step("native userland"):
        try:
            return run.supply.userland(policy)
        except (ImageError, FetchError) as error:
            run.session.progress.warn(f"no native userland, scripts are emulated: {error.brief}")
            return None


def _require_emulation(session: Session, arch: Arch) -> None:
    with session.progress.step(f"check that {arch.value} runs here"):
        if not executes(session, arch):
            raise EmulationError(
                f"the engine's kernel does not execute {arch.value}",
                resolution="Register qemu-user with binfmt, as root on Debian or Ubuntu: musllinux-build doctor --fix",
            )


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
    mirror = run.supply.apk_mirror(target.policy, target.arch)
    tag = f"musllinux-build/before-all:{_before_all_key(run, workshop, mirror)}"
    run.supply.used(tag)
    if session.engine.image(tag) is not None:
        session.progress.note("before-all: kept from an earlier run")
        return tag
    log = Log(run.host.logs / f"before-all-{target.policy.platform_tag(target.arch)}.log", "before-all")
    with closing(log), build_container(run, target, workshop) as container, session.progress.step("before-all"):
        if mirror is not None:
            session.engine.put(container, "/", mirror.tar())
            session.check(container, ["/bin/sh", "-ec", mirror.enter])
        places = run.supply.places(container)
        session.execute(container, before_all_step(target, run.config, workshop.environment, places), log)
        leave_container(run, workshop, container)
        session.check(container, ["/bin/sh", "-c", f"rm -rf {places.project} {places.work}"])
        if mirror is not None:
            session.check(container, ["/bin/sh", "-ec", mirror.leave])
        session.engine.stop(container)
        session.engine.commit(container, tag, {LABEL: "before-all"})
    return tag


def _before_all_key(run: Run, workshop: Workshop, mirror: RepositoryDirectory | None) -> str:
    """A script that only installs packages gives the same whatever the project's files, its version or an index say."""
    script, config = run.config.before_all, run.config
    packages = mirror.digest if mirror else ""
    userland = workshop.userland.volume if workshop.userland else ""
    if _APK_ONLY.fullmatch(script):
        facts = [workshop.image.id, script, sorted(lasting(config.environment).items()), userland, packages]
    else:
        source, index = hashlib.sha256(run.host.source).hexdigest(), sorted(run.host.index.items())
        variables = sorted(config.environment.items())
        facts = [workshop.image.id, script, variables, userland, packages]
        facts += [workshop.toolchain, config.compiler, source, index]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables without the version that is found for each commit anew (setuptools-scm)."""
    return {name: value for name, value in environment.items() if not name.startswith(PRETEND)}


@contextmanager
def build_container(run: Run, target: Target, workshop: Workshop) -> Iterator[str]:
    """A container of the start image with the compilers mounted and a fresh source tree."""
    volumes = _native_interpreter(run, target, workshop)
    with bare_container(run, target, workshop, "build", volumes) as container:
        with run.session.progress.step(f"copy the source in ({human_size(len(run.host.source))})"):
            run.session.engine.put(container, run.supply.places(container).project, _pieces(run.host.source))
        yield container


@contextmanager
def bare_container(
    run: Run, target: Target, workshop: Workshop, purpose: str, volumes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """The same without the source: its directory is empty."""
    spec = ContainerSpec(
        image=workshop.start,
        platform=target.arch.oci_platform,
        purpose=purpose,
        volumes={**workshop.volumes, **volumes},
    )
    with run.session.container(spec) as container:
        engine, places = run.session.engine, run.supply.places(container)
        run.session.check(container, ["mkdir", "-p", places.project, places.dist])
        if run.host.ca_bundle:
            engine.put(container, places.work, [tar_of({Path(CA_BUNDLE).name: run.host.ca_bundle})])
        if workshop.userland is not None:
            enter(engine, container, workshop.userland)
        yield container


def _native_interpreter(run: Run, target: Target, workshop: Workshop) -> Mapping[str, str]:
    """A volume with a native interpreter where a generator of sources (native_cython.py) or the build runs on it."""
    system, environments = run.host.build_system, run.supply.environments
    if workshop.userland is None or environments is None or system is None:
        return {}
    if run.config.accel != "python" and not generates(system.requires):
        return {}
    try:
        return {environments.interpreter(target.policy, target.python): NATIVE_MOUNT}
    except (ImageError, FetchError) as error:
        run.session.progress.note(f"{target.identifier} is built on an emulated interpreter: {error.brief}")
        return {}


def renew_source(run: Run, container: str) -> None:
    """Give a build container the source tree as it was, and take away what was noted about it."""
    places = run.supply.places(container)
    run.session.check(container, ["rm", "-rf", places.project, places.dist, FALLBACKS])
    run.session.check(container, ["mkdir", "-p", places.project, places.dist])
    run.session.engine.put(container, places.project, _pieces(run.host.source))


def leave_container(run: Run, workshop: Workshop, container: str) -> None:
    """Nothing of ours is in a running container any more but its volumes: its files can be kept or read."""
    if workshop.userland is not None:
        leave(run.session, container, workshop.userland)


def read_fallbacks(run: Run, container: str) -> tuple[tuple[str, str], ...]:
    """What the image's own compiler did in place of the native one: reason and source file, in order."""
    stream = run.session.engine.get(container, FALLBACKS)
    archive = read_at_most(stream, MOST_BYTES) if stream is not None else None
    content = only_file(archive) if archive is not None else None
    lines = (content or b"").decode(errors="replace").splitlines()
    return tuple((reason, source) for reason, tab, source in (line.partition("\t") for line in lines) if tab)


def _pieces(data: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
