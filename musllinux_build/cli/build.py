"""``musllinux-build [SOURCE]``: the main job."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musllinux_build.adapters.console import ConsoleProgress
from musllinux_build.adapters.host import ca_bundle, index_settings, scm_environment, tracked_files
from musllinux_build.arch import Arch
from musllinux_build.cli.closing import show_plan, show_report
from musllinux_build.cli.inside import (
    inside_option,
    own_engine,
    own_image,
    own_supply,
    plan_inside,
    trusted,
    warn_of_options,
)
from musllinux_build.cli.main import show_error
from musllinux_build.cli.options import (
    Lines,
    cache_directory,
    log_directory,
    option,
    progress,
    supplies_from,
    supply_options,
    verbosity_options,
)
from musllinux_build.cli.say import say_json
from musllinux_build.config import (
    Config,
    parse_arch,
    parse_config,
    parse_environment,
    parse_policy,
    parse_python,
)
from musllinux_build.errors import MusllinuxBuildError, UsageError
from musllinux_build.images.supplies import Supplies
from musllinux_build.plan import Plan, plan
from musllinux_build.ports import Engine
from musllinux_build.project import Project, read_project, source_tar
from musllinux_build.report import NOT_PROVEN, Report, distinct_errors, error_json
from musllinux_build.surroundings import OwnImage

if TYPE_CHECKING:
    from musllinux_build.builds.session import Session
    from musllinux_build.builds.workshop import Host, Supply

PRETENDED = "SETUPTOOLS_SCM_PRETEND_VERSION"
T = TypeVar("T")


@click.command()
@click.argument("source", type=click.Path(path_type=Path), default=Path())
@option("--arch", multiple=True, metavar="ARCH", help="Architecture to build for, or all (default: the engine's).")
@option("--policy", multiple=True, metavar="POLICY", help="musllinux_1_1, musllinux_1_2 (default) or all.")
@option("--python", multiple=True, metavar="PYTHON", help="3.13, cp313 or all (default: all that the images have).")
@option("--only", metavar="ID", help="Build one identifier, such as cp313-musllinux_1_2_x86_64.")
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    help="Where finished wheels go.",
)
@option("--before-all", metavar="SCRIPT", help="Runs once per architecture, for example: apk add yaml-dev")
@option("--before-build", metavar="SCRIPT", help="Runs before each wheel's build.")
@option("--environment", metavar="'A=1 B=2'", help="Variables of every command; $NAME is expanded.")
@option("--test-command", metavar="SCRIPT", help="Runs on every stock Alpine after the import.")
@option(
    "--test-requires", multiple=True, type=Lines(), metavar="REQUIREMENT", help="Installed before the test command."
)
@option("--pull", type=click.Choice(["missing", "always", "never"]), help="When to ask a registry for images.")
@option("--registry", metavar="PREFIX", help="Where images are pulled from: PREFIX/musllinux_1_2_x86_64.")
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
@option("--keep-going/--fail-fast", default=True, show_default=True, help="After a failure: build the rest, or stop.")
@option("--verify/--no-verify", default=None, help="Prove every wheel on stock Alpine (default), or do not.")
@click.option("--dry-run", is_flag=True, help="Print the plan and build nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print plan or report as JSON.")
@inside_option
@supply_options
@verbosity_options
def build(**given: Any) -> int:
    """Build the wheels of the project (a directory or an sdist) in SOURCE, this directory by default."""
    try:
        return _run(given)
    except MusllinuxBuildError as error:
        if given["as_json"]:
            say_json(error_json(error))
        raise


def _run(given: Mapping[str, Any]) -> int:
    lines = progress(given["verbose"], given["quiet"])
    here = own_image(given["inside"])
    with lines.step("configuration"):
        project = read_project(given["source"])
        config = _configured(parse_config(project.table), given)
        if here is not None:
            config = here.confine(config, _configured(Config(), given))
        asked = Asked(project=project, config=config, here=here, supplies=None if here else supplies_from(given))
    if given["dry_run"]:
        native = Arch.from_machine(platform.machine()) or Arch.X86_64
        show_plan(_plan(asked, native), as_json=given["as_json"])
        return 0
    report = _build(asked, given, lines)
    show_report(report, as_json=given["as_json"])
    for error in distinct_errors(report):
        show_error(error)
    return report.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be done, as far as it is known without an engine; without ``supplies`` it is done ``here``."""

    project: Project
    config: Config
    supplies: Supplies | None
    here: OwnImage | None


