"""Cells to a document for people and one for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from musllinux_build.arch import Arch
from musllinux_build.tags import WheelName, named_arch
from tests.agreement.closed import REASONS, excuses
from tests.agreement.compare import Cell
from tests.agreement.loaders import CALLED_PYTHON, Release

HEAD = """\
# Agreement with real loaders

Written by `make agreement` (`python -m tests.agreement`); do not edit. Every object of the published wheels in
`tests/agreement/wheels.txt`, of the fixtures in `tests/agreement/fixtures.py` and of wheels of random names, search
paths and symbols (`random_wheels.py`) was installed in stock Alpine, and loaded in a process of its own: extensions
and libraries by `dlopen` after a stand-in for the interpreter (a library that exports the `Py*` names they ask for),
programs by executing them with `--version`. Architectures other than the machine's run under qemu-user. Beside it
stands what we say with `--floor` set to the musl of that Alpine.

"""


@dataclass(slots=True, kw_only=True)
class Results:
    """All cells of a run; ``repaired`` are of published wheels after a repair.

    ``unread`` are wheels that could not be judged, ``unrepaired`` refused ones that cannot be mended, with the reason.
    """

    published: list[Cell] = field(default_factory=list)
    repaired: list[Cell] = field(default_factory=list)
    made: list[Cell] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    unrepaired: dict[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (*self.published, *self.repaired, *self.made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The cells of a run, sorted by what matters about them."""

    cells: Sequence[Cell]

    @property
    def unsound(self) -> list[Cell]:
        """Called fine, and do not load."""
        return [cell for cell in self.cells if cell.unsound]

    @property
    def unexplained(self) -> list[Cell]:
        """Refused, load, and no row of the closed list says why."""
        return [cell for cell in self.cells if cell.refused_and_loads and excuses(cell) is None]

    @property
    def holds(self) -> bool:
        return not self.unsound and not self.unexplained


def document(results: Results) -> str:
    """docs/agreement.md."""
    parts = [HEAD, "## Counts\n\n", _counts(results), "\n## Refused, and loads: the closed list\n\n"]
    parts += [CLOSED, _closed(results), _disagreements(results), _repaired(results)]
    for arch in Arch:
        mine = [cell for cell in results.published if cell.release.arch is arch and not cell.object]
        if mine:
            parts += [
                f"\n## Published wheels for {arch.value}\n\n",
                LEGEND if arch is Arch.X86_64 else "",
                _matrix(mine),
            ]
    return "".join(parts)


def _repaired(results: Results) -> str:
    whole = [cell for cell in results.repaired if not cell.object]
    wheels = {cell.subject for cell in whole}
    failed = {cell.subject for cell in whole if not cell.outcome.loads}
    objects = {(cell.subject, cell.object) for cell in results.repaired if cell.object}
    told = (
        f"{len(wheels) + len(results.unrepaired)} of the published wheels break the promise of their tag. "
        f"{len(wheels)} of them were repaired with the root of their series' oldest Alpine; of these, "
        f"{len(wheels) - len(failed)} load completely ({len(objects)} objects) on every release from that one on.\n"
        f"{len(results.unrepaired)} cannot be repaired:\n\n"
    )
    why = [f"- {_short(name)}, {arch_of(name)}: {reason}\n" for name, reason in sorted(results.unrepaired.items())]
    return "".join(["\n## After `audit repair`\n\n", told, *why])


def arch_of(name: str) -> str:
    """The architecture in a wheel's file name."""
    arch = named_arch(WheelName.parse(name))
    return arch.value if arch else "?"


CLOSED = """\
A refusal of what loads is right only for a reason of this list (`tests/agreement/closed.py`): three about what Alpine
carries before a release of musl has it, and the rules of the catalogue that are about installing, importing or promises
or about what musl's loader does not check (`may_load` in `musllinux_build/audit/catalogue.py`).

"""
REPAIRED_TWICE = """
A repaired wheel keeps its name. In the rows of all wheels and of an architecture it is one subject with the published
wheel, and an object under the same path in both is one object, so the subjects and objects of the rows above do not
add up to those of "all"; the cells do.
"""
LEGEND = """\
Each field: ✓ we call it fine and all of it loads; ✗ we refuse it and something does not load; (✗) we refuse it by the
closed list and it loads. After the mark, the rules that refuse.

"""


