"""Verify: the finished wheel, installed and imported on stock Alpine with the interpreter of our image.

A stock root holds nothing of ours: what the wheel needs it must bring. Two releases frame the promise of PEP 656,
the one with the lowest musl of the series and the newest.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from musllinux_build.builds.session import Log, Session
from musllinux_build.builds.steps import (
    CA_BUNDLE,
    Places,
    Trial,
    fresh_step,
    fresh_trial,
    import_step,
    install_step,
    stock_trial,
    test_step,
)
from musllinux_build.config import Config
from musllinux_build.errors import BuildError, ImageError, VerifyError
from musllinux_build.plan import Target
from musllinux_build.ports import LABEL, ContainerSpec, ImageInfo
from musllinux_build.tarstream import tar_of

INTERNAL = "/opt/_internal"
# Installed modules are imported as a user would; every library is also loaded with all its symbols bound, because a
# package may catch the ImportError of its own extension. That is done as an import does it, holding the GIL (which
# ctypes.CDLL gives up), and in a process that then just ends: constructors of C++ extensions call the interpreter, and
# so do the destructors of one that was opened and never initialised.
_IMPORT_SCRIPT = """
import ctypes, importlib, os, sys, sysconfig, traceback
modules, libraries = {modules!r}, {libraries!r}
for name in modules:
    importlib.import_module(name)

def load():
    process = ctypes.PyDLL(None)
    process.dlopen.restype, process.dlopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    process.dlerror.restype = ctypes.c_char_p
    for name in libraries:
        if not process.dlopen(os.fsencode(os.path.join(sysconfig.get_path("platlib"), name)), os.RTLD_NOW):
            raise OSError(os.fsdecode(process.dlerror()))

child = os.fork()
if not child:
    try:
        load()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
    sys.exit(f"loading the libraries ended with exit status {{status}}; negative: a signal")
print("imported", *modules, "and loaded", len(libraries), "libraries on musl")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A stock Alpine to prove wheels on."""

    release: str
    image: ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a wheel installs that can be imported or loaded; libraries are relative to platlib."""

    modules: tuple[str, ...]
    libraries: tuple[str, ...]


def wheel_contents(names: Sequence[str]) -> Contents:
    """Top-level modules and shared libraries among a wheel's member names (binary distribution format, "spread")."""
    modules: set[str] = set()
    libraries: list[str] = []
    for name in names:
        parts = PurePosixPath(name).parts
        if parts[0].endswith(".data") and len(parts) > 2 and parts[1] in ("purelib", "platlib"):
            parts = parts[2:]
        elif parts[0].endswith((".dist-info", ".data")):
            continue
        if name.endswith(".so"):
            libraries.append("/".join(parts))
        module = parts[0].partition(".")[0] if len(parts) == 1 else parts[0]
        if name.endswith((".py", ".so")) and module.isidentifier() and not module.startswith("__"):
            modules.add(module)
    return Contents(modules=tuple(sorted(modules)), libraries=tuple(sorted(libraries)))


