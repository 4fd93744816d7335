"""Outcomes → the closing table and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.plan import Plan, Target

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A finished wheel in the output directory. ``proven`` names the Alpine releases it was imported on."""

    path: Path
    size: int
    sha256: str
    floor: str
    grafted: tuple[str, ...]
    proven: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one target: a wheel or an error."""

    target: Target
    seconds: float
    wheel: BuiltWheel | None = None
    error: MusllinuxBuildError | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The run: one outcome per target that was reached, and the plan."""

    plan: Plan
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """0 when every target has its wheel, else the first failure's."""
        return next((outcome.error.exit_code for outcome in self.outcomes if outcome.error), 0)

    def to_json(self) -> Mapping[str, object]:
        """Plain data; ``version`` changes with its shape."""
        return {
            "version": SCHEMA_VERSION,
            "exit_code": self.exit_code,
            "wheels": [_outcome_json(outcome) for outcome in self.outcomes],
            "skipped": [{"id": skip.target.identifier, "reason": skip.reason} for skip in self.plan.skipped],
        }


def _outcome_json(outcome: Outcome) -> Mapping[str, object]:
    common: dict[str, object] = {"id": outcome.target.identifier, "seconds": round(outcome.seconds, 1)}
    if outcome.wheel is not None:
        wheel = outcome.wheel
        common |= {
            "wheel": str(wheel.path),
            "size": wheel.size,
            "sha256": wheel.sha256,
            "floor": wheel.floor,
            "grafted": list(wheel.grafted),
            "proven": list(wheel.proven),
        }
    if outcome.error is not None:
        common |= {"error": outcome.error.brief, "resolution": outcome.error.resolution}
    return common


def table_rows(report: Report) -> Sequence[tuple[str, ...]]:
    """wheel, size, sha256, time, floor, grafted: one row per outcome, then one per skip."""
    rows: list[tuple[str, ...]] = []
    for outcome in report.outcomes:
        took = f"{outcome.seconds:.1f} s"
        if outcome.wheel is not None:
            wheel = outcome.wheel
            grafted = ", ".join(wheel.grafted) or "-"
            rows.append((wheel.path.name, human_size(wheel.size), wheel.sha256, took, wheel.floor, grafted))
        elif outcome.error is not None:
            rows.append((outcome.target.identifier, "-", f"failed: {outcome.error.brief}", took, "-", "-"))
    rows.extend((skip.target.identifier, "-", f"skipped: {skip.reason}", "-", "-", "-") for skip in report.plan.skipped)
    return rows


def human_size(size: int) -> str:
    """``1.2 MB`` (decimal units, as indexes show them)."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
