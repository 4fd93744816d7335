"""``musllinux-build merge``: what several machines built, checked and put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from musllinux_build.adapters.files import file_digest, place_whole
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.cli.closing import table_lines
from musllinux_build.cli.options import option, progress, verbosity_options
from musllinux_build.cli.say import failures_as_json, say, say_json, write_text
from musllinux_build.errors import UsageError
from musllinux_build.merge import FoundWheel, Merged, merge, merged_rows
from musllinux_build.parts import PATTERN, parse_part, parse_planned, seconds_of
from musllinux_build.report import human_size
from musllinux_build.times import format_times


@click.command("merge")
@click.argument(
    "directories",
    nargs=-1,
    required=True,
    metavar="DIR...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    help="A directory to be made.",
)
@option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What has to be there, from plan --format json (default: what the parts say).",
)
@click.option("--times", type=click.Path(dir_okay=False, path_type=Path), help="Write how long each wheel took here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@verbosity_options
def merge_command(**given: Any) -> int:
    """Put the wheels of every DIR into one directory, if they are all that was planned and no two differ."""
    with failures_as_json(wanted=given["as_json"]), signals_as_errors():
        return _run(given)


def _run(given: dict[str, Any]) -> int:
    lines = progress(given["verbose"], given["quiet"])
    try:
        paths = [path for directory in given["directories"] for path in sorted(directory.iterdir())]
        planned = parse_planned(given["plan"].read_text("utf-8"), str(given["plan"])) if given["plan"] else None
        parts = [parse_part(path.read_text("utf-8"), str(path)) for path in paths if path.match(PATTERN)]
        with lines.step("read the wheels"):
            found = [_found(path) for path in dict.fromkeys(paths) if path.suffix == ".whl"]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot read what is to be merged", details=str(error)) from error
    merged = merge(found, parts, planned)
    with lines.step(f"write {given['output']}"):
        new = place_whole({wheel.path: wheel.sha256 for wheel in merged.wheels}, given["output"])
    for note in merged.notes if new else (*merged.notes, f"{given['output']} has them already"):
        lines.note(note)
    if given["times"] is not None:
        write_text(given["times"], format_times(seconds_of(parts)))
    _show(merged, as_json=given["as_json"])
    return 0


def _found(path: Path) -> FoundWheel:
    return FoundWheel(path=path, size=path.stat().st_size, sha256=file_digest(path))


def _show(merged: Merged, *, as_json: bool) -> None:
    if as_json:
        say_json(merged.to_json())
        return
    for line in table_lines(merged_rows(merged)):
        say(line)
    total = human_size(sum(wheel.size for wheel in merged.wheels))
    noun = "wheel" if len(merged.wheels) == 1 else "wheels"
    say(f"{len(merged.wheels)} {noun}, {total}" + (f", for {len(merged.served)} targets" if merged.served else ""))
