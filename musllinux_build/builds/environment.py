"""Build environments: what a project's backend needs, resolved and unpacked natively and handed to the container.

Installing setuptools and Cython takes an emulated pip half a minute. A native container of our image has the same
interpreter; its pip takes the wheels of the other architecture, and its compiler makes the same byte code. No file of
the project is in that container, no source distribution is built there, and what comes out is kept as a tar that only
containers unpack. What has no wheel is built in a foreign container, without the project too, and kept as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import CA_BUNDLE, IN_CONTAINER, Step, base_environment
from musllinux_build.builds.volumes import DataVolume
from musllinux_build.buildsystem import BuildSystem, applicable
from musllinux_build.errors import FetchError, ImageError
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.tarstream import CHUNK, only_file, read_at_most, tar_of

HOME = f"{IN_CONTAINER.work}/env"
"""Where a build container has its environment."""

WANTS_MORE = 77
"""The status of ``run_hooks.py`` when the backend has asked for more."""

ANSWER = f"{IN_CONTAINER.work}/answer.json"
LEFT = f"{IN_CONTAINER.work}/left.json"
"""What ``resolve.py`` found no wheel for."""
INSIDE = Path(__file__).with_name("inside")
SCRIPTS = ("resolve.py", "native_cython.py", "answers_as.py")
ASKING_THE_KERNEL = frozenset(
    {
        *("cmake", "maturin", "numpy", "oldest-supported-numpy", "scikit-build", "scikit-build-core"),
        *("scipy", "setuptools-rust"),
    }
)
"""What is not built with on a native interpreter: it does not ask the interpreter what it builds for."""
FIRST_MUSL = (3, 11)
"""The first CPython whose suffixes name musl."""
NATIVE_MOUNT = "/opt/musllinux-build/python"
"""Where a foreign container has a native interpreter of the same release, read-only."""
MOST_BYTES = 16 << 20
"""An answer out of a container is not longer: whoever wrote it is not trusted."""
FRESH_SECONDS = 24 * 3600
"""How long what an index gave is taken for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """Where environments are made and kept: ``native`` is the image of the engine's architecture for a policy."""

    directory: Path
    native: Callable[[Policy], ImageInfo]
    interpreter: Callable[[Policy, PythonTag], str]
    """The volume with a native interpreter for containers of other architectures."""
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The environment of one target: what is in it, and whose index it comes from.

    With ``generators`` those run on the native interpreter that the container has; with ``native`` all of it does, and
    answers as the target's. With ``programs`` what is one program, such as ninja, is native, because the container has
    a loader for it.
    """

    target: Target
    requires: tuple[str, ...]
    index: Mapping[str, str]
    ca_bundle: bytes
    log: Path
    generators: bool = False
    programs: bool = False
    native: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """``tar`` has ``env/`` at its top; ``left`` are the requirements that the container has to install into it."""

    tar: Path
    left: tuple[str, ...]


def obtain(session: Session, environments: Environments, wanted: Wanted) -> Environment | None:
    """The environment; None when nothing of it can be made natively, also for want of the native image.

    Raises:
        EngineError: the engine is not to be had.
        OSError: it cannot be kept.
    """
    target = wanted.target
    requires = applicable(wanted.requires, target.arch, target.python)
    if requires is None:
        return None
    try:
        native = environments.native(target.policy)
    except (ImageError, FetchError) as error:
        session.progress.note(f"the container makes its own build environment: {error.brief}")
        return None
    path = environments.directory / f"{_key(wanted, requires, native)}.tar"
    if fresh(environments, path):
        left = parse_answer(_beside(path).read_bytes() if _beside(path).exists() else None)
        if left is not None:
            return Environment(tar=path, left=left)
    with session.progress.step(f"build environment ({', '.join(requires) or 'nothing'})"):
        return _make(session, wanted, requires, native, path)


def completed(environments: Environments, environment: Environment, start: str, facts: Sequence[object]) -> Path:
    """Where the environment is kept with what had no wheel, built in containers of ``start`` under these ``facts``."""
    key = hashlib.sha256(json.dumps([environment.tar.stem, environment.left, start, *facts]).encode()).hexdigest()[:32]
    return environments.directory / f"{key}.tar"


def fresh(environments: Environments, tar: Path) -> bool:
    """Whether it is there, and not older than an index's answer may be."""
    return tar.exists() and 0 <= environments.now() - tar.stat().st_mtime < FRESH_SECONDS


