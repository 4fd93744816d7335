"""What is to be built, as far as it is known without an engine: the options that ``build`` and ``plan`` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from musllinux_build.adapters.files import write_whole
from musllinux_build.arch import Arch
from musllinux_build.cli.inside import inside_option, own_image, plan_inside
from musllinux_build.cli.options import cache_directory, option, supplies_from, supply_options
from musllinux_build.config import (
    Config,
    parse_arch,
    parse_config,
    parse_environment,
    parse_policy,
    parse_python,
    parse_requirements,
    parse_settings,
    split_words,
)
from musllinux_build.errors import UsageError
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.parts import Part
from musllinux_build.plan import Plan, plan
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL, Engine, Progress
from musllinux_build.project import Project, read_project
from musllinux_build.python import PythonTag
from musllinux_build.report import Report
from musllinux_build.shards import Shard, shard_of
from musllinux_build.surroundings import OwnImage
from musllinux_build.times import format_times, parse_times

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class ShardType(click.ParamType):  # type: ignore[type-arg] # generic in the newest click only
    """``I/N``."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """The shard in ``value``."""
        if isinstance(value, Shard):
            return value
        try:
            return Shard.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def selection_options(command: F) -> F:
    """SOURCE, and which identifiers of it; the command gets what ``gather`` and ``part_of`` read."""
    shared: Sequence[Callable[[F], F]] = (
        click.argument("source", type=click.Path(path_type=Path), default=Path()),
        option(
            "--arch",
            multiple=True,
            metavar="ARCH",
            help="Architecture to build for, or all (default: the engine's). Repeatable, as the next ones; or several"
            " between blanks or commas.",
        ),
        option("--policy", multiple=True, metavar="POLICY", help="musllinux_1_1, musllinux_1_2 (default) or all."),
        option(
            "--python",
            multiple=True,
            metavar="PYTHON",
            help="3.13, cp313 or all, prereleases left out (default: all that the images have).",
        ),
        option("--build", multiple=True, metavar="GLOB", help="Only identifiers like this: cp31[23]-*_x86_64."),
        option("--skip", multiple=True, metavar="GLOB", help="None of the identifiers like this: cp39-*."),
        option(
            "--only", multiple=True, metavar="ID", help="Build one identifier, cp313-musllinux_1_2_x86_64. Repeatable."
        ),
        option("--shard", type=ShardType(), metavar="I/N", help="Only the I-th of N parts, the first being 1/N."),
        option(
            "--times",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="How long each wheel takes, from merge --times, to make parts of equal length.",
        ),
        option("--registry", metavar="PREFIX", help="Where images are pulled from: PREFIX/musllinux_1_2_x86_64."),
    )
    command = inside_option(supply_options(command))
    for decorate in reversed(shared):
        command = decorate(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be done, as far as it is known without an engine; without ``supplies`` it is done ``here``."""

    project: Project
    config: Config
    supplies: Supplies | None
    here: OwnImage | None
    shard: Shard | None
    times: Mapping[str, float]
    """What ``--times`` says, and nothing that only this machine knows: parts are the same everywhere."""


def gather(given: Mapping[str, Any]) -> Asked:
    """The project and its configuration with the command line over it.

    Raises:
        UsageError: an option is wrong, or contradicts another.
    """
    here = own_image(given["inside"])
    project = read_project(given["source"])
    config = configured(parse_config(project.table), given)
    if here is not None:
        config = here.confine(config, configured(Config(), given))
    shard = given["shard"]
    if shard is not None and not config.archs and not config.only:
        raise UsageError(
            "--shard without an architecture: the default is the machine's own, and every part needs the same plan",
            resolution="Add --arch, or archs to [tool.musllinux-build].",
        )
    return Asked(
        project=project,
        config=config,
        here=here,
        supplies=None if here else supplies_from(given),
        shard=shard,
        times=_read_times(given["times"]) if given["times"] is not None else {},
    )


Held = Mapping[tuple[Policy, Arch], Collection[PythonTag]]
"""The Pythons of images that are on an engine already."""


def part_of(asked: Asked, native: Arch, held: Held = MappingProxyType({})) -> Part:
    """The whole plan's identifiers, and the plan of this part."""
    whole = _plan(asked, native, held)
    planned = tuple(target.identifier for target in whole.targets)
    mine = shard_of(whole, asked.shard, asked.times) if asked.shard is not None else whole
    return Part(plan=mine, planned=planned, shard=asked.shard)