def stock_with_interpreter(session: Session, target: Target, image: ImageInfo, stock: Stock) -> str:
    """A local image: the stock Alpine and, copied in, one interpreter of our image; made once and kept."""
    key = hashlib.sha256(json.dumps([image.id, stock.image.id, str(target.python)]).encode()).hexdigest()[:16]
    tag = f"musllinux-build/stock:{key}"
    engine, platform = session.engine, target.arch.oci_platform
    if engine.image(tag) is not None:
        return tag
    ours = ContainerSpec(image=image.id, platform=platform, purpose="copy", network=False)
    theirs = ContainerSpec(image=stock.image.id, platform=platform, purpose="stock", network=False)
    with session.container(ours) as source, session.container(theirs) as copy:
        found = engine.stat(source, target.python.prefix)
        if found is None or not found.is_link:
            raise ImageError(f"the image has no {target.python.prefix}", resolution="Pull or build it anew.")
        home = posixpath.join(posixpath.dirname(target.python.prefix), found.link_target)
        stream = engine.get(source, posixpath.normpath(home))
        if stream is None:
            raise ImageError(f"the image has no {home}", resolution="Pull or build it anew.")
        session.check(copy, ["mkdir", "-p", INTERNAL, posixpath.dirname(target.python.prefix)])
        engine.put(copy, posixpath.dirname(posixpath.normpath(home)), stream)
        session.check(copy, ["ln", "-s", posixpath.normpath(home), target.python.prefix])
        engine.stop(copy)
        engine.commit(copy, tag, {LABEL: "stock"})
    return tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a proof needs besides the wheel; ``source`` is the project as a tar, for its tests."""

    session: Session
    target: Target
    config: Config
    logs: Path
    source: bytes
    environment: Mapping[str, str]
    ca_bundle: bytes


def prove(proof: Proof, wheel: Path, stocks: Mapping[str, str]) -> tuple[str, ...]:
    """Install, import and test ``wheel`` on each stock image (release → reference); the releases.

    Raises:
        VerifyError: something failed; the details are the end of its output.
    """
    script = _import_script(wheel)
    # Side by side: most of a proof is an interpreter starting, on one core.
    both = replace(proof, session=proof.session.part())
    with ThreadPoolExecutor(max_workers=len(stocks)) as pool:
        proofs = [pool.submit(_prove_release, both, wheel, script, release) for release in stocks.items()]
        try:
            for done in as_completed(proofs):
                done.result()
        except BaseException:
            both.session.close()  # the other one ends with its container, and no other wheel's
            raise
    return tuple(stocks)


def _import_script(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        contents = wheel_contents([name for name in archive.namelist() if not name.endswith("/")])
    return _IMPORT_SCRIPT.format(modules=list(contents.modules), libraries=list(contents.libraries))


def _prove_release(proof: Proof, wheel: Path, script: str, stock: tuple[str, str]) -> None:
    release, image = stock
    target = proof.target
    name = f"{target.identifier} on Alpine {release}"
    log = Log(proof.logs / f"{target.identifier}-alpine-{release}.log", name)
    spec = ContainerSpec(image=image, platform=target.arch.oci_platform, purpose="verify")
    with closing(log), proof.session.progress.step(f"verify on stock Alpine {release}"):
        try:
            with proof.session.container(spec) as container:
                _try(proof, _Guest(wheel=wheel, script=script), container, stock_trial(target), log)
        except BuildError as error:
            brief = f"the wheel failed on a stock Alpine: {error.brief}"
            raise VerifyError(brief, details=error.details, resolution=error.resolution) from error


def try_here(proof: Proof, wheel: Path, image: str, places: Callable[[str], Places]) -> None:
    """Install, import and test ``wheel`` in a fresh virtual environment on the image that it was built on.

    That is less than a proof: what the image has besides is there, too.

    Raises:
        VerifyError: something failed; the details are the end of its output.
    """
    target, session = proof.target, proof.session
    log = Log(proof.logs / f"{target.identifier}-fresh.log", f"{target.identifier} in a fresh environment")
    spec = ContainerSpec(image=image, platform=target.arch.oci_platform, purpose="verify")
    with closing(log), session.progress.step("verify in a fresh environment"):
        try:
            with session.container(spec) as container:
                trial = fresh_trial(target, places(container))
                session.check(container, ["mkdir", "-p", trial.places.work])
                session.execute(container, fresh_step(target, proof.environment, trial), log)
                _try(proof, _Guest(wheel=wheel, script=_import_script(wheel)), container, trial, log)
        except BuildError as error:
            brief = f"the wheel failed in a fresh environment: {error.brief}"
            raise VerifyError(brief, details=error.details, resolution=error.resolution) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guest:
    """A wheel, and the program that imports it."""

    wheel: Path
    script: str


def _try(proof: Proof, guest: _Guest, container: str, trial: Trial, log: Log) -> None:
    target, engine, places, config = proof.target, proof.session.engine, trial.places, proof.config
    wheel = guest.wheel
    steps = [
        install_step(target, config, proof.environment, trial, f"{places.work}/{wheel.name}"),
        import_step(target, proof.environment, trial, guest.script),
    ]
    proof.session.check(container, ["mkdir", "-p", places.work, places.project])
    files = {wheel.name: wheel.read_bytes(), posixpath.basename(CA_BUNDLE): proof.ca_bundle}
    engine.put(container, places.work, [tar_of(files)])
    if config.test_command:
        steps.append(test_step(target, config, proof.environment, trial))
        engine.put(container, places.project, [proof.source])
    for step in steps:
        proof.session.execute(container, step, log)
