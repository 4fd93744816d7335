"""``musllinux-build doctor``: what is there, what is missing, and the command that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from musllinux_build.adapters.host import ca_bundle as read_bundle
from musllinux_build.arch import Arch
from musllinux_build.cli.inside import inside_option, own_image
from musllinux_build.cli.options import option, progress, verbosity_options
from musllinux_build.cli.say import say
from musllinux_build.config import Config, parse_arch, split_words
from musllinux_build.doctor import Check, State, to_json, worst
from musllinux_build.engines import EngineSpec, address_of, parse_engine
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.ports import Progress
from musllinux_build.surroundings import OwnImage

_MARKS = {State.OK: "ok     ", State.WARNING: "warning", State.FAILED: "FAILED "}


@click.command()
@click.option("--fix", is_flag=True, help="As root on Debian or Ubuntu: install, start and register what is missing.")
@option("--arch", multiple=True, metavar="ARCH", help="Look at these architectures only (default: all).")
@option("--engine", metavar="[ARCH=]SPEC", help="Look at this engine, named as for the build command.")
@click.option(
    "--ca-bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As of the build command."
)
@inside_option
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@verbosity_options
def doctor(
    *,
    fix: bool,
    arch: Sequence[str],
    engine: str | None,
    ca_bundle: Path | None,
    inside: bool | None,
    as_json: bool,
    verbose: int,
    quiet: int,
) -> int:
    """Check engine, emulation, disk, certificates and index; exit status 3 when something is missing.

    Without --arch the engine's own architecture has to run; with it, those that are named. Inside a musllinux image
    it is that image that is looked at: no engine is needed there.
    """
    lines = progress(verbose, quiet)
    archs = _parse_archs(arch)
    spec = _parse_engine(engine)
    if spec is not None and spec.arch is not None:
        archs = (*archs, *({spec.arch} - set(archs)))
    # Who names an engine asks for that one.
    here = own_image(inside) if spec is None else None
    if here is None:
        checks = _with_engine(spec, archs, read_bundle(ca_bundle, os.environ), lines, fix=fix)
    else:
        checks = _inside(here, archs, ca_bundle, fix=fix)
    if as_json:
        click.echo(json.dumps(to_json(checks), indent=2))
    else:
        for check in checks:
            say(f"{_MARKS[check.state]}  {check.name:<14} {check.found}")
            for line in check.mend.splitlines():
                say(f"{'':25}→ {line}")
    return EngineError.exit_code if worst(checks) is State.FAILED else 0


def _with_engine(
    spec: EngineSpec | None, archs: Sequence[Arch], bundle: bytes, lines: Progress, *, fix: bool
) -> Sequence[Check]:
    # Imported here: they bring the engine's SDK, which the inside of an image does without.
    from musllinux_build.adapters.addressed import endpoint_at  # noqa: PLC0415
    from musllinux_build.adapters.docker_json import Endpoint  # noqa: PLC0415
    from musllinux_build.adapters.docker_sdk import find_endpoint  # noqa: PLC0415
    from musllinux_build.builds.session import signals_as_errors  # noqa: PLC0415
    from musllinux_build.cli.examine import Wanted, examine, mend  # noqa: PLC0415

    def find() -> Endpoint:
        if spec is None:
            return find_endpoint(os.environ)
        return endpoint_at(address_of(spec, os.environ, os.path.exists))

    wanted = Wanted(archs=archs or tuple(Arch), named=bool(archs), bundle=bundle)
    with signals_as_errors():
        if fix:
            mend(find(), wanted.archs, lines)
        return examine(find, wanted, lines)


def _inside(here: OwnImage, archs: Sequence[Arch], ca_bundle: Path | None, *, fix: bool) -> Sequence[Check]:
    from musllinux_build.cli.examine_inside import examine  # noqa: PLC0415 - not with an engine

    if fix:
        raise UsageError(
            f"doctor --fix mends engines, and this runs inside {here.name}, which needs none",
            resolution="Run it where the engine is, or without --fix.",
        )
    here.confine(Config(), Config(archs=tuple(archs)))
    return examine(here, ca_bundle)


def _parse_engine(word: str | None) -> EngineSpec | None:
    """The named engine; UsageError for a word that names none."""
    try:
        return parse_engine(word) if word else None
    except ValueError as error:
        raise UsageError(f"--engine: {error}") from error


def _parse_archs(words: Sequence[str]) -> tuple[Arch, ...]:
    """Each named architecture once; UsageError with the near miss for one that is not known."""
    try:
        return tuple(dict.fromkeys(arch for text in words for word in split_words(text) for arch in parse_arch(word)))
    except ValueError as error:
        raise UsageError(f"--arch: {error}") from error