def _counts(results: Results) -> str:
    head = (
        "| What | Subjects | Objects | Cells | fine, loads | refused, fails | refused, loads (closed list) "
        "| refused, loads (not explained) | **fine, fails** |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    lines = [head]
    rows: list[tuple[str, Sequence[Cell]]] = [("published wheels", results.published)]
    rows += [("the same, repaired", results.repaired), ("fixtures", results.made), ("all", results.cells)]
    rows += [(arch.value, [cell for cell in results.cells if cell.release.arch is arch]) for arch in Arch]
    for title, cells in rows:
        if not cells:
            continue
        total, subjects = Sum(cells=cells), {(cell.subject, cell.release.arch) for cell in cells}
        objects = {(cell.subject, cell.object, cell.release.arch) for cell in cells if cell.object}
        over = [cell for cell in cells if cell.refused_and_loads]
        numbers = [
            len(subjects),
            len(objects),
            len(cells),
            sum(cell.said.fine and cell.outcome.loads for cell in cells),
            sum(not cell.said.fine and not cell.outcome.loads for cell in cells),
            len(over) - len(total.unexplained),
            len(total.unexplained),
            len(total.unsound),
        ]
        lines.append(f"| {title} | {' | '.join(map(str, numbers))} |\n")
    lines.append(
        "\nA cell is one object, or one wheel as a whole, on one release of Alpine. Objects are opened alone, too: a "
        "library that finds what it needs by the search path of its user alone fails then, and is refused.\n"
    )
    if results.repaired:
        lines.append(REPAIRED_TWICE)
    called = sum(cell.outcome.number == CALLED_PYTHON and bool(cell.object) for cell in results.cells)
    lines.append(
        f"\nLoaded until a constructor called the interpreter, which was not there: {called} of these cells.\n"
    )
    return "".join(lines)


def _closed(results: Results) -> str:
    def count(cells: Iterable[Cell]) -> Counter[str]:
        return Counter(row for cell in cells if cell.refused_and_loads for row in excuses(cell) or ())

    published, others = count(results.published), count((*results.repaired, *results.made))
    lines = [
        "| Row | Cells of published wheels | Cells of the rest | Why, or what the rule finds |\n|---|--:|--:|---|\n"
    ]
    lines += [
        f"| {row} | {published[row]} | {others[row]} | {why} |\n"
        for row, why in REASONS.items()
        if published[row] or others[row]
    ]
    unused = [row for row in REASONS if not published[row] and not others[row]]
    lines.append(f"\nRows that no cell needed: {', '.join(unused) or 'none'}.\n")
    return "".join(lines)


def _disagreements(results: Results) -> str:
    total = Sum(cells=results.cells)
    lines = ["\n## Disagreements\n\n"]
    for title, bad in (("Fine, and fails", total.unsound), ("Refused, loads, and not explained", total.unexplained)):
        lines.append(f"{title}: {len(bad) or 'none'}.\n\n")
        lines += [
            f"- {cell.subject} {cell.object} on {_where(cell.release)}: {', '.join(cell.said.rules) or 'fine'}; "
            f"{cell.outcome}\n"
            for cell in bad[:100]
        ]
    if results.unread:
        lines.append("Not judged, because they cannot be read as wheels:\n\n")
        lines += [f"- {name}: {why}\n" for name, why in results.unread.items()]
    return "".join(lines)


def _where(release: Release) -> str:
    return f"Alpine {release.branch} (musl {release.package}, {release.arch.value})"


def _matrix(cells: Sequence[Cell]) -> str:
    releases = sorted({cell.release for cell in cells}, key=lambda release: int(release.branch.partition(".")[2]))
    lines = ["| Wheel | " + " | ".join(f"{release.branch}<br>{release.package}" for release in releases) + " |\n"]
    lines.append("|---|" + "---|" * len(releases) + "\n")
    table = {(cell.subject, cell.release): cell for cell in cells}
    for name in sorted({cell.subject for cell in cells}, key=str.lower):
        fields = [_field(table[name, release]) for release in releases]
        lines.append(f"| {_short(name)} | " + " | ".join(fields) + " |\n")
    return "".join(lines)


def _short(name: str) -> str:
    distribution, version, *_, platform = name.removesuffix(".whl").split("-")
    series = next(part for part in platform.split(".") if part.startswith("musllinux"))
    return f"{distribution} {version} ({'_'.join(series.split('_')[1:3])})"


def _field(cell: Cell) -> str:
    if cell.agrees:
        return "✓" if cell.outcome.loads else f"✗ {', '.join(cell.said.rules)}"
    if cell.unsound:
        return "**fine, fails**"
    return f"(✗) {', '.join(cell.said.rules)}" + ("" if excuses(cell) is not None else " **not explained**")


def rows(cells: Iterable[Cell]) -> str:
    """Every cell as JSON."""
    found = [
        {
            "subject": cell.subject,
            "object": cell.object,
            "arch": cell.release.arch.value,
            "alpine": cell.release.release,
            "musl": cell.release.package,
            "said": [finding.line() for finding in cell.said.errors],
            "rules": list(cell.said.rules),
            "loads": cell.outcome.loads,
            "outcome": str(cell.outcome),
        }
        for cell in cells
    ]
    return json.dumps(found, indent=1) + "\n"
