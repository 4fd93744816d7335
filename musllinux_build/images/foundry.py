"""What depends on each other, made once each: several at a time, and first what most still waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import Enum

from musllinux_build.errors import DiskFullError, MusllinuxBuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One thing to be made. ``key`` is what it is found by, ``weight`` how long it takes beside the others."""

    key: str
    title: str
    needs: tuple[str, ...] = ()
    weight: int = 1


class State(Enum):
    """What became of a job."""

    REUSED = "reused"
    BUILT = "built"
    FAILED = "failed"
    LEFT = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job and what became of it; ``started`` and ``ended`` are seconds since the run began."""

    job: Job
    state: State
    started: float = 0.0
    ended: float = 0.0
    error: MusllinuxBuildError | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


def missing_jobs(jobs: Mapping[str, Job], goals: Iterable[str], there: Callable[[str], bool]) -> list[Job]:
    """What has to be made for ``goals``: what only serves something that is there already is not looked at."""
    found: dict[str, Job] = {}
    seen: set[str] = set()
    waiting = list(goals)
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        if not there(key):
            found[key] = jobs[key]
            waiting.extend(jobs[key].needs)
    return [job for key, job in jobs.items() if key in found]


def path_weights(jobs: Collection[Job]) -> dict[str, int]:
    """The weight of the heaviest way from each job to an end: what is on the longest one is begun first."""
    users: dict[str, list[Job]] = {job.key: [] for job in jobs}
    for job in jobs:
        for need in job.needs:
            if need in users:
                users[need].append(job)
    weights: dict[str, int] = {}

    def weight(job: Job) -> int:
        if job.key not in weights:
            weights[job.key] = job.weight + max(map(weight, users[job.key]), default=0)
        return weights[job.key]

    for job in jobs:
        weight(job)
    return weights


@dataclass(slots=True, kw_only=True)
class Foundry:
    """Makes jobs with ``make``, ``limit`` at once; ``abandon`` ends what is being made when the run is interrupted."""

    make: Callable[[Job], None]
    abandon: Callable[[], None]
    limit: int = 1
    keep_going: bool = False
    clock: Callable[[], float] = time.monotonic

    def run(self, jobs: Collection[Job]) -> dict[str, Entry]:
        """What became of each job. After a failure nothing that needs it is begun, without ``keep_going`` nothing.

        What runs at that time is finished: its result is used by the next run. A need that is no job is there.
        """
        limit = max(1, self.limit)
        keys, weights = {job.key for job in jobs}, path_weights(jobs)
        waiting = sorted(jobs, key=lambda job: -weights[job.key])
        entries: dict[str, Entry] = {}
        running: dict[Future[Entry], Job] = {}
        began = self.clock()
        with ThreadPoolExecutor(max_workers=limit) as pool:
            try:
                while waiting or running:
                    undone = keys - {key for key, entry in entries.items() if entry.state is State.BUILT}
                    ready = [] if self._ends(entries) else [job for job in waiting if undone.isdisjoint(job.needs)]
                    for job in ready[: limit - len(running)]:
                        waiting.remove(job)
                        running[pool.submit(self._entry, job, began)] = job
                    if not running:
                        break
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        entries[running.pop(done).key] = done.result()
            except BaseException:
                self.abandon()
                raise
        return entries | {job.key: Entry(job=job, state=State.LEFT) for job in waiting}

    def _ends(self, entries: Mapping[str, Entry]) -> bool:
        """Whether nothing more is begun."""
        failed = [entry.error for entry in entries.values() if entry.error is not None]
        return any(not self.keep_going or isinstance(error, DiskFullError) for error in failed)

    def _entry(self, job: Job, began: float) -> Entry:
        started = self.clock() - began
        error = None
        try:
            self.make(job)
        except MusllinuxBuildError as caught:
            error = caught
        state = State.FAILED if error is not None else State.BUILT
        return Entry(job=job, state=state, started=started, ended=self.clock() - began, error=error)
