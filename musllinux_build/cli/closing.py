"""What a run leaves on the screen: the plan or the closing table on standard output, or the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from musllinux_build.cli.say import say, say_json
from musllinux_build.plan import Plan
from musllinux_build.report import Report, Row, human_size, table_rows

HEADINGS = ("wheel", "size", "time", "musl")


def show_plan(chosen: Plan, *, as_json: bool) -> None:
    """One identifier per line; skips with their reasons on standard error."""
    if as_json:
        say_json(chosen.to_json())
        return
    for target in chosen.targets:
        click.echo(target.identifier)
    for skip in chosen.skipped:
        click.echo(f"{skip.target.identifier}  skipped: {skip.reason}", err=True)


def show_report(report: Report, *, as_json: bool) -> None:
    """The closing table; a hash stands on a line of its own, whole, to be copied."""
    if as_json:
        say_json(report.to_json())
        return
    for line in table_lines(table_rows(report)):
        say(line)
    wheels = {outcome.wheel.path: outcome.wheel for outcome in report.outcomes if outcome.wheel}
    total = human_size(sum(wheel.size for wheel in wheels.values()))
    failed = sum(outcome.error is not None for outcome in report.outcomes)
    served = sum(outcome.wheel is not None for outcome in report.outcomes)
    noun = "wheel" if len(wheels) == 1 else "wheels"
    text = f"{len(wheels)} {noun}, {total}, for {served} of {len(report.plan.targets)} targets"
    reused = sum(outcome.reused for outcome in report.outcomes)
    click.echo(text + (f"; {reused} reused" if reused else "") + (f"; {failed} failed" if failed else ""))


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Aligned columns; what was grafted and the hash stand below, so that both stay whole in a narrow window."""
    cells = [HEADINGS, *((row.name, row.size, row.time, row.floor) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    below: list[tuple[str, ...]] = [
        (),
        *((f"grafted {row.grafted}" if row.grafted else "", row.remark, row.caveat) for row in rows),
    ]
    for (name, size, time, floor), remarks in zip(cells, below, strict=True):
        yield f"{name:<{widths[0]}}  {size:>{widths[1]}}  {time:>{widths[2]}}  {floor}".rstrip()
        yield from (f"  {remark}" for remark in remarks if remark)
