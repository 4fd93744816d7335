"""``musllinux-build survey``: whether published wheels keep the promise of their tag."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from musllinux_build import __version__
from musllinux_build.adapters.console import ConsoleProgress
from musllinux_build.adapters.published import PYTHONS, PipIndex
from musllinux_build.arch import Arch
from musllinux_build.cli.audit import parse_policy_option
from musllinux_build.cli.options import cache_directory, progress, verbosity_options
from musllinux_build.cli.say import say_json
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.plaintext import plain_line
from musllinux_build.python import PythonTag
from musllinux_build.survey.collect import collect, iter_archs, plan_tasks, survey_task
from musllinux_build.survey.document import survey_json
from musllinux_build.survey.page import survey_page
from musllinux_build.survey.rows import Outcome, Row, Survey
from musllinux_build.survey.table import HEADINGS, WORDS, summary_lines, table_lines

COLOURS = {Outcome.CONFORMS: "green", Outcome.BREAKS: "bold red"}
INDENT = " " * 4
VERDICT = HEADINGS.index("verdict")
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("asked", nargs=-1, required=True, metavar="WHEEL|PROJECT...")
@click.option("--arch", "archs", multiple=True, metavar="ARCH", help="Fetch wheels for this one (default: all six).")
@click.option("--python", metavar="X.Y", help="Fetch wheels for this CPython (default: the newest that has some).")
@click.option("--policy", metavar="POLICY", help="Fetch what a musl of this series takes, and measure against it.")
@click.option("--whitelist", multiple=True, metavar="NAME", help="Trust every system to have this library (libz.so.1).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--json-file", type=OUTPUT, metavar="FILE", help="Write the survey as JSON.")
@click.option("--html", "html_file", type=OUTPUT, metavar="FILE", help="Write one self-contained HTML page.")
@click.option("--jobs", type=click.IntRange(1, 16), default=4, show_default=True, help="Wheels at a time.")
@verbosity_options
@click.pass_context
def survey(
    ctx: click.Context,
    *,
    asked: Sequence[str],
    archs: Sequence[str],
    python: str | None,
    policy: str | None,
    whitelist: Sequence[str],
    as_json: bool,
    json_file: Path | None,
    html_file: Path | None,
    jobs: int,
    verbose: int,
    quiet: int,
) -> None:
    """Audit published wheels for their tag: paths of wheels, or projects (NAME, NAME==VERSION) fetched through pip.

    The exit status is 0 when all conform and 1 when one does not; a wheel that cannot be fetched or read is a row,
    and decides the status only when no wheel breaks its tag.
    """
    refuse_wheels(("--json-file", json_file), ("--html", html_file))
    chosen, tasks = parse_policy_option(policy), plan_tasks(asked, parse_archs(archs))
    lines = progress(verbose, quiet)
    cache = cache_directory() / "survey"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="wheels-") as scratch:
        index = PipIndex(cache=cache, directory=Path(scratch), pythons=parse_python(python))
        one = functools.partial(survey_task, index=index, policy=chosen, whitelist=frozenset(whitelist))
        rows = collect(tasks, one, jobs=jobs, tell=functools.partial(tell, lines, len(tasks)))
    found = Survey(rows=rows, date=survey_date(), tool=f"musllinux-build {__version__}")
    if as_json:
        say_json(survey_json(found))
    else:
        show(found)
    write(json_file, lambda: json.dumps(survey_json(found), indent=2) + "\n", lines)
    write(html_file, lambda: survey_page(found), lines)
    ctx.exit(found.exit_code)


def refuse_wheels(*outputs: tuple[str, Path | None]) -> None:
    """Keep options from taking the first of ``wheelhouse/*.whl`` as the file to write.

    Raises:
        UsageError: an output has the name of a wheel.
    """
    for option, path in outputs:
        if path is not None and path.suffix.lower() == ".whl":
            raise UsageError(
                f"{option} would write over a wheel: {path}",
                resolution=f"Name the file to write after {option}, and then the wheels.",
            )


def tell(lines: ConsoleProgress, total: int, done: int, row: Row) -> None:
    """One line of progress."""
    what = f"{row.project or row.asked} {row.version} {row.arch.value if row.arch else ''}"
    lines.note(f"[{done}/{total}] {plain_line(' '.join(what.split()))}: {WORDS[row.outcome]}")
    if row.reason:
        lines.detail(plain_line(row.reason))


def show(found: Survey) -> None:
    """The table and what it adds up to, on standard output; reasons stand below their wheel, whole in any window."""
    console = Console(highlight=False, soft_wrap=False)
    lines = tuple(table_lines(found.rows))
    widths = [
        max(len(cells[at]) for cells in (HEADINGS, *(line.cells for line in lines))) for at in range(len(HEADINGS))
    ]
    padded = [f"{word:<{width}}" for word, width in zip(HEADINGS, widths, strict=True)]
    console.print(Text("  ".join(padded).rstrip(), style="bold"), overflow="fold")
    for line in lines:
        shown = [Text(f"{cell:<{width}}") for cell, width in zip(line.cells, widths, strict=True)]
        shown[VERDICT].stylize(COLOURS.get(line.outcome, "dim"))
        text = Text("  ").join(shown)
        text.rstrip()
        console.print(text, overflow="fold")
        for reason in line.below:
            for part in textwrap.wrap(reason, max(console.width - len(INDENT), 40), break_on_hyphens=False):
                console.print(Text(f"{INDENT}{part}", style="dim"), overflow="fold")
    console.print()
    for summary in summary_lines(found):
        console.print(Text(summary), overflow="fold")


def write(path: Path | None, make: Callable[[], str], lines: ConsoleProgress) -> None:
    """Put a text at ``path``, when there is one.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(make(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", resolution="Name another file.") from error
    lines.note(f"wrote {path}")


def survey_date() -> datetime:
    """Now, or SOURCE_DATE_EPOCH."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC).replace(microsecond=0)


def parse_archs(words: Sequence[str]) -> tuple[Arch, ...]:
    """The architectures in ``words``.

    Raises:
        UsageError: there is none of that name; names the near miss.
    """
    known = [arch.value for arch in Arch]
    for word in words:
        if word not in {*known, "all"}:
            raise UsageError(f"unknown architecture {word!r}", resolution=near_miss(word, known))
    return tuple(iter_archs(words))


def parse_python(text: str | None) -> tuple[PythonTag, ...]:
    """The CPython in ``text``; all known ones, newest first, for None.

    Raises:
        UsageError: it is none.
    """
    try:
        return PYTHONS if text is None else (PythonTag.parse(text),)
    except ValueError:
        raise UsageError(f"{text!r} is not a CPython release", resolution="Write it as 3.13 or cp313t.") from None
