"""docs/benchmarks/foreign.md, from what foreign.py measured."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.foreign_rows import NATIVE, SHORTEST, Measurement, Mode, Project, Row


def page(projects: Sequence[Project], rows: Sequence[Row], found: Sequence[Measurement], chart: str) -> str:
    """The document; ``chart`` is the file name of the charts without its suffix."""
    begun = sorted({one.begun for one in found})
    lines = [
        "# Foreign builds beside native ones",
        "",
        f"Written by `make bench-foreign`; measured {_between(begun)} in {_count(len(begun), 'run')} of the benchmark.",
        "",
        *(f"- Machine: {one}" for one in sorted({one.machine for one in found})),
        *(f"- Version: {one}" for one in sorted({one.tool for one in found})),
        f"- Python: {', '.join(sorted({one.python for one in found}))}",
        f"- Medians of each cell: {', '.join(_runs(rows)) or 'nothing is measured'}",
        "",
        "One whole process `musllinux-build SDIST --arch ARCH --rebuild` per build, from reading the sdist to the proof on",
        "both stock Alpines; images, compilers and build environments are there (one build before, unmeasured), results of",
        "`before-all` are not. The projects were chosen before anything was measured",
        "([benchmarks/foreign.toml](../../benchmarks/foreign.toml)), the limits too.",
        "",
        *_projects(projects),
        "",
        *_sentences(projects, rows, found),
        "",
        f"![seconds of each build, on a logarithmic scale]({chart}.png)",
        "",
        f"([as HTML]({chart}.html))",
        "",
        *_table(rows),
        "",
        *(f"*{mode.value}*: {mode.title}." for mode in Mode),
        "A dash is a cell that was not measured, or a ratio without both of its cells.",
        "",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _runs(rows: Sequence[Row]) -> list[str]:
    """How often a cell of each mode was measured."""
    said = []
    for mode in Mode:
        runs = sorted({len(row.cells[mode].seconds) + len(row.cells[mode].failures) for row in rows} - {0})
        if runs:
            said.append(f"{mode.value} {' to '.join(str(number) for number in dict.fromkeys((runs[0], runs[-1])))}")
    return said


def _between(begun: Sequence[str]) -> str:
    if not begun:
        return "never"
    return f"at {begun[0]}" if len(begun) == 1 else f"from {begun[0]} to {begun[-1]}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _projects(projects: Sequence[Project]) -> list[str]:
    return [f"- **{one.name} {one.version}** ({one.kind}): {one.why}." for one in projects]


def _sentences(projects: Sequence[Project], rows: Sequence[Row], found: Sequence[Measurement]) -> list[str]:
    """What the rows add up to; nothing that fails or was left out is passed over."""
    limits = [row.within for row in rows if row.within is not None]
    gains = [row.gained for row in rows if row.gained is not None]
    lines = [
        f"- **Beside native builds**: {sum(limits)} of {len(limits)} limits hold.",
        f"- **Beside plain qemu**: {sum(gains)} of {len(gains)} promised gains are there."
        if gains
        else "- **Beside plain qemu**: not measured.",
    ]
    measured = {row.project.name for row in rows}
    if missing := [one.name for one in projects if one.name not in measured]:
        lines.append(f"- **Not measured**: {', '.join(missing)}.")
    short = {row.project.name for row in rows if (row.cells[Mode.NATIVE].median or SHORTEST) < SHORTEST}
    if short:
        lines.append(f"- Below the {SHORTEST:.0f} s that each should take natively: {', '.join(sorted(short))}.")
    failed = [row for row in rows if any(cell.failures for cell in row.cells.values())]
    if failed:
        names = ", ".join(f"{row.project.name} on {row.arch}" for row in failed)
        lines.append(f"- Builds that failed are in: {names}.")
    reasons = {(one.project, one.arch): one.emulated for one in found if one.emulated}
    lines += [f"- *python* is *full* for {name} on {arch}: {reason}." for (name, arch), reason in reasons.items()]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    return [
        f"| project | architecture | {NATIVE} native s | plain s | compiler s | full s | python s | full / native | limit | holds |"
        " plain / full | at least | holds |",
        "| --- | --- |" + " ---: |" * 7 + " --- |" + " ---: |" * 2 + " --- |",
        *(_line(row) for row in rows),
    ]


def _line(row: Row) -> str:
    cells = [row.cells[mode].text for mode in (Mode.NATIVE, Mode.PLAIN, Mode.COMPILER, Mode.FULL, Mode.PYTHON)]
    promised = f"{row.project.gain:.1f}" if row.project.gain else "-"
    words = [
        *(row.project.name, row.arch, *cells),
        *(_number(row.ratio), f"{row.project.limit:.1f}", _word(row.within)),
        *(_number(row.gain), promised, _word(row.gained)),
    ]
    return f"| {' | '.join(words)} |"


def _number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else "-"


def _word(holds: bool | None) -> str:  # noqa: FBT001 - a cell's value
    return {True: "yes", False: "**no**", None: "-"}[holds]
