"""The nouns of ``foreign.py``: projects of its list, measurements of its file, and the rows of its table."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from musllinux_build.arch import Arch

NATIVE = "x86_64"
ARCHS = ("aarch64", "ppc64le", "s390x", "armv7l")
SHORTEST = 15.0
"""So many seconds each project takes natively, at least: what is shorter measures containers starting."""
SCHEMA = 1
_DIGEST = 64


class Mode(Enum):
    """How a project is built. The value is its name on the command line and in the file."""

    NATIVE = "native"
    FULL = "full"
    PYTHON = "python"
    COMPILER = "compiler"
    PLAIN = "plain"

    @property
    def options(self) -> tuple[str, ...]:
        """What the tool is told."""
        accel = {Mode.PYTHON: "python", Mode.COMPILER: "compiler", Mode.PLAIN: "off"}.get(self)
        return ("--accel", accel) if accel else ()

    def applies(self, arch: str) -> bool:
        """Whether it is another mode than ``full`` there: a native interpreter answers only for its own data model."""
        return self is not Mode.PYTHON or _data_model(arch) == _data_model(NATIVE)

    @property
    def title(self) -> str:
        """What the page calls it."""
        return {
            Mode.NATIVE: f"native {NATIVE}",
            Mode.FULL: "all accelerated (default)",
            Mode.PYTHON: "a native interpreter besides",
            Mode.COMPILER: "the compiler alone accelerated",
            Mode.PLAIN: "plain qemu",
        }[self]


def _data_model(arch: str) -> tuple[int, str]:
    elf = Arch(arch).row.elf
    return elf.bits, elf.order


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A published sdist; ``limit`` and ``gain`` are what was promised of it before measuring, ``gain`` 0 for nothing."""

    name: str
    version: str
    sdist: str
    sha256: str
    kind: str
    why: str
    limit: float
    gain: float = 0.0
    before_all: str = ""
    environment: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """What its build needs."""
        before = ("--before-all", self.before_all) if self.before_all else ()
        return (*before, *(("--environment", self.environment) if self.environment else ()))


def parse_projects(text: str) -> list[Project]:
    """The projects of the list, in its order.

    Raises:
        ValueError: a hash is none, or a project is named twice.
        TypeError: a key is missing or unknown.
    """
    found = [
        Project(**{key.replace("-", "_"): value for key, value in row.items()})
        for row in tomllib.loads(text)["project"]
    ]
    for project in found:
        if len(project.sha256) != _DIGEST or set(project.sha256) - set("0123456789abcdef"):
            raise ValueError(f"{project.name}: {project.sha256!r} is no sha256")
    if len({project.name for project in found}) != len(found):
        raise ValueError("a project is in the list twice")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One process: wall time in seconds and exit status.

    ``begun`` is when the run of the benchmark began that it belongs to; ``machine`` and ``tool`` are what it ran on.
    ``emulated`` is why the interpreter was emulated although a native one had been asked for.
    """

    project: str
    version: str
    arch: str
    mode: str
    python: str
    seconds: float
    status: int
    begun: str
    machine: str
    tool: str
    emulated: str = ""


def parse_measurements(document: Mapping[str, Any]) -> list[Measurement]:
    """What the file holds.

    Raises:
        ValueError: it is of another schema.
    """
    if document["version"] != SCHEMA:
        raise ValueError(f"a file of schema {document['version']!r}, not {SCHEMA}")
    return [Measurement(**row) for row in document["measurements"]]


def format_measurements(found: Sequence[Measurement]) -> Mapping[str, Any]:
    """The file's content; ``parse_measurements`` reads it."""
    return {"version": SCHEMA, "measurements": [asdict(one) for one in found]}


def schedule(
    projects: Sequence[Project], archs: Sequence[str], modes: Sequence[Mode], runs: int, *, warm: bool = False
) -> list[Step]:
    """What is measured, in order: all cells of a project in turn, then all again, so that noise meets all alike.

    Before them, each architecture is built once unmeasured, unless all that such a build leaves is there (``warm``).
    """
    steps = []
    for project in projects:
        cells = [(NATIVE, Mode.NATIVE)] if Mode.NATIVE in modes else []
        foreign = [mode for mode in Mode if mode in modes and mode is not Mode.NATIVE]
        cells += [(arch, mode) for arch in archs for mode in foreign if mode.applies(arch)]
        first = [] if warm else list(dict.fromkeys(arch for arch, _ in cells))
        steps += [Step(project=project, arch=arch, mode=_default(arch), measured=False) for arch in first]
        steps += [Step(project=project, arch=arch, mode=mode) for _ in range(runs) for arch, mode in cells]
    return steps


def _default(arch: str) -> Mode:
    return Mode.NATIVE if arch == NATIVE else Mode.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One build; one that is not measured fills volumes and brings images."""

    project: Project
    arch: str
    mode: Mode
    measured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All runs of one project in one mode: seconds of those that succeeded, exit statuses of the others."""

    seconds: tuple[float, ...] = ()
    failures: tuple[int, ...] = ()

    @property
    def median(self) -> float | None:
        """Seconds; None where nothing was measured or anything failed."""
        return statistics.median(self.seconds) if self.seconds and not self.failures else None

    @property
    def text(self) -> str:
        """What the table shows."""
        if not self.failures:
            return f"{self.median:.1f}" if self.median is not None else "-"
        statuses = ", ".join(map(str, sorted(set(self.failures))))
        runs = len(self.seconds) + len(self.failures)
        return f"exit status {statuses} ({len(self.failures)} of {runs} runs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One project on one foreign architecture, beside the native build."""

    project: Project
    arch: str
    cells: Mapping[Mode, Cell]

    @property
    def ratio(self) -> float | None:
        """How many times as long as natively, all accelerated."""
        return _quotient(self.cells[Mode.FULL], self.cells[Mode.NATIVE])

    @property
    def gain(self) -> float | None:
        """How many times faster than under qemu alone."""
        return _quotient(self.cells[Mode.PLAIN], self.cells[Mode.FULL])

    @property
    def within(self) -> bool | None:
        """Whether the limit holds; None where there is no ratio. A build that fails keeps none."""
        if self.cells[Mode.FULL].failures or self.cells[Mode.NATIVE].failures:
            return False
        return self.ratio <= self.project.limit if self.ratio is not None else None

    @property
    def gained(self) -> bool | None:
        """Whether the promised gain is there; None where none was promised or measured."""
        return self.gain >= self.project.gain if self.gain is not None and self.project.gain else None


def _quotient(above: Cell, below: Cell) -> float | None:
    return above.median / below.median if above.median is not None and below.median else None


def rows_of(projects: Sequence[Project], found: Sequence[Measurement], python: str) -> list[Row]:
    """A row for each project and foreign architecture that has a measurement, in the list's order.

    Measurements of other versions of a project, or with other Pythons, are none of these.
    """
    rows = []
    for project in projects:
        own = [
            one for one in found if (one.project, one.version, one.python) == (project.name, project.version, python)
        ]
        for arch in ARCHS:
            cells = {mode: _cell(own, NATIVE if mode is Mode.NATIVE else arch, mode) for mode in Mode}
            if any(one.arch == arch for one in own):
                rows.append(Row(project=project, arch=arch, cells=cells))
    return rows


def _cell(own: Sequence[Measurement], arch: str, mode: Mode) -> Cell:
    runs = [one for one in own if (one.arch, one.mode) == (arch, mode.value)]
    return Cell(
        seconds=tuple(one.seconds for one in runs if not one.status),
        failures=tuple(one.status for one in runs if one.status),
    )
