"""How long each wheel took the last time, as a small JSON file, and what that is worth where nothing is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.plan import Target

SCHEMA = 1


def weigh(targets: Sequence[Target], times: Mapping[str, float]) -> tuple[int, ...]:
    """What each target is expected to take, in whole milliseconds, so that no machine rounds otherwise.

    What has no time is compared with what has: an architecture that few machines execute counts twice one that most
    do. It only balances, and is no measurement.
    """
    static = [(target.identifier, 1 if target.arch.runs_natively_on(Arch.X86_64) else 2) for target in targets]
    known = [times[name] / weight for name, weight in static if name in times]
    unit = fmean(known) if known else 1.0
    return tuple(max(1, round(1000 * times.get(name, unit * weight))) for name, weight in static)


def parse_times(text: str, where: str) -> Mapping[str, float]:
    """Identifier → seconds, of a file that ``format_times`` wrote.

    Raises:
        UsageError: it is none.
    """
    try:
        document = json.loads(text)
        check_version(document["version"], SCHEMA)
        times = {str(name): float(seconds) for name, seconds in document["seconds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where} is no file of times", details=str(error)) from error
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in times.values()):
        raise UsageError(f"{where}: a time is no number of seconds")
    return times


def check_version(found: object, known: int) -> None:
    """Refuse a document of another shape.

    Raises:
        ValueError: it is one.
    """
    if found != known:
        raise ValueError(f"version {found!r} is not known, only {known}")


def format_times(times: Mapping[str, float]) -> str:
    """The file's text."""
    rounded = {name: round(seconds, 1) for name, seconds in sorted(times.items())}
    return json.dumps({"version": SCHEMA, "seconds": rounded}, indent=2) + "\n"