def expire(directory: Path, now: float) -> list[Path]:
    """Remove what has not been taken for an index's answer for a whole day more; what was removed.

    Raises:
        OSError: it cannot be removed.
    """
    gone = [path for path in directory.glob("*") if now - path.stat().st_mtime > 2 * FRESH_SECONDS]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def take(session: Session, container: str, tar: Path) -> bool:
    """Keep the environment that a container has; False when it has none."""
    stream = session.engine.get(container, HOME)
    if stream is not None:
        _write(tar, stream, session.run)
    return stream is not None


def _beside(tar: Path) -> Path:
    return tar.with_suffix(".json")


def _make(
    session: Session, wanted: Wanted, requires: Sequence[str], native: ImageInfo, path: Path
) -> Environment | None:
    assert native.arch is not None
    spec = ContainerSpec(image=native.id, platform=native.arch.oci_platform, purpose="environment")
    log = Log(wanted.log, f"build environment of {wanted.target.identifier}")
    with closing(log), session.container(spec) as container:
        files = {name: (INSIDE / name).read_bytes() for name in SCRIPTS}
        files[Path(CA_BUNDLE).name] = wanted.ca_bundle
        session.check(container, ["mkdir", "-p", IN_CONTAINER.work])
        session.engine.put(container, IN_CONTAINER.work, [tar_of(files)])
        step = _resolve_step(wanted, requires, native)
        if session.attempt(container, step, log):
            session.progress.note(f"the build environment is made under emulation ({wanted.log} says why)")
            return None
        session.engine.stop(container)
        answer = session.engine.get(container, LEFT)
        left = read_answer(answer)
        stream = session.engine.get(container, HOME)
        if stream is None or left is None:
            return None
        if left:
            session.progress.note(f"no wheel for {', '.join(left)}: built in a container")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The list goes first: a tar without one is made again.
        _write(_beside(path), [json.dumps(left).encode()], session.run)
        _write(path, stream, session.run)
    return Environment(tar=path, left=left)


def _write(path: Path, chunks: Iterable[bytes], word: str) -> None:
    partial = path.with_name(f".{path.name}.{word}")
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _resolve_step(wanted: Wanted, requires: Sequence[str], native: ImageInfo) -> Step:
    target = wanted.target
    python = target.python
    asked = {
        "place": HOME,
        "home": HOME,
        "prefix": NATIVE_MOUNT if wanted.native else python.prefix,
        "library": _library(python),
        "platforms": [] if wanted.native else platforms(target),
        "target": _answers(target, native) if wanted.native else None,
        "requirements": list(requires),
        "left": LEFT,
        "generators": wanted.generators,
        "programs": wanted.programs,
        "native_python": f"{NATIVE_MOUNT}/bin/python3",
    }
    argv = (f"{python.prefix}/bin/python", f"{IN_CONTAINER.work}/resolve.py", json.dumps(asked))
    env = base_environment(native.env, wanted.index, with_ca=bool(wanted.ca_bundle))
    return Step(title="build environment", argv=argv, env=env, cwd=IN_CONTAINER.work)


def _library(python: PythonTag) -> str:
    """The name of its directory below ``lib``."""
    return f"python{python.version}{'t' if python.free_threaded else ''}"


def _answers(target: Target, native: ImageInfo) -> Mapping[str, str]:
    """What ``answers_as.py`` answers: the images of a policy have the same releases."""
    return {
        "machine": target.arch.row.uname,
        "multiarch": target.arch.row.multiarch,
        "home": interpreter_home(native, target.python),
        "library": _library(target.python),
    }


def native_refusal(requires: Sequence[str], target: Target, engine: Arch) -> str:
    """Why a project is not built on a native interpreter that answers as the target's; empty when it may be tried."""
    elf, own = target.arch.row.elf, engine.row.elf
    if (elf.bits, elf.order) != (own.bits, own.order):
        return f"{target.arch.value} has another word size or byte order than {engine.value}"
    if (target.python.major, target.python.minor) < FIRST_MUSL:
        return f"Python {target.python.version} does not know its platform by name"
    for text in requires:
        name = re.split(r"[^A-Za-z0-9_.-]", text.strip(), maxsplit=1)[0].lower().replace("_", "-")
        if name in ASKING_THE_KERNEL:
            return f"{name} asks the kernel, or has libraries of the machine that it runs on"
    return ""


