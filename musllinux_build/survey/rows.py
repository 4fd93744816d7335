"""The rows of a survey: one per wheel that was asked for, whatever became of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.audit.verdict import Verdict
from musllinux_build.errors import FetchError, PureProjectError, UsageError, WheelError

REQUEST = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==(?P<version>[A-Za-z0-9.!+_-]+))?")


class Outcome(Enum):
    """What became of a wheel. Only the first two are verdicts."""

    CONFORMS = "conforms"
    BREAKS = "breaks"
    ABSENT = "no-wheel"
    PURE = "pure"
    UNREADABLE = "unreadable"
    UNFETCHED = "not-fetched"
    UNKNOWN = "no-policy"
    UNPROMISED = "no-promise"

    @property
    def is_verdict(self) -> bool:
        """Whether a wheel was audited."""
        return self in {Outcome.CONFORMS, Outcome.BREAKS}


FAILURES = {
    Outcome.UNREADABLE: WheelError.exit_code,
    Outcome.UNFETCHED: FetchError.exit_code,
    Outcome.UNKNOWN: UsageError.exit_code,
}
"""The exit status of what could not be surveyed."""
EMPTY_HANDED = {
    Outcome.ABSENT: FetchError.exit_code,
    Outcome.PURE: PureProjectError.exit_code,
    Outcome.UNPROMISED: UsageError.exit_code,
}
"""The exit status of what is no failure beside audited wheels, and is one when it is all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project of an index; ``version`` None means the newest."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Project:
        """The project in ``numpy`` or ``numpy==2.1.0``.

        Raises:
            UsageError: it is neither.
        """
        found = REQUEST.fullmatch(text)
        if not found:
            raise UsageError(
                f"{text!r} is neither a wheel's path nor a project",
                resolution="Write a path that ends in .whl, NAME or NAME==VERSION.",
            )
        return cls(name=found["name"], version=found["version"])

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One wheel. ``asked`` is the user's word for it, ``python`` the release it was fetched for (``3.13``).

    ``reason`` says why there is no verdict; texts come from wheels and indexes and are shown with care.
    """

    asked: str
    outcome: Outcome
    arch: Arch | None = None
    project: str = ""
    version: str = ""
    wheel: str = ""
    python: str = ""
    size: int = 0
    sha256: str = ""
    verdict: Verdict | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All rows, in the order they were asked for, and when."""

    rows: Sequence[Row]
    date: datetime
    tool: str

    @property
    def audited(self) -> tuple[Row, ...]:
        """The rows with a verdict."""
        return tuple(row for row in self.rows if row.outcome.is_verdict)

    @property
    def exit_code(self) -> int:
        """0 when all conform, 1 when one breaks its tag, else that of the first failure (docs/exit-codes.md)."""
        outcomes = [row.outcome for row in self.rows]
        if Outcome.BREAKS in outcomes:
            return 1
        failures = [FAILURES[outcome] for outcome in outcomes if outcome in FAILURES]
        if not failures and Outcome.CONFORMS not in outcomes:
            failures = [EMPTY_HANDED[outcome] for outcome in outcomes]
        return failures[0] if failures else 0
