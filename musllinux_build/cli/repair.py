"""The work of ``audit repair``: each wheel in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from musllinux_build.audit.repair import RepairReport
from musllinux_build.audit.repair_report import repair_json, repair_lines
from musllinux_build.audit.report import failure_json
from musllinux_build.cli.say import say, say_json
from musllinux_build.errors import MusllinuxBuildError

SIGNALLED = (130, 143)


def repair_each(
    wheels: Sequence[Path], repair_one: Callable[[Path], RepairReport], *, width: int, as_json: bool
) -> MusllinuxBuildError | None:
    """Repair each wheel and print what was done; the first failure, after all others had their turn.

    Raises:
        MusllinuxBuildError: the only wheel cannot be repaired, and the text for people is asked for.
    """
    failures: list[MusllinuxBuildError] = []
    documents: list[Mapping[str, object]] = []
    for wheel in wheels:
        say(f"repairing {wheel.name}", err=True)
        try:
            report = repair_one(wheel)
        except MusllinuxBuildError as error:
            if error.exit_code in SIGNALLED or (len(wheels) == 1 and not as_json):
                raise
            failures.append(error)
            documents.append(failure_json(wheel.name, error))
            for line in (f"error: {error.brief}", *(f"  | {line}" for line in error.details.splitlines())):
                say(line, err=True)
            if error.resolution:
                say(f"  → {error.resolution}", err=True)
            continue
        documents.append(repair_json(report))
        if not as_json:
            for line in repair_lines(report, width=width):
                say(line)
    if as_json:
        say_json(documents)
    return failures[0] if failures else None