def require_something(part: Part) -> Part:
    """A part of a plan that builds something; a shard of it may be empty.

    Raises:
        UsageError: nothing is selected; the details are the reasons.
    """
    if not part.planned:
        reasons = sorted({skip.reason for skip in part.plan.skipped})
        raise UsageError(
            "nothing is selected",
            details="\n".join(reasons),
            resolution="Choose others with --arch, --policy, --python, --build and --skip, or their keys.",
        )
    return part


def held_by(engine: Callable[[Arch], Engine], asked: Asked, native: Arch) -> Held:
    """What the local images have, where nobody has chosen Pythons; a shard does not look at what one engine holds."""
    config, found = asked.config, dict[tuple[Policy, Arch], Collection[PythonTag]]()
    if asked.here is not None or asked.shard is not None or config.only or config.pythons or config.pull == "always":
        return found
    for policy, arch in product(config.policies or (Policy.MUSLLINUX_1_2,), config.archs or (native,)):
        image = engine(arch).image(image_reference(config.registry or DEFAULT_REGISTRY, policy, arch))
        if image is not None and image.labels.get(PYTHONS_LABEL):
            found[policy, arch] = image.pythons
    return found


def _plan(asked: Asked, native: Arch, held: Held) -> Plan:
    project, config, supplies = asked.project, asked.config, asked.supplies
    if asked.here is not None:
        return plan_inside(project, config, asked.here)
    assert supplies is not None
    # Whoever names a registry knows what it holds.
    rows = None if config.registry else {(row.policy, row.arch): row.unmade for row in supplies.lock.apks}
    return plan(
        config,
        pythons=supplies.pythons(),
        requires_python=project.requires_python,
        native=native,
        images=rows,
        here=held,
        prereleases=supplies.prereleases(),
    )


def configured(config: Config, given: Mapping[str, Any]) -> Config:
    """The command line over pyproject.toml.

    Raises:
        UsageError: all mistakes together.
    """
    problems: list[str] = []
    if given["only"] and (given["arch"] or given["policy"] or given["python"]):
        problems.append("--only already names architecture, policy and Python; leave the others out")
    changes: dict[str, Any] = {}
    for name, (field, parse) in _PARSED.items():
        if given.get(name):
            try:
                changes[field] = parse(given[name])
            except ValueError as error:
                problems.append(f"--{name.replace('_', '-')}: {error}")
    changes |= {name: given[name] for name in _PLAIN if given.get(name) is not None}
    if problems:
        raise UsageError(problems[0], details="\n".join(problems[1:]))
    return replace(config, **changes)


def _each(parse: Callable[[str], Iterable[T]]) -> Callable[[Sequence[str]], tuple[T, ...]]:
    """The results for every name, in order, each once."""
    return lambda texts: tuple(
        dict.fromkeys(item for text in texts for word in split_words(text) for item in parse(word))
    )


def _globs(texts: Sequence[str]) -> tuple[str, ...]:
    """All of them; a comma may stand between braces."""
    return tuple(word for text in texts for word in text.split())


# Option → field of Config and how its text is read; the plain ones go over as they are.
_PARSED: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "arch": ("archs", _each(parse_arch)),
    "policy": ("policies", _each(parse_policy)),
    "python": ("pythons", lambda texts: () if "all" in texts else _each(lambda text: (parse_python(text),))(texts)),
    "build": ("build", _globs),
    "skip": ("skip", _globs),
    "only": ("only", tuple),
    "config_setting": ("config_settings", parse_settings),
    "environment": ("environment", parse_environment),
    "test_requires": ("test_requires", parse_requirements),
}
_PLAIN = ("before_all", "before_build", "test_command", "compiler", "accel", "pull", "registry", "verify")


def _read_times(path: Path) -> Mapping[str, float]:
    try:
        return parse_times(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", details=str(error)) from error


def times_file(project: Project) -> Path:
    """Where this machine keeps how long the wheels of a project took."""
    table = project.pyproject.get("project")
    name = table.get("name") if isinstance(table, Mapping) else None
    text = str(name or project.path.resolve().name).lower()
    return cache_directory() / "times" / f"{re.sub(r'[^a-z0-9]+', '-', text)}.json"


def recorded_times(path: Path) -> Mapping[str, float]:
    """What this machine remembers; nothing where that is not to be read: it is only a cache."""
    try:
        return _read_times(path)
    except UsageError:
        return {}


def record_times(path: Path, report: Report, lines: Progress) -> None:
    """Remember how long the wheels of ``report`` took."""
    took = {
        outcome.target.identifier: outcome.seconds
        for outcome in report.outcomes
        if outcome.wheel is not None and outcome.error is None and not outcome.reused
    }
    if not took:
        return
    try:
        write_whole(path, format_times({**recorded_times(path), **took}))
    except OSError as error:
        lines.detail(f"times are not kept: {error}")
