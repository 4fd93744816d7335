"""``musllinux-build images verify``: any image held to the contract."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.cli.options import option, progress, verbosity_options
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.images.absent import read_absent
from musllinux_build.images.promise import Level
from musllinux_build.images.verify import Result, Status, Verification, verify, wanted_of
from musllinux_build.policy import Policy, known_policies

T = TypeVar("T", Policy, Arch)

MARKS = {Status.PASS: ("pass", "green"), Status.FAIL: ("FAIL", "red"), Status.ABSENT: ("absent", "yellow")}


@click.command("verify", short_help="Hold any image to what clients rely on.")
@click.argument("ref", metavar="IMAGE")
@option("--policy", help="What it is held to (default: what the image says of itself).")
@option("--arch", help="Its architecture (default: what the image says of itself).")
@option(
    "--absent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML table [absent]: package, row or module.NAME to why the image's supplies lack it.",
)
@option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@option("--failures", is_flag=True, help="Show only what does not pass.")
@verbosity_options
@click.pass_context
def verify_command(ctx: click.Context, /, **given: Any) -> None:
    """Hold any IMAGE, ours or another's, to what clients rely on; exit status 1 when a must is not kept."""
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - start-up

    policy = _member(known_policies(), given["policy"])
    arch = _member(tuple(Arch), given["arch"])
    absent = read_absent(given["absent"])
    lines = progress(given["verbose"], given["quiet"])
    with signals_as_errors(), closing(Session(connect(), lines)) as session:
        image = session.engine.image(given["ref"])
        if image is None:
            image = session.engine.pull(given["ref"], (arch or Arch.X86_64).oci_platform)
        with lines.step(f"verify {given['ref']}"):
            found = verify(session, given["ref"], image, wanted_of(image, given["ref"], policy, arch), absent)
    if given["as_json"]:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        show(found, only_failures=given["failures"])
    if not found.passed:
        ctx.exit(1)


def _member(known: Sequence[T], word: str | None) -> T | None:
    """The policy or architecture of this name.

    Raises:
        UsageError: there is none.
    """
    found = next((one for one in known if one.value == word), None)
    if word is not None and found is None:
        raise UsageError(f"{word!r} is not known", resolution=near_miss(word, [one.value for one in known]))
    return found


def show(found: Verification, *, only_failures: bool) -> None:
    """The table and the counts."""
    for result in found.results:
        if not only_failures or result.status is not Status.PASS:
            _show_row(result)
    counts = Counter(result.status for result in found.results)
    broken = sum(result.status is Status.FAIL and result.level is Level.MUST for result in found.results)
    click.echo(
        f"{found.image}: {found.wanted.policy.platform_tag(found.wanted.arch)}: {counts[Status.PASS]} pass, "
        f"{broken} must and {counts[Status.FAIL] - broken} should fail, {counts[Status.ABSENT]} absent"
    )


def _show_row(result: Result) -> None:
    word, color = MARKS[result.status]
    level = "must  " if result.level is Level.MUST else "should"
    click.echo(f"{click.style(f'{word:6}', fg=color)} {level} {result.id:24} {result.claim}")
    if result.status is not Status.PASS:
        click.echo(f"{'':14} {'':24} {result.evidence}")
