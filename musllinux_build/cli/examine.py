"""What ``doctor`` looks at where wheels are built with an engine, and how it mends that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.adapters.docker_json import DEFAULT_SOCKET, Endpoint, require_new_enough
from musllinux_build.adapters.docker_sdk import ask, connect_to
from musllinux_build.adapters.host import index_settings
from musllinux_build.adapters.machine import (
    binfmt_entries,
    free_bytes,
    images_directory,
    install,
    interpreter_version,
    register_binfmt,
    require_mendable,
    start_engine,
)
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.builds.steps import CA_BUNDLE, WORK, base_environment
from musllinux_build.doctor import (
    BinfmtEntry,
    Check,
    Emulation,
    check_certificates,
    check_disk,
    check_emulation,
    check_engine,
    check_index,
    check_no_engine,
)
from musllinux_build.errors import EngineError, ImageError, UsageError
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.plaintext import plain_line
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec, EngineInfo, Progress
from musllinux_build.probe import executes, probe_elf
from musllinux_build.tarstream import tar_of

ENGINE_PACKAGES = ("docker.io", "iptables", "ca-certificates")
EMULATION_PACKAGES = ("qemu-user-static",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look at: ``named`` architectures have to run, ``bundle`` is what containers get to trust."""

    archs: Sequence[Arch]
    named: bool
    bundle: bytes


def _ask(endpoint: Endpoint) -> EngineInfo | None:
    try:
        return ask(endpoint)
    except EngineError:
        return None


def mend(endpoint: Endpoint, archs: Sequence[Arch], lines: Progress) -> None:
    """Only what is missing: a working engine or emulator, whoever brought it, stays as it is.

    Raises:
        UsageError: mending this machine does not mend the engine in use, or may not be done.
        EngineError: the engine is too old, or something cannot be installed or started.
    """
    found = _ask(endpoint)
    _require_here(endpoint, answers=found is not None)
    if found is not None:
        require_new_enough(found)
    require_mendable()
    if found is None:
        install(ENGINE_PACKAGES, lines)
        start_engine(lambda: _ask(endpoint) is not None, lines)
    engine = connect_to(endpoint)
    own = engine.info().arch
    with closing(Session(engine, lines)) as session:
        missing = [arch for arch in archs if arch is not own and not executes(session, arch)]
    if missing:
        install(EMULATION_PACKAGES, lines)
        register_binfmt(missing, lines)


def _require_here(endpoint: Endpoint, *, answers: bool) -> None:
    if endpoint.local and (endpoint.default or answers):
        return
    does = f"starts the engine at {DEFAULT_SOCKET}" if endpoint.local else "mends this machine"
    raise UsageError(
        f"doctor --fix {does}, and the engine in use is {endpoint}",
        resolution="Run it where that engine is, or use the engine of this machine:"
        " unset DOCKER_HOST DOCKER_CONTEXT; docker context use default",
    )


def examine(find: Callable[[], Endpoint], wanted: Wanted, lines: Progress) -> list[Check]:
    """All checks of the engine that ``find`` finds, itself first; without one, what can be seen without."""
    local = True
    try:
        endpoint = find()
        local = endpoint.local
        engine = connect_to(endpoint)
    except EngineError as error:
        untried = [_emulation(arch, wanted, None, local=local) for arch in wanted.archs]
        disk = [check_disk(free_bytes(images_directory()), images_directory())] if local else []
        return [check_no_engine(error), *untried, *disk, check_certificates(wanted.bundle)]
    with closing(Session(engine, lines)) as session:
        info, root = engine.info(), engine.root_directory()
        return [
            check_engine(info, str(engine.endpoint)),
            *(_emulation(arch, wanted, (session, info), local=local) for arch in wanted.archs),
            check_disk(free_bytes(root) if local else None, root),
            check_certificates(wanted.bundle),
            _index_check(session, info.arch, wanted.bundle),
        ]


def _emulation(arch: Arch, wanted: Wanted, asked: tuple[Session, EngineInfo] | None, *, local: bool) -> Check:
    runs, untried = _try(asked[0], arch) if asked else (None, "no engine")
    own = asked[1].arch if asked else None
    entry = _entry(arch) if local else None
    return check_emulation(
        Emulation(
            arch=arch,
            executes=runs,
            untried=untried,
            native=own is not None and arch.runs_natively_on(own),
            entry=entry,
            qemu=interpreter_version(entry.interpreter) if entry else "",
            local=local,
            required=wanted.named or arch is own,
        )
    )


def _try(session: Session, arch: Arch) -> tuple[bool | None, str]:
    """Whether containers execute ``arch``, or None and why that is not known."""
    try:
        return executes(session, arch), ""
    except (EngineError, ImageError) as error:
        # The last line is the runtime's own word: what to mend is only there.
        said = error.details.strip().splitlines()[-1:]
        return None, ": ".join([error.brief, *map(plain_line, said)])


def _entry(arch: Arch) -> BinfmtEntry | None:
    """The entry of this machine that serves ``arch``."""
    header = probe_elf(arch)
    return next((item for item in binfmt_entries() if item.enabled and item.magic and item.matches(header)), None)


def _index_check(session: Session, arch: Arch | None, bundle: bytes) -> Check:
    """Ask the index with pip in a container of our own image: what a build will do."""
    ref = image_reference(DEFAULT_REGISTRY, Policy.MUSLLINUX_1_2, arch or Arch.X86_64)
    engine = session.engine
    image = engine.image(ref)
    if image is None:
        return check_index(None, "")
    said: list[bytes] = []
    append: Callable[[bytes], None] = said.append
    spec = ContainerSpec(image=ref, platform=(arch or Arch.X86_64).oci_platform, purpose="doctor")
    with session.container(spec) as container:
        session.check(container, ["mkdir", "-p", WORK])
        engine.put(container, WORK, [tar_of({Path(CA_BUNDLE).name: bundle})])
        environment = base_environment(image.env, index_settings(with_credentials=False), with_ca=bool(bundle))
        script = "set -- /opt/python/*/bin/python; exec $1 -m pip --retries 0 --timeout 15 index versions pip"
        status = engine.run(container, ["/bin/sh", "-c", script], env=environment, on_output=append)
    lines = b"".join(said).decode(errors="replace").strip().splitlines()
    return check_index(status, lines[-1] if lines else "no answer")
