"""``python -m tests.fuzz --count 20000 --seed 1``: the same seed gives the same inputs, one after the other."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from musllinux_build.errors import MusllinuxBuildError
from tests.fuzz.guard import Guard, TooSlowError, limit_memory, watch_for_hangs
from tests.fuzz.targets import TARGETS, load, save

BATCH = 2000
MOST_FAILURES = 20
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Small files by the ten thousand."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the inputs: (target, outcome) to number; slowest in processor seconds; failures as texts."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.outcomes += other.outcomes
        self.failures += other.failures
        for name, seconds in other.slowest.items():
            self.slowest[name] = max(seconds, self.slowest.get(name, 0.0))


def make_input(seed: int, index: int, only: str | None) -> tuple[str, object]:
    """The target and the input of one number."""
    random = Random(seed << 40 | index)
    name = only or random.choices(list(TARGETS), [target.share for target in TARGETS.values()])[0]
    return name, TARGETS[name].make(random)


def run_input(name: str, given: object, guard: Guard, scratch: Path) -> str:
    """``read``, ``refused``, or what is wrong."""
    wrong = ""
    outcome = "read"
    try:
        with guard.watch():
            TARGETS[name].run(given, scratch)
    except MusllinuxBuildError:
        outcome = "refused"
    except TooSlowError:
        wrong = "took more than a second\n" + traceback.format_exc(limit=-6)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        wrong = traceback.format_exc(limit=-6)
    if guard.seen:
        wrong += f"\nforbidden: {guard.seen[:3]}"
    return wrong or outcome


@cache
def warm_up() -> None:
    """Import what is imported late, so that it is not counted against an input."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        for target in TARGETS.values():
            for index in range(200):
                with contextlib.suppress(Exception):
                    target.run(target.make(Random(index)), Path(place))


def run_range(job: tuple[int, int, int, str | None, str]) -> Tally:
    """All inputs from one number on."""
    seed, start, count, only, directory = job
    tally = Tally()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=SCRATCH) as place:
        scratch = Path(place)
        guard = Guard(scratch)
        for index in range(start, start + count):
            name, given = make_input(seed, index, only)
            started = time.process_time()
            outcome = run_input(name, given, guard, scratch)
            seconds = time.process_time() - started
            tally.slowest[name] = max(seconds, tally.slowest.get(name, 0.0))
            if outcome in {"read", "refused"}:
                tally.outcomes[name, outcome] += 1
                continue
            tally.outcomes[name, "FAILED"] += 1
            path = Path(directory) / f"{name}-{seed}-{index}.pickle"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(given, path)
            tally.failures.append(f"--- {path} ({name}, seed {seed}, input {index})\n{outcome}")
            if len(tally.failures) >= MOST_FAILURES:
                break
    return tally


def _start_worker() -> None:
    limit_memory()
    # No traceback_later here: a worker waits for work longer than any input takes.


def fuzz(arguments: argparse.Namespace) -> Tally:
    jobs = [
        (
            arguments.seed,
            start,
            min(BATCH, arguments.start + arguments.count - start),
            arguments.target,
            arguments.failures,
        )
        for start in range(arguments.start, arguments.start + arguments.count, BATCH)
    ]
    total, started, last = Tally(), time.monotonic(), 0.0
    with multiprocessing.get_context("fork").Pool(arguments.jobs, _start_worker, maxtasksperchild=50) as pool:
        for done, tally in enumerate(pool.imap_unordered(run_range, jobs), start=1):
            total.add(tally)
            passed = time.monotonic() - started
            if passed - last > 30:
                last = passed
                print(f"{done * BATCH:,} of {arguments.count:,}, {passed:.0f} s", file=sys.stderr, flush=True)
            if len(total.failures) >= MOST_FAILURES:
                pool.terminate()
                break
    return total


def report(total: Tally, seconds: float) -> None:
    for text in total.failures[:MOST_FAILURES]:
        print(text)
    count = sum(total.outcomes.values())
    print(f"{count:,} inputs in {seconds:.1f} s: {count / seconds:,.0f} a second")
    for name in TARGETS:
        outcomes = {what: number for (target, what), number in total.outcomes.items() if target == name}
        if outcomes:
            told = ", ".join(f"{outcomes[what]:,} {what}" for what in ("read", "refused", "FAILED") if what in outcomes)
            print(f"  {name:10} {told}; slowest {total.slowest[name] * 1000:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="the number of the first input")
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--failures", default="build/fuzz", help="where inputs that fail are written")
    parser.add_argument("--again", type=Path, help="run one such file")
    parser.add_argument("--json", type=Path, help="write the counts there, too")
    arguments = parser.parse_args()
    if arguments.again:
        watch_for_hangs()
        with tempfile.TemporaryDirectory() as place:
            try:
                TARGETS[arguments.again.name.partition("-")[0]].run(load(arguments.again), Path(place))
            except MusllinuxBuildError as error:
                print(f"refused: {error.brief}")
        return 0
    started = time.monotonic()
    total = fuzz(arguments)
    seconds = time.monotonic() - started
    report(total, seconds)
    if arguments.json:
        counts = {f"{name} {what}": number for (name, what), number in sorted(total.outcomes.items())}
        slowest = {name: round(value, 4) for name, value in sorted(total.slowest.items())}
        document = {"seed": arguments.seed, "seconds": round(seconds, 1), "counts": counts, "slowest": slowest}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
