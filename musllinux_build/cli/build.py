"""``musllinux-build [SOURCE]``: the main job."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from musllinux_build.adapters.console import ConsoleProgress
from musllinux_build.adapters.files import write_whole
from musllinux_build.adapters.host import ca_bundle, index_settings, scm_environment, tracked_files
from musllinux_build.arch import Arch
from musllinux_build.buildsystem import read_build_system
from musllinux_build.cli.closing import show_plan, show_report
from musllinux_build.cli.inside import (
    own_engine,
    own_supply,
    trusted,
    warn_of_options,
)
from musllinux_build.cli.main import show_error
from musllinux_build.cli.options import (
    Lines,
    Words,
    cache_directory,
    cache_limit_option,
    log_directory,
    option,
    progress,
    verbosity_options,
)
from musllinux_build.cli.say import failures_as_json
from musllinux_build.cli.selection import (
    Asked,
    gather,
    held_by,
    part_of,
    record_times,
    recorded_times,
    require_something,
    selection_options,
    times_file,
)
from musllinux_build.cli.unread import unread
from musllinux_build.config import Accel, Compiler, Config
from musllinux_build.engines import EngineSpec, address_of, named_in, parse_engine
from musllinux_build.errors import UsageError
from musllinux_build.parts import Part, format_part
from musllinux_build.ports import Engine
from musllinux_build.project import source_tar
from musllinux_build.report import NOT_PROVEN, Report, distinct_errors
from musllinux_build.scm import PRETEND

if TYPE_CHECKING:
    from musllinux_build.builds.finished import Reuse
    from musllinux_build.builds.floor import Site
    from musllinux_build.builds.session import Session
    from musllinux_build.builds.workshop import Host, Run, Supply

T = TypeVar("T")


@click.command()
@selection_options
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    help="Where finished wheels go.",
)
@option(
    "-C",
    "--config-setting",
    multiple=True,
    type=Words(),
    metavar="KEY=VALUE",
    help="Told to the build backend, such as setup-args=-Dx=y for meson-python. Repeatable.",
)
@option("--before-all", metavar="SCRIPT", help="Runs once per architecture and policy, for example: apk add yaml-dev")
@option("--before-build", metavar="SCRIPT", help="Runs before each wheel's build.")
@option("--environment", metavar="'A=1 B=2'", help="Variables of every command; $NAME is expanded.")
@option("--test-command", metavar="SCRIPT", help="Runs on every stock Alpine after the import.")
@option(
    "--test-requires",
    multiple=True,
    type=Lines(),
    metavar="REQUIREMENT",
    help="Installed before the test command. Repeatable.",
)
@option(
    "--compiler",
    type=click.Choice(get_args(Compiler)),
    help="auto (default): clang, native on every architecture, and the image's gcc for what clang does not compile;"
    " or one of them alone.",
)
@option(
    "--accel",
    type=click.Choice(get_args(Accel)),
    help="For foreign architectures: full (default) runs compiler, shell tools and pip natively, python also the"
    " interpreter that builds, compiler that alone, off emulates everything.",
)
@option("--pull", type=click.Choice(["missing", "always", "never"]), help="When to ask a registry for images.")
@option(
    "--ca-bundle",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates for the containers (default: the host's).",
)
@option(
    "--index-credentials/--no-index-credentials",
    default=False,
    help="Also hand index URLs with passwords to the containers.",
)
@option(
    "--engine",
    multiple=True,
    metavar="[ARCH=]SPEC",
    help="Build ARCH, or what it can, on this engine: a docker context, a unix, tcp or ssh address, podman."
    " Repeatable.",
)
@option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Make so many wheels at once.")
@option("--keep-going/--fail-fast", default=True, show_default=True, help="After a failure: build the rest, or stop.")
@option("--verify/--no-verify", default=None, help="Prove every wheel on stock Alpine (default), or do not.")
@option("--rebuild", is_flag=True, help="Build also what an earlier run has finished from the same.")
@cache_limit_option
@click.option("--dry-run", is_flag=True, help="Print the plan and build nothing; no engine is asked.")
@click.option("--json", "as_json", is_flag=True, help="Print plan or report as JSON.")
@option(
    "--report/--no-report",
    default=None,
    help="Leave a report beside the wheels for merge (default: with --shard).",
)
@verbosity_options
def build(**given: Any) -> int:
    """Build the wheels of the project (a directory or an sdist) in SOURCE, this directory by default."""
    with failures_as_json(wanted=given["as_json"]):
        return _run(given)


def _run(given: Mapping[str, Any]) -> int:
    lines = progress(given["verbose"], given["quiet"])
    with lines.step("configuration"):
        wanted = gather(given)
    for sentence in unread(wanted.project, os.environ, click.get_current_context().find_root().command):
        lines.warn(sentence)
    specs = _engines(wanted, given)
    if given["dry_run"]:
        native = Arch.from_machine(platform.machine()) or Arch.X86_64
        part = require_something(part_of(wanted, native))
        show_plan(part.plan, as_json=given["as_json"])
        return 0
    part, report = _build(wanted, given, specs, lines)
    record_times(times_file(wanted.project), report, lines)
    if given["report"] or (given["report"] is None and part.shard is not None):
        _leave_report(part, report, given["output"])
    show_report(report, as_json=given["as_json"])
    for error in distinct_errors(report):
        show_error(error)
    return report.exit_code


def _leave_report(part: Part, report: Report, output: Path) -> None:
    try:
        write_whole(output / part.filename, format_part(part, report))
    except OSError as error:
        raise UsageError(f"cannot write {output / part.filename}", details=str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where containers are made, what the pipeline asks for there, and what is done when it has ended."""

    engine: Engine
    supply: Callable[[Session], Supply]
    remove_by_hand: str
    reuse: Callable[[Config, Host], Reuse | None]
    tidy: Callable[[Report], None]
    address: str
    """Which engine that is, for later runs."""
    spec: EngineSpec | None = None
    """As which it was named; None: the one that docker's own command line would use."""

    def native(self) -> Arch:
        """Its own architecture."""
        return self.engine.info().arch or Arch.X86_64


