"""Outcomes → the closing table and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.errors import MusllinuxBuildError
from musllinux_build.plaintext import plain_line
from musllinux_build.plan import Plan, Target

SCHEMA_VERSION = 1
NOT_PROVEN = "not proven on stock Alpine"
SHOWN_SOURCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A finished wheel in the output directory. ``proven`` names the Alpine releases it was imported on.

    ``caveat`` says what was done instead, where none was to be had. ``fallbacks`` are reason and source of what the
    image's own compiler compiled in place of the native one.
    """

    path: Path
    size: int
    sha256: str
    floor: str
    grafted: tuple[str, ...]
    proven: tuple[str, ...]
    caveat: str = ""
    fallbacks: tuple[tuple[str, str], ...] = ()
    emulated: bool = False
    """Whether the engine's kernel needed an emulator for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one target: a wheel or an error."""

    target: Target
    seconds: float
    wheel: BuiltWheel | None = None
    error: MusllinuxBuildError | None = None
    log: Path | None = None
    retried: bool = False
    """Made by a second try, after an emulator had crashed."""
    same_as: str = ""
    """The wheel of an earlier Python that serves this one too (abi3)."""
    reused: bool = False
    """Whether an earlier run has built and proven the wheel."""


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


def error_json(error: MusllinuxBuildError) -> dict[str, object]:
    """An error as plain data, alone when there is no report."""
    return {
        "exit_code": error.exit_code,
        "error": error.brief,
        "details": error.details,
        "resolution": error.resolution,
    }


def _outcome_json(outcome: Outcome) -> Mapping[str, object]:
    common: dict[str, object] = {"id": outcome.target.identifier, "seconds": round(outcome.seconds, 1)}
    if outcome.retried:
        common["retried"] = True
    if outcome.log is not None:
        common["log"] = str(outcome.log.absolute())
    if outcome.wheel is not None:
        wheel = outcome.wheel
        common |= {
            "wheel": str(wheel.path.absolute()),
            "size": wheel.size,
            "sha256": wheel.sha256,
            "floor": wheel.floor,
            "grafted": list(wheel.grafted),
            "proven": list(wheel.proven),
            "caveat": wheel.caveat,
            "fallbacks": [{"reason": reason, "source": source} for reason, source in wheel.fallbacks],
            "emulated": wheel.emulated,
            "reused": outcome.reused,
        }
    if outcome.error is not None:
        common |= error_json(outcome.error)
    return common


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the closing table; empty cells for what there is not."""

    name: str
    size: str = ""
    time: str = ""
    floor: str = ""
    grafted: str = ""
    remark: str = ""
    """A second line below the name: the hash, or why there is no wheel."""
    caveat: str = ""


def table_rows(report: Report) -> Sequence[Row]:
    """One row per outcome, then one per target that was not reached or skipped."""
    rows = [_outcome_row(outcome) for outcome in report.outcomes]
    reached = {outcome.target for outcome in report.outcomes}
    rows += [
        Row(name=target.identifier, remark="not reached") for target in report.plan.targets if target not in reached
    ]
    rows += [Row(name=skip.target.identifier, remark=f"skipped: {skip.reason}") for skip in report.plan.skipped]
    return rows


def _outcome_row(outcome: Outcome) -> Row:
    took = "reused" if outcome.reused else f"{outcome.seconds:.1f} s"
    wheel = outcome.wheel
    if wheel is None:
        brief = outcome.error.brief if outcome.error else "no wheel"
        return Row(name=outcome.target.identifier, time=took, remark=f"failed: {brief}")
    if outcome.same_as:
        return Row(
            name=outcome.target.identifier, time=took, remark=f"served by {outcome.same_as}", caveat=wheel.caveat
        )
    return Row(
        name=wheel.path.name,
        size=human_size(wheel.size),
        time=took,
        floor=f">= {wheel.floor}",
        grafted=", ".join(wheel.grafted),
        remark=f"sha256 {wheel.sha256}",
        caveat="; ".join(filter(None, (told_fallbacks(wheel.fallbacks), wheel.caveat))),
    )


def told_fallbacks(fallbacks: Sequence[tuple[str, str]]) -> str:
    """What the image's gcc did: how often, why and to what; empty for nothing."""
    if not fallbacks:
        return ""
    names = list(dict.fromkeys(plain_line(source.rpartition("/")[2]) for _, source in fallbacks if source))
    reasons = ", ".join(dict.fromkeys(plain_line(reason) for reason, _ in fallbacks))
    shown = ", ".join(names[:SHOWN_SOURCES]) + (f" and {rest} more" if (rest := len(names) - SHOWN_SOURCES) > 0 else "")
    what = f" ({shown})" if names else ""
    return f"{len(fallbacks)} compiled by the image's own gcc{what}: {reasons}"


def distinct_errors(report: Report) -> Sequence[MusllinuxBuildError]:
    """The errors of all outcomes, one that several targets share once, in order."""
    told: dict[tuple[str, str], MusllinuxBuildError] = {}
    for outcome in report.outcomes:
        if outcome.error is not None:
            told.setdefault((outcome.error.brief, outcome.error.details), outcome.error)
    return list(told.values())


def human_size(size: int) -> str:
    """``1.2 MB`` (decimal units, as indexes show them)."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
