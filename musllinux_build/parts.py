"""What a part of a build leaves beside its wheels, and what is read of it when the parts are put together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from musllinux_build.errors import UsageError
from musllinux_build.plan import Plan
from musllinux_build.report import Report
from musllinux_build.shards import Shard
from musllinux_build.times import check_version

SCHEMA = 1
PATTERN = "musllinux-build-*.json"
"""Visible: CI systems leave hidden files out of what they keep. Each part's name is its own, so that directories may
be poured into one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one run builds of what was ``planned`` (identifiers); without a ``shard`` that is all it was asked for."""

    plan: Plan
    planned: tuple[str, ...]
    shard: Shard | None = None

    @property
    def filename(self) -> str:
        """The same for the same part, so that a second try takes the first one's place."""
        if self.shard is not None:
            return PATTERN.replace("*", f"{self.shard.index}-of-{self.shard.count}")
        return PATTERN.replace("*", hashlib.sha256(" ".join(self.planned).encode()).hexdigest()[:12])


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOutcome:
    """What became of one identifier in a part: the name of a wheel and its hash, or the reason why there is none."""

    identifier: str
    wheel: str = ""
    sha256: str = ""
    floor: str = ""
    seconds: float = 0.0
    error: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """The file of one part."""

    where: str
    planned: tuple[str, ...]
    shard: Shard | None
    outcomes: tuple[PartOutcome, ...]


def format_part(part: Part, report: Report) -> str:
    """The file's text: the report as ``--json`` prints it, and what it is a part of."""
    document = {
        "version": SCHEMA,
        "shard": str(part.shard) if part.shard is not None else None,
        "planned": list(part.planned),
        "report": report.to_json(),
    }
    return json.dumps(document, indent=2) + "\n"


def parse_part(text: str, where: str) -> PartReport:
    """The file of one part; ``where`` is its name in errors.

    Raises:
        UsageError: it is none.
    """
    try:
        document = json.loads(text)
        check_version(document["version"], SCHEMA)
        shard = document["shard"]
        return PartReport(
            where=where,
            planned=_names(document["planned"]),
            shard=Shard.parse(shard) if shard is not None else None,
            outcomes=tuple(map(_outcome, document["report"]["wheels"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where} is no report of a part", details=str(error)) from error


def parse_planned(text: str, where: str) -> tuple[str, ...]:
    """The identifiers in what ``plan --format json`` prints.

    Raises:
        UsageError: it is something else.
    """
    try:
        return _names([target["id"] for target in json.loads(text)["targets"]])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{where} is no plan", details=str(error), resolution="plan --format json makes one."
        ) from error


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"no list of identifiers: {value!r}"[:200])
    return tuple(value)


def _outcome(row: Mapping[str, Any]) -> PartOutcome:
    return PartOutcome(
        identifier=str(row["id"]),
        wheel=str(row.get("wheel", "")).rpartition("/")[2],
        sha256=str(row.get("sha256", "")),
        floor=str(row.get("floor", "")),
        seconds=float(row["seconds"]),
        error=str(row.get("error", "")),
        reused=bool(row.get("reused", False)),
    )


def seconds_of(parts: Sequence[PartReport]) -> Mapping[str, float]:
    """What each wheel took, where it was built."""
    return {
        outcome.identifier: outcome.seconds
        for part in parts
        for outcome in part.outcomes
        if outcome.wheel and not outcome.error and not outcome.reused
    }
