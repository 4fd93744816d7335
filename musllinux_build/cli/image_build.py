"""``musllinux-build images build | clean``: images from the shipped Dockerfiles, and their stages on the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.cli.main import show_error
from musllinux_build.cli.options import (
    log_directory,
    option,
    progress,
    supplies_from,
    supply_options,
    variant_option,
    verbosity_options,
)
from musllinux_build.cli.say import write_text
from musllinux_build.images.build import Report, build_images
from musllinux_build.images.cleaning import needed_stages, remove_stages, stale_stages
from musllinux_build.images.foundry import State
from musllinux_build.images.reference import DEFAULT_REGISTRY, Variant
from musllinux_build.images.targets import chosen_targets
from musllinux_build.images.works import STAGE_LABEL, Made, Order


@click.command("build", short_help="Build images from the lock.")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@option("--policy", multiple=True, help="musllinux_1_2 (default: all that the lock has). Repeatable.")
@option("--arch", multiple=True, help="x86_64, aarch64 ... (default: all that the lock has packages for). Repeatable.")
@option("--python", multiple=True, help="3.13, 3.13.5 or 3.14t (default: all). Repeatable.")
@option("--registry", default=DEFAULT_REGISTRY, show_default=True, help="What the images are called after.")
@variant_option
@option("--jobs", "-j", type=click.IntRange(1), default=2, show_default=True, help="Build so many stages at once.")
@click.option("--no-cache", is_flag=True, help="Build every stage again, although it is there.")
@click.option("--keep-going", is_flag=True, help="After a failure build what does not need it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--times", type=click.Path(dir_okay=False, path_type=Path), help="Also write that JSON to this file.")
@supply_options
@verbosity_options
def build_command(**given: Any) -> int:
    """Build each IMAGE, such as musllinux_1_2_s390x, or all that the options leave.

    Stages that several need are built once, what is there already not at all, the rest in parallel.
    """
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - not needed for the lock

    supplies = supplies_from(given)
    lines = progress(given["verbose"], given["quiet"])
    targets = chosen_targets(supplies.lock, given["policy"], given["arch"], given["images"])
    order = Order(
        pythons=given["python"],
        registry=given["registry"],
        variant=Variant(given["variant"]),
        jobs=given["jobs"],
        no_cache=given["no_cache"],
        keep_going=given["keep_going"],
        logs=log_directory("images"),
    )
    with signals_as_errors(), closing(Session(connect(), lines)) as session:
        report = build_images(session.engine, targets, supplies, lines, order)
    document = report_json(report, order)
    if given["times"] is not None:
        write_text(given["times"], f"{json.dumps(document, indent=2)}\n")
    click.echo(json.dumps(document, indent=2) if given["as_json"] else report_table(report))
    for made in report.images:
        if made.error is not None and made.error is not report.error:
            show_error(made.error)
    if report.error is not None:
        raise report.error
    return 0


@click.command("clean", short_help="Remove the stages that no build needs any more.")
@click.option("--all", "everything", is_flag=True, help="Also the stages that the next build would use.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@supply_options
@verbosity_options
def clean_command(**given: Any) -> int:
    """Remove the stages of images that the lock and the shipped Dockerfiles do not need any more."""
    from musllinux_build.adapters.docker_sdk import connect  # noqa: PLC0415 - not needed for the lock

    supplies = supplies_from(given)
    lines = progress(given["verbose"], given["quiet"])
    with signals_as_errors():
        engine = connect()
        native = engine.info().arch
        if given["everything"] or native is None:
            needed: frozenset[str] = frozenset()
        else:
            needed = needed_stages(engine, native, chosen_targets(supplies.lock, (), ()), supplies, lines)
        stale = stale_stages(engine, needed)
        gone = stale if given["dry_run"] else remove_stages(engine, stale)
    for info in gone:
        click.echo(f"{info.id.removeprefix('sha256:')[:12]} {info.labels.get(STAGE_LABEL, 'image')}")
    lines.note(f"{len(gone)} {'to be ' if given['dry_run'] else ''}removed, {len(stale) - len(gone)} still in use")
    return 0


def report_json(report: Report, order: Order) -> Mapping[str, Any]:
    """The run as data; docs/building.md describes it."""
    return {
        "schema": 1,
        "jobs": order.jobs,
        "no_cache": order.no_cache,
        "seconds": round(report.seconds, 1),
        "images": [_image_json(made, report) for made in report.images],
        "stages": [
            {
                "key": key,
                "name": entry.job.title,
                "state": entry.state.value,
                "seconds": round(entry.seconds, 1),
                "started": round(entry.started, 1),
                "ended": round(entry.ended, 1),
                "target": key in report.targeted,
            }
            for key, entry in report.stages.items()
        ],
    }


def _image_json(made: Made, report: Report) -> Mapping[str, Any]:
    return {
        "image": made.tag,
        "policy": made.policy.value,
        "arch": made.arch.value,
        "id": made.info.id if made.info is not None else None,
        "size": made.info.size if made.info is not None else None,
        "seconds": round(report.seconds_of(made), 1),
        "target_seconds": round(report.seconds_of(made, target_only=True), 1),
        "stages": list(made.stages),
        "reused": report.reused(made),
        "error": made.error.brief if made.error is not None else None,
    }


def report_table(report: Report) -> str:
    """One line per image; its seconds are those of its stages, shared ones too."""
    rows = [("image", "id", "MB", "seconds", "stages reused")]
    for made in report.images:
        state = made.info.id.removeprefix("sha256:")[:12] if made.info is not None else None
        rows.append(
            (
                made.tag,
                state or ("failed" if made.error is not None else State.LEFT.value),
                f"{made.info.size / 1e6:.0f}" if made.info is not None else "-",
                f"{report.seconds_of(made):.0f}",
                f"{report.reused(made)} of {len(made.stages)}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place in (0, 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(lines)
