"""``musllinux-build images join``: one index per policy out of what several machines pushed by digest."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.cli.options import option, progress, verbosity_options
from musllinux_build.cli.signing import chosen_signer, sign_options
from musllinux_build.errors import UsageError
from musllinux_build.images.join import Pushed, parse_pushed, plan_join, references
from musllinux_build.images.publish import default_tags, publish
from musllinux_build.images.reference import DEFAULT_REGISTRY


@click.command("join", short_help="Make the indexes of what several machines pushed.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@option("--registry", multiple=True, help=f"Where the images are: {DEFAULT_REGISTRY} by default. Repeatable.")
@option("--tag", multiple=True, help="Tags (default: the date, as 2026.11.22-1, and latest). Repeatable.")
@click.option("--plain-http", is_flag=True, help="Speak HTTP, to a registry on this machine.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what the tags name as JSON: name to digest.")
@sign_options
@verbosity_options
def join_command(**given: Any) -> int:
    """Make the indexes of what was pushed by digest and noted in FILES (publish --digests), and move the tags."""
    from musllinux_build.adapters.docker_sdk import stored_credentials  # noqa: PLC0415 - start-up

    lines = progress(given["verbose"], given["quiet"])
    sign = chosen_signer(given, os.environ, lines)
    registry = HttpRegistry(stored_credentials, plain=given["plain_http"])
    images = [image for path in given["files"] for image in _read(path)]
    variants = {image.variant for image in images}
    if len(variants) != 1:
        raise UsageError("FILES are of one variant, full or slim", resolution="Join each variant by itself.")
    tags = given["tag"] or default_tags(time.time(), *variants)
    named: dict[str, str] = {}
    with signals_as_errors():
        for where in given["registry"] or (DEFAULT_REGISTRY,):
            steps = plan_join(images, registry, where, tags)
            named |= references(steps)
            if given["dry_run"]:
                for step in steps:
                    click.echo(step.line(), err=given["as_json"])
                continue
            with lines.step(f"join the images of {where}"):
                changed = publish(steps, registry, lines, sign)
            lines.note(f"{where}: {changed} of {len(steps)} steps changed something")
    if given["as_json"]:
        click.echo(json.dumps(named, indent=2))
    elif not given["dry_run"]:
        for name, digest in named.items():
            click.echo(f"{name}@{digest}")
    return 0


def _read(path: Path) -> list[Pushed]:
    try:
        return parse_pushed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", details=str(error)) from error
