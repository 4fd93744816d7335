"""``musllinux-build [SOURCE]``: the main job."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from musllinux_build.adapters.host import ca_bundle, index_settings, tracked_files
from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.cli.main import show_error
from musllinux_build.cli.options import cache_directory, option, progress, supply_options, verbosity_options
from musllinux_build.config import (
    Config,
    parse_arch,
    parse_config,
    parse_environment,
    parse_policy,
    parse_python,
)
from musllinux_build.errors import UsageError
from musllinux_build.images.supplies import Supplies
from musllinux_build.plan import Plan, plan
from musllinux_build.project import Project, read_project, source_tar
from musllinux_build.report import Report, human_size, table_rows

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
@option("--test-requires", multiple=True, metavar="REQUIREMENT", help="Installed before the test command.")
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
@supply_options
@verbosity_options
def build(**given: Any) -> int:
    """Build the wheels of the project (a directory or an sdist) in SOURCE, this directory by default."""
    project = read_project(given["source"])
    config = _configured(parse_config(project.table), given)
    supplies = _supplies(given)
    chosen = plan(
        config,
        pythons=supplies.pythons(),
        requires_python=project.requires_python,
        native=_native(),
    )
    if given["dry_run"]:
        _show_plan(chosen, as_json=given["as_json"])
        return 0
    if not chosen.targets:
        reasons = sorted({skip.reason for skip in chosen.skipped})
        raise UsageError("nothing is selected", details="\n".join(reasons), resolution="See --dry-run.")
    report = _build(Asked(project=project, config=config, plan=chosen, supplies=supplies), given)
    _show_report(report, as_json=given["as_json"])
    for outcome in report.outcomes:
        if outcome.error is not None:
            show_error(outcome.error)
    return report.exit_code


def _configured(config: Config, given: Mapping[str, Any]) -> Config:
    """The command line over pyproject.toml.

    Raises:
        UsageError: all mistakes together.
    """
    problems: list[str] = []
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


def _native() -> Arch:
    return Arch.from_machine(platform.machine()) or Arch.X86_64


def _supplies(given: Mapping[str, Any]) -> Supplies:
    return Supplies.chosen(
        offline=given["offline"],
        base_archives=given["base_archives"],
        source_mirror=given["source_mirror"],
        apk_mirror=given["apk_mirror"],
        lock=given["lock"],
        fetch=HostFetch(cache=cache_directory() / "downloads"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be done, as far as it is known without an engine."""

    project: Project
    config: Config
    plan: Plan
    supplies: Supplies


def _build(asked: Asked, given: Mapping[str, Any]) -> Report:
    # Imported here: they bring the engine's SDK, which --dry-run does without.
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415
    from musllinux_build.builds.pipeline import Host, Run, build_all  # noqa: PLC0415
    from musllinux_build.builds.session import Session, signals_as_errors  # noqa: PLC0415
    from musllinux_build.cli.wiring import make_supply  # noqa: PLC0415

    lines = progress(given["verbose"], given["quiet"])
    output: Path = given["output"]
    with signals_as_errors():
        with lines.step("engine"):
            engine = connect()
        with lines.step("read the source"):
            source = b"".join(source_tar(asked.project, tracked_files, leave_out=[output]))
        host = Host(
            source=source,
            index=index_settings(with_credentials=given["index_credentials"]),
            ca_bundle=ca_bundle(given["ca_bundle"], os.environ),
            output=output,
            logs=cache_directory() / "logs",
            fail_fast=not given["keep_going"],
        )
        session = Session(engine, lines, verbose_output=given["verbose"] > 1)
        with closing(session):
            supply = make_supply(session, asked.config, asked.supplies, cache_directory())
            return build_all(Run(session=session, config=asked.config, host=host, supply=supply), asked.plan)


def _show_plan(chosen: Plan, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(chosen.to_json(), indent=2))
        return
    for target in chosen.targets:
        click.echo(target.identifier)
    for skip in chosen.skipped:
        click.echo(f"{skip.target.identifier}  skipped: {skip.reason}", err=True)


def _show_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
        return
    console = Console(width=None if Console().is_terminal else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    headings: Sequence[str] = ("wheel", "size", "time", "musl", "grafted")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in ("size", "time") else "left")
    for name, size, sha256, took, floor, grafted in table_rows(report):
        table.add_row(f"{name}\n[dim]{sha256}[/]", size, took, floor if floor == "-" else f">= {floor}", grafted)
    console.print(table, highlight=False)
    total = sum(outcome.wheel.size for outcome in report.outcomes if outcome.wheel)
    done = sum(outcome.wheel is not None for outcome in report.outcomes)
    console.print(f"{done} of {len(report.outcomes)} wheels, {human_size(total)}", highlight=False)