def _plan(asked: Asked, native: Arch) -> Plan:
    project, config, supplies = asked.project, asked.config, asked.supplies
    if asked.here is not None:
        return plan_inside(project, config, asked.here)
    assert supplies is not None
    # Whoever names a registry knows what it holds.
    images = None if config.registry else {(row.policy, row.arch) for row in supplies.lock.apks}
    pythons = supplies.pythons()
    return plan(config, pythons=pythons, requires_python=project.requires_python, native=native, images=images)


def _configured(config: Config, given: Mapping[str, Any]) -> Config:
    """The command line over pyproject.toml.

    Raises:
        UsageError: all mistakes together.
    """
    problems: list[str] = []
    if given["only"] and (given["arch"] or given["policy"] or given["python"]):
        problems.append("--only already names architecture, policy and Python; leave the others out")
    changes: dict[str, Any] = {}
    for name, (field, parse) in _PARSED.items():
        if given[name]:
            try:
                changes[field] = parse(given[name])
            except ValueError as error:
                problems.append(f"--{name}: {error}")
    changes |= {name: given[name] for name in _PLAIN if given[name] is not None}
    if problems:
        raise UsageError(problems[0], details="\n".join(problems[1:]))
    return replace(config, **changes)


def _each(parse: Callable[[str], Iterable[T]]) -> Callable[[Sequence[str]], tuple[T, ...]]:
    """The results for every text, in order, each once."""
    return lambda texts: tuple(dict.fromkeys(item for text in texts for item in parse(text)))


# Option → field of Config and how its text is read; the plain ones go over as they are.
_PARSED: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "arch": ("archs", _each(parse_arch)),
    "policy": ("policies", _each(parse_policy)),
    "python": ("pythons", lambda texts: () if "all" in texts else _each(lambda text: (parse_python(text),))(texts)),
    "environment": ("environment", parse_environment),
    "test_requires": ("test_requires", tuple),
}
_PLAIN = ("only", "before_all", "before_build", "test_command", "pull", "registry", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where containers are made, and what the pipeline asks for there."""

    engine: Engine
    supply: Callable[[Session], Supply]
    remove_by_hand: str


def _ground(asked: Asked, given: Mapping[str, Any], lines: ConsoleProgress) -> Ground:
    if asked.here is not None:
        own = own_engine(asked.here)
        lines.note(f"inside {asked.here.name}: no engine is used, and wheels are {NOT_PROVEN}")
        warn_of_options(given, lines)
        return Ground(engine=own, supply=lambda _: own_supply(own), remove_by_hand="rm -rf")
    # Imported here: they bring the engine's SDK, which --dry-run and the inside of an image do without.
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415
    from musllinux_build.cli.wiring import make_supply  # noqa: PLC0415

    supplies = asked.supplies
    assert supplies is not None
    with lines.step("engine"):
        engine = connect()
    return Ground(
        engine=engine,
        supply=lambda session: make_supply(session, asked.config, supplies, cache_directory()),
        remove_by_hand="docker rm --force",
    )


def _build(asked: Asked, given: Mapping[str, Any], lines: ConsoleProgress) -> Report:
    from musllinux_build.builds.pipeline import build_all  # noqa: PLC0415 - what --dry-run does without
    from musllinux_build.builds.session import Session, signals_as_errors  # noqa: PLC0415
    from musllinux_build.builds.workshop import Run  # noqa: PLC0415

    with signals_as_errors():
        ground = _ground(asked, given, lines)
        native = ground.engine.info().arch or Arch.X86_64
        with lines.step("plan"):
            chosen = _plan(asked, native)
        for skip in chosen.skipped:
            lines.note(f"{skip.target.identifier} is skipped: {skip.reason}")
        if not chosen.targets:
            reasons = sorted({skip.reason for skip in chosen.skipped})
            raise UsageError("nothing is selected", details="\n".join(reasons), resolution="See --dry-run.")
        host = _host(asked, given, lines)
        lines.detail(f"logs: {host.logs}")
        config = _with_version(asked, lines)
        session = Session(
            ground.engine, lines, verbose_output=given["verbose"] > 1, remove_by_hand=ground.remove_by_hand
        )
        with closing(session):
            supply = ground.supply(session)
            return build_all(Run(session=session, config=config, host=host, supply=supply), chosen)


def _with_version(asked: Asked, lines: ConsoleProgress) -> Config:
    """The configuration with the version that setuptools-scm would find, for containers without git."""
    config, project = asked.config, asked.project
    if any(name.startswith(PRETENDED) for name in config.environment):
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
    )
