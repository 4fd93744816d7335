"""docs/benchmarks/auditor.md and its chart, from what auditor.py measured."""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Ours beside theirs on one wheel: seconds, KiB and bytes. ``floor`` is bare inflating and hashing."""

    name: str
    ours: float
    theirs: float
    our_cpu: float
    their_cpu: float
    our_peak: int
    their_peak: int
    floor: float
    our_size: int
    their_size: int

    @property
    def ratio(self) -> float:
        """How many times faster."""
        return self.theirs / self.ours

    @property
    def growth(self) -> float:
        """Our size as part of theirs."""
        return self.our_size / self.their_size if self.their_size else math.nan

    def line(self, what: str) -> str:
        """The row for the terminal."""
        size = f", size x{self.growth:.4f}" if self.their_size else f", floor {self.floor:.3f} s"
        return (
            f"{what} {self.name}: {self.ours:.3f} s / {self.theirs:.3f} s = {self.ratio:.1f}x, cpu {self.our_cpu:.2f} / "
            f"{self.their_cpu:.2f}, peak {self.our_peak // 1024} / {self.their_peak // 1024} MiB{size}"
        )


def geometric(rows: Sequence[Comparison]) -> float:
    """The geometric mean of the ratios."""
    return statistics.geometric_mean(row.ratio for row in rows)


def write_page(
    directory: Path,
    shows: Sequence[Comparison],
    repairs: Sequence[Comparison],
    start_up: tuple[float, float],
    machine: str,
    rounds: int,
) -> None:
    """Write both files into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "auditor.svg").write_text(_chart(shows, repairs), "utf-8")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    version, imports = start_up
    lines = [
        "# The auditor beside auditwheel 6.8.2",
        "",
        f"Written by `make bench-auditor` on {today}: {machine}. Whole processes, {rounds} runs of each in turn with warm",
        "caches, medians of the wall time, the largest peak memory (ru_maxrss). The wheels are the published ones for",
        "musllinux_1_2_x86_64; for `repair` their grafted libraries were taken out into a directory first, and both tools",
        "deflate at level 6.",
        "",
        "![how many times faster](auditor.svg)",
        "",
        f"**show**: {geometric(shows):.1f} times faster (geometric mean), at least {min(r.ratio for r in shows):.1f} times.",
        f"**repair**: {geometric(repairs):.1f} times faster, at least {min(r.ratio for r in repairs):.1f} times.",
        f"**Start-up**: `--version` {version:.3f} s; `audit show --help`, which imports what `show` does, {imports:.3f} s.",
        "",
        "## show",
        "",
        "Beyond start-up is our time less that of `audit show --help`; bare is reading, inflating with the same library",
        "and hashing every member in one thread.",
        "",
        "| wheel | ours s | auditwheel s | times | ours CPU s | its CPU s | beyond start-up s | bare s | part |"
        " ours MiB | its MiB |",
        "| --- |" + " ---: |" * 10,
        *(_show_row(row, imports) for row in shows),
        "",
        "## repair",
        "",
        "| wheel | ours s | auditwheel s | times | ours CPU s | its CPU s | ours MB | its MB | size | ours MiB | its MiB |",
        "| --- |" + " ---: |" * 10,
        *(_repair_row(row) for row in repairs),
        "",
        "auditwheel unpacks to disk, so that its `show` needs little memory; ours never writes, and holds what it inflates.",
        "",
    ]
    (directory / "auditor.md").write_text("\n".join(lines), "utf-8")


def _show_row(row: Comparison, imports: float) -> str:
    beyond = max(row.ours - imports, 0)
    return (
        f"| {row.name} | {row.ours:.3f} | {row.theirs:.3f} | {row.ratio:.1f} | {row.our_cpu:.2f} | {row.their_cpu:.2f} | "
        f"{beyond:.3f} | {row.floor:.3f} | {beyond / row.floor:.2f} | {row.our_peak // 1024} | {row.their_peak // 1024} |"
    )


def _repair_row(row: Comparison) -> str:
    return (
        f"| {row.name} | {row.ours:.2f} | {row.theirs:.2f} | {row.ratio:.1f} | {row.our_cpu:.2f} | {row.their_cpu:.2f} | "
        f"{row.our_size / 1e6:.2f} | {row.their_size / 1e6:.2f} | {row.growth - 1:+.2%} | {row.our_peak // 1024} | "
        f"{row.their_peak // 1024} |"
    )


def _chart(shows: Sequence[Comparison], repairs: Sequence[Comparison]) -> str:
    """Bars: how many times faster, for each wheel and both commands."""
    bars, width, left, step = [], 640, 90, 22
    longest = max(row.ratio for row in (*shows, *repairs))
    for group, (title, colour, rows) in enumerate((("show", "#2a6f97", shows), ("repair", "#bc6c25", repairs))):
        top = 30 + group * (len(rows) + 2) * step
        bars.append(f'<text x="0" y="{top}" font-weight="bold">{title}: times faster than auditwheel 6.8.2</text>')
        for at, row in enumerate(rows):
            y, size = top + 8 + at * step, row.ratio / longest * (width - left - 60)
            bars.append(f'<text x="0" y="{y + 13}">{row.name}</text>')
            bars.append(f'<rect x="{left}" y="{y}" width="{size:.1f}" height="16" fill="{colour}"/>')
            bars.append(f'<text x="{left + size + 6:.1f}" y="{y + 13}">{row.ratio:.1f}</text>')
    height = 30 + 2 * (len(shows) + 2) * step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(bars)}</svg>\n'
    )
