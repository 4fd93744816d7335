"""``musllinux-build doctor``: what is there, what is missing, and the command that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from musllinux_build.adapters.docker_sdk import DockerEngine, connect
from musllinux_build.adapters.host import ca_bundle, index_settings
from musllinux_build.adapters.machine import (
    binfmt_entries,
    free_bytes,
    install,
    interpreter_version,
    register_binfmt,
    require_mendable,
    start_engine,
)
from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.builds.steps import CA_BUNDLE, WORK, base_environment
from musllinux_build.cli.options import option, progress, verbosity_options
from musllinux_build.doctor import (
    Check,
    Emulation,
    State,
    check_certificates,
    check_disk,
    check_emulation,
    check_index,
    to_json,
    worst,
)
from musllinux_build.errors import EngineError
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.policy import Policy
from musllinux_build.ports import ContainerSpec, Progress
from musllinux_build.probe import executes, probe_elf
from musllinux_build.project import tar_of

ENGINE_PACKAGES = ("docker.io", "iptables", "ca-certificates")
EMULATION_PACKAGES = ("qemu-user-static",)
_MARKS = {State.OK: "ok     ", State.WARNING: "warning", State.FAILED: "FAILED "}


@click.command()
@click.option("--fix", is_flag=True, help="As root on Debian or Ubuntu: install, start and register what is missing.")
@option("--arch", multiple=True, metavar="ARCH", help="Look at these architectures only (default: all).")
@option("--ca-bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As of the build command.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@verbosity_options
def doctor(*, fix: bool, arch: Sequence[str], ca_bundle: Path | None, as_json: bool, verbose: int, quiet: int) -> int:
    """Check engine, emulation, disk, certificates and index; exit status 3 when something is missing."""
    lines = progress(verbose, quiet)
    archs = [Arch(name) for name in arch] or list(Arch)
    if fix:
        require_mendable()
        _mend(archs, lines)
    checks = _examine(archs, _bundle(ca_bundle), lines)
    if as_json:
        click.echo(json.dumps(to_json(checks), indent=2))
    else:
        for check in checks:
            click.echo(f"{_MARKS[check.state]}  {check.name:<14} {check.found}")
            if check.mend:
                click.echo(f"{'':25}→ {check.mend}")
    return EngineError.exit_code if worst(checks) is State.FAILED else 0


def _bundle(chosen: Path | None) -> bytes:
    return ca_bundle(chosen, os.environ)


def _answers() -> bool:
    try:
        connect()
    except EngineError:
        return False
    return True


def _mend(archs: Sequence[Arch], lines: Progress) -> None:
    """Only what is missing: a working engine or emulator, whoever brought it, stays as it is."""
    if not _answers():
        install(ENGINE_PACKAGES, lines)
        start_engine(_answers, lines)
    session = Session(connect(), lines)
    missing = [arch for arch in archs if not _executes(session, arch)]
    if missing:
        install(EMULATION_PACKAGES, lines)
        register_binfmt(missing, lines)


def _executes(session: Session, arch: Arch) -> bool:
    try:
        return executes(session, arch)
    except EngineError:
        return False


def _examine(archs: Sequence[Arch], bundle: bytes, lines: Progress) -> list[Check]:
    try:
        engine = connect()
    except EngineError as error:
        why = error.details.splitlines()[0] if error.details else error.brief
        return [Check(name="engine", state=State.FAILED, found=why, mend="musllinux-build doctor --fix")]
    info = engine.info()
    described = f"{info.name} {info.version}, API {info.api[0]}.{info.api[1]}, {info.machine}"
    checks = [Check(name="engine", state=State.OK, found=described)]
    entries = binfmt_entries()
    for arch in archs:
        header = probe_elf(arch)
        entry = next((item for item in entries if item.enabled and item.magic and item.matches(header)), None)
        seen = Emulation(
            arch=arch,
            executes=_executes(Session(engine, lines), arch),
            native=info.arch is not None and arch.runs_natively_on(info.arch),
            entry=entry,
            qemu=interpreter_version(entry.interpreter) if entry else "",
        )
        checks.append(check_emulation(seen))
    root = engine.root_directory()
    checks.append(check_disk(free_bytes(root), root))
    checks.append(check_certificates(bundle))
    checks.append(_index_check(engine, info.arch, bundle))
    return checks


def _index_check(engine: DockerEngine, arch: Arch | None, bundle: bytes) -> Check:
    """Ask the index with pip in a container of our own image: what a build will do."""
    ref = image_reference(DEFAULT_REGISTRY, Policy.MUSLLINUX_1_2, arch or Arch.X86_64)
    image = engine.image(ref)
    if image is None:
        return check_index(None, "")
    said: list[bytes] = []
    append: Callable[[bytes], None] = said.append
    spec = ContainerSpec(image=ref, platform=(arch or Arch.X86_64).oci_platform, purpose="doctor")
    container = engine.create(spec)
    try:
        engine.run(container, ["mkdir", "-p", WORK])
        engine.put(container, WORK, [tar_of({Path(CA_BUNDLE).name: bundle})])
        environment = base_environment(image.env, index_settings(with_credentials=False), with_ca=bool(bundle))
        script = "set -- /opt/python/*/bin/python; exec $1 -m pip --retries 0 --timeout 15 index versions pip"
        status = engine.run(container, ["/bin/sh", "-c", script], env=environment, on_output=append)
    finally:
        engine.remove(container)
    lines = b"".join(said).decode(errors="replace").strip().splitlines()
    return check_index(status, lines[-1] if lines else "no answer")