def _engines(asked: Asked, given: Mapping[str, Any]) -> list[EngineSpec | None]:
    """Those that are named, and the default one (None) unless one is named for all architectures.

    Raises:
        UsageError: what is named is no engine.
    """
    if asked.here is not None:
        return [None]
    try:
        specs = [*(parse_engine(text) for text in given["engine"]), *named_in(os.environ)] or [*asked.config.engines]
    except ValueError as error:
        raise UsageError(str(error), resolution="Write it as --engine aarch64=ssh://user@host?slots=2") from None
    default: list[EngineSpec | None] = [] if any(spec.arch is None for spec in specs) else [None]
    return [*default, *specs]


def _ground(asked: Asked, given: Mapping[str, Any], lines: ConsoleProgress, spec: EngineSpec | None) -> Ground:
    if asked.here is not None:
        own = own_engine(asked.here)
        lines.note(f"inside {asked.here.name}: no engine is used, and wheels are {NOT_PROVEN}")
        warn_of_options(given, lines)
        # Nothing says what this image is made of, and what was done to it.
        return Ground(
            engine=own,
            supply=lambda _: own_supply(own),
            remove_by_hand="rm -rf",
            reuse=lambda _config, _host: None,
            tidy=lambda _: None,
            address=str(asked.here.name),
        )
    # Imported here: they bring the engine's SDK, which --dry-run and the inside of an image do without.
    from musllinux_build.adapters.addressed import connect_at  # noqa: PLC0415
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415
    from musllinux_build.cli.reuse import make_reuse, tidy  # noqa: PLC0415
    from musllinux_build.cli.wiring import make_supply  # noqa: PLC0415

    supplies, cache = asked.supplies, cache_directory()
    assert supplies is not None
    with lines.step(f"engine {spec.where}" if spec is not None else "engine"):
        engine = connect() if spec is None else connect_at(address_of(spec, os.environ, os.path.exists))
    return Ground(
        engine=engine,
        spec=spec,
        supply=lambda session: make_supply(session, asked.config, supplies, cache),
        remove_by_hand="docker rm --force",
        reuse=lambda config, host: make_reuse(
            engine, supplies, cache, config=config, host=host, rebuild=given["rebuild"]
        ),
        tidy=lambda report: tidy(engine, cache, lines, most=given["cache_limit"], report=report),
        address=engine.endpoint.url,
    )