def platforms(target: Target) -> list[str]:
    """The platform tags that a target installs, the best first (PEP 656)."""
    _, minor = target.policy.row.series
    tags = [f"musllinux_1_{lower}_{target.arch.value}" for lower in range(minor, -1, -1)]
    return [*tags, f"linux_{target.arch.value}"]


def _key(wanted: Wanted, requires: Sequence[str], native: ImageInfo) -> str:
    scripts = [hashlib.sha256((INSIDE / name).read_bytes()).hexdigest() for name in SCRIPTS]
    target, index = wanted.target, sorted(wanted.index.items())
    how = [wanted.generators, wanted.programs, wanted.native]
    facts = [list(requires), platforms(target), str(target.python), index, native.id, scripts, how]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def interpreter_home(image: ImageInfo, python: PythonTag) -> str:
    """The directory of an interpreter in an image.

    Raises:
        ImageError: the image does not have it.
    """
    version = image.versions.get(python)
    if version is None:
        raise ImageError(f"the image of {image.architecture} has no Python {python.version}")
    return f"/opt/_internal/cpython-{version.rstrip('t')}{'-nogil' if python.free_threaded else ''}"


def interpreter_volume(native: ImageInfo, python: PythonTag) -> DataVolume:
    """The volume with an interpreter of a native image, to be mounted at NATIVE_MOUNT: it finds its files from there.

    Raises:
        ImageError: the image does not have it.
    """
    home = interpreter_home(native, python)
    assert native.arch is not None
    digest = native.id.removeprefix("sha256:")[:16]
    return DataVolume(
        what="python",
        name=f"musllinux-build-python-{python}-{digest}",
        image=native.id,
        platform=native.arch.oci_platform,
        mount=home,
        command=(f"{home}/bin/python3", "-V"),
        expected=("bin/python3", f"lib/{_library(python)}/os.py"),
    )


def hand_over(session: Session, container: str, tar: Path) -> None:
    """Put an environment into a build container, in place of one that is there."""
    session.check(container, ["rm", "-rf", HOME])
    session.engine.put(container, IN_CONTAINER.work, _chunks(tar))
    session.engine.put(container, IN_CONTAINER.work, [tar_of({"run_hooks.py": (INSIDE / "run_hooks.py").read_bytes()})])


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def install_argv(target: Target, left: Sequence[str]) -> tuple[str, ...]:
    """The command that installs into the environment what has no wheel, from source."""
    pip = (f"{target.python.prefix}/bin/python", "-m", "pip", "--python", f"{HOME}/bin/python", "install")
    return (*pip, "--no-cache-dir", "--", *left)


def hooks_argv(
    system: BuildSystem, known: Sequence[str], settings: Mapping[str, tuple[str, ...]], machine: str = ""
) -> tuple[str, ...]:
    """The command that builds the wheel in an environment that has ``known``; one not for ``machine`` is a failure.

    A setting with one value is a string to the backend, with several a list, as ``python -m build`` has it.
    """
    asked = {
        "settings": {key: values[0] if len(values) == 1 else list(values) for key, values in settings.items()},
        "backend": system.backend,
        "paths": list(system.paths),
        "known": list(known),
        "answer": ANSWER,
        "dist": IN_CONTAINER.dist,
        "machine": machine,
    }
    return (f"{HOME}/bin/python", f"{IN_CONTAINER.work}/run_hooks.py", json.dumps(asked))


def read_answer(stream: Iterable[bytes] | None) -> tuple[str, ...] | None:
    """The list in a file that was copied out of a container; None for what is none."""
    archive = read_at_most(stream, MOST_BYTES) if stream is not None else None
    return parse_answer(only_file(archive)) if archive is not None else None


def parse_answer(content: bytes | None) -> tuple[str, ...] | None:
    """What the backend has asked for; None for what is no list of texts: a project's code has written it."""
    try:
        found = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return tuple(found) if isinstance(found, list) and all(isinstance(item, str) for item in found) else None
