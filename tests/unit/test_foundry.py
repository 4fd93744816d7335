"""What depends on each other is made once, several at a time, and never before what it needs."""

from __future__ import annotations

import itertools
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.errors import DiskFullError, ImageError, InterruptedBuildError
from musllinux_build.images.foundry import Entry, Foundry, Job, State, missing_jobs, path_weights

BUILDER = Job(key="b", title="builder")
LIBRARIES = Job(key="l", title="libraries", needs=("b",), weight=4)
NATIVE = Job(key="n", title="native", needs=("b",), weight=2)
PYTHON = Job(key="p", title="python", needs=("l", "n"), weight=3)
OTHER = Job(key="o", title="other", needs=("n",))
JOBS = {job.key: job for job in (BUILDER, LIBRARIES, NATIVE, PYTHON, OTHER)}


class Bench:
    """What is made, in the order it is begun; ``broken`` fails."""

    def __init__(self, broken: dict[str, BaseException] | None = None) -> None:
        self.begun: list[str] = []
        self.broken = broken or {}
        self.abandoned = 0

    def make(self, job: Job) -> None:
        self.begun.append(job.key)
        if job.key in self.broken:
            raise self.broken[job.key]

    def abandon(self) -> None:
        self.abandoned += 1

    def run(self, *, limit: int = 1, keep_going: bool = False) -> dict[str, State]:
        ticks = itertools.count()
        foundry = Foundry(
            make=self.make, abandon=self.abandon, limit=limit, keep_going=keep_going, clock=lambda: float(next(ticks))
        )
        return {key: entry.state for key, entry in foundry.run(JOBS.values()).items()}


def test_the_longest_way_is_begun_first() -> None:
    assert path_weights(JOBS.values()) == {"b": 8, "l": 7, "n": 5, "p": 3, "o": 1}
    bench = Bench()
    assert set(bench.run().values()) == {State.BUILT}
    assert bench.begun == ["b", "l", "n", "p", "o"]


def test_as_many_at_once_as_are_allowed() -> None:
    together = threading.Barrier(2, timeout=5)
    both = {"l", "n"}

    def make(job: Job) -> None:
        if job.key in both:
            together.wait()

    entries = Foundry(make=make, abandon=lambda: None, limit=2).run(JOBS.values())
    assert all(entry.state is State.BUILT and entry.seconds >= 0 for entry in entries.values())


def test_after_a_failure_nothing_is_begun() -> None:
    bench = Bench({"l": ImageError("no")})
    assert bench.run() == {"b": State.BUILT, "l": State.FAILED, "n": State.LEFT, "p": State.LEFT, "o": State.LEFT}


def test_what_does_not_need_the_failed_one_is_made_when_asked() -> None:
    bench = Bench({"l": ImageError("no")})
    found = bench.run(keep_going=True)
    assert found == {"b": State.BUILT, "l": State.FAILED, "n": State.BUILT, "p": State.LEFT, "o": State.BUILT}


def test_a_full_disk_ends_the_run_in_any_case() -> None:
    assert Bench({"l": DiskFullError("full")}).run(keep_going=True)["n"] is State.LEFT


def test_a_signal_ends_what_is_being_made() -> None:
    hung, ended = threading.Event(), threading.Event()

    def make(job: Job) -> None:
        hung.set()
        assert ended.wait(timeout=5)
        raise ImageError("its connection was closed")

    def interrupt(*_: object) -> None:
        raise InterruptedBuildError("interrupted")

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        hung.wait(timeout=5)
        signal.pthread_kill(main, signal.SIGUSR1)

    threading.Thread(target=send).start()
    try:
        with pytest.raises(InterruptedBuildError):
            Foundry(make=make, abandon=ended.set).run(JOBS.values())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.is_set()


def test_an_error_of_our_own_program_is_no_failure_of_a_job() -> None:
    bench = Bench({"l": ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        bench.run()
    assert bench.abandoned == 1


def test_what_only_serves_what_is_there_is_not_made() -> None:
    assert missing_jobs(JOBS, ["p", "o"], {"l", "n"}.__contains__) == [PYTHON, OTHER]
    assert missing_jobs(JOBS, ["p"], {"p"}.__contains__) == []
    assert missing_jobs(JOBS, ["p"], {"n"}.__contains__) == [BUILDER, LIBRARIES, PYTHON]
    assert missing_jobs(JOBS, ["o"], lambda _: False) == [BUILDER, NATIVE, OTHER]


def test_a_need_that_is_no_job_is_there() -> None:
    begun: list[str] = []
    Foundry(make=lambda job: begun.append(job.key), abandon=lambda: None).run([PYTHON])
    assert begun == ["p"]


def test_seconds_of_an_entry() -> None:
    assert Entry(job=BUILDER, state=State.BUILT, started=1.5, ended=4.0).seconds == 2.5


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    count = draw(st.integers(1, 8))
    return [
        Job(
            key=str(number),
            title="",
            needs=tuple(map(str, draw(st.sets(st.integers(0, number - 1), max_size=3)))) if number else (),
            weight=draw(st.integers(1, 5)),
        )
        for number in range(count)
    ]


@given(graphs(), st.integers(1, 3), st.integers(0, 7))
def test_needs_are_made_before_their_users_whatever_fails(jobs: list[Job], limit: int, broken: int) -> None:
    done: list[str] = []

    def make(job: Job) -> None:
        assert set(job.needs) <= set(done)
        if job.key == str(broken):
            raise ImageError("no")
        done.append(job.key)

    entries = Foundry(make=make, abandon=lambda: None, limit=limit, keep_going=True).run(jobs)
    assert entries.keys() == {job.key for job in jobs}
    assert len(done) == len(set(done))
    for job in jobs:
        blocked = any(entries[need].state is not State.BUILT for need in job.needs)
        assert (entries[job.key].state is State.LEFT) == blocked