def _build(
    asked: Asked, given: Mapping[str, Any], specs: Sequence[EngineSpec | None], lines: ConsoleProgress
) -> tuple[Part, Report]:
    from musllinux_build.builds.leftovers import accounted  # noqa: PLC0415 - as the next one
    from musllinux_build.builds.pipeline import build_all  # noqa: PLC0415 - what --dry-run does without
    from musllinux_build.builds.session import Session, signals_as_errors  # noqa: PLC0415
    from musllinux_build.builds.workshop import Run  # noqa: PLC0415

    with signals_as_errors(), ExitStack() as open_sessions:
        grounds = [_ground(asked, given, lines, spec) for spec in specs]
        native = grounds[0].native()
        with lines.step("plan"):
            part = part_of(asked, native, held_by(lambda arch: _able(grounds, arch).engine, asked, native))
        chosen = part.plan
        for skip in chosen.skipped:
            lines.note(f"{skip.target.identifier} is skipped: {skip.reason}")
        require_something(part)
        if not chosen.targets:
            lines.note(f"shard {part.shard} has nothing to build: there are more shards than wheels")
            return part, Report(plan=chosen, outcomes=())
        host = _host(asked, given, lines)
        lines.detail(f"logs: {host.logs}")
        config = _with_version(asked, lines)
        sites = []
        for ground in grounds:
            session = Session(
                ground.engine, lines, verbose_output=given["verbose"] > 1, remove_by_hand=ground.remove_by_hand
            )
            left = accounted(session, engine=ground.address, cache=cache_directory(), output=given["output"])
            open_sessions.enter_context(left)
            open_sessions.enter_context(closing(session))
            supply = replace(ground.supply(session), reuse=ground.reuse(config, host))
            run = Run(session=session, config=config, host=host, supply=supply)
            sites.append(_site(ground, run, alone=len(grounds) == 1))
        if len(sites) > 1:
            jobs = max(given["jobs"], sum(site.slots for site in sites))
            sites = [replace(site, run=replace(site.run, host=replace(host, jobs=jobs))) for site in sites]
        report = build_all(sites, chosen)
        for ground in grounds:
            ground.tidy(report)
        return part, report


def _able(grounds: Sequence[Ground], arch: Arch) -> Ground:
    """The engine that an architecture is built on first."""
    named = [ground for ground in grounds if ground.spec is not None and ground.spec.arch is arch]
    free = [ground for ground in grounds if ground.spec is None or ground.spec.arch is None]
    natively = [ground for ground in free if len(free) > 1 and arch.runs_natively_on(ground.native())]
    return (*named, *natively, *free)[0]


def _site(ground: Ground, run: Run, *, alone: bool) -> Site:
    from musllinux_build.builds.floor import Site  # noqa: PLC0415 - as in _build

    spec = ground.spec
    return Site(
        run=run,
        name=spec.where if spec is not None else "",
        arch=spec.arch if spec is not None else None,
        native=ground.engine.info().arch,
        slots=run.host.jobs if alone else spec.slots if spec is not None else 1,
    )


def _with_version(asked: Asked, lines: ConsoleProgress) -> Config:
    """The configuration with the version that setuptools-scm would find, for containers without git."""
    config, project = asked.config, asked.project
    if any(name.startswith(PRETEND) for name in config.environment):
        return config
    installs_git = "git" in config.before_all.split()
    found = scm_environment(project.path, project.pyproject, lines.detail if installs_git else lines.warn)
    for name, value in found.items():
        lines.note(f"{name}={value}")
    return replace(config, environment={**found, **config.environment})


def _host(asked: Asked, given: Mapping[str, Any], lines: ConsoleProgress) -> Host:
    from musllinux_build.builds.workshop import Host  # noqa: PLC0415 - as in _build

    with lines.step("read the source"):
        listing = partial(tracked_files, warn=lines.warn)
        source = b"".join(source_tar(asked.project, listing, leave_out=[given["output"]], warn=lines.warn))
    if asked.here is not None:  # index and certificates are where they were
        index, bundle = trusted(given["ca_bundle"]), b""
    else:
        index = index_settings(with_credentials=given["index_credentials"], warn=lines.warn)
        bundle = ca_bundle(given["ca_bundle"], os.environ)
    return Host(
        source=source,
        index=index,
        ca_bundle=bundle,
        output=given["output"],
        logs=log_directory(asked.project.path.resolve().name.removesuffix(".tar.gz")),
        fail_fast=not given["keep_going"],
        build_system=read_build_system(asked.project.pyproject),
        jobs=given["jobs"],
        times=recorded_times(times_file(asked.project)),
    )
