"""Several wheels at once on an engine in memory: what is begun when, what is the same however many, and every end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.schedule import Group, Schedule, next_group
from musllinux_build.errors import BuildError, TerminatedError
from musllinux_build.plan import Target
from musllinux_build.report import Outcome, Report
from tests.unit.test_pipeline import EXTENSION, Bench, target
from tests.wheelgen import WheelSpec, build_wheel

WAIT = 20
ABI3 = {
    "demo-1.0-cp311-abi3-linux_x86_64.whl": build_wheel(
        WheelSpec(files={"x.abi3.so": EXTENSION}, tag="cp311-abi3-linux_x86_64")
    )
}


def outcome(one: Target) -> Outcome:
    return Outcome(target=one, seconds=0.0)


def schedule(make: Callable[[Target, Group], Outcome], limit: int, weights: Mapping[Target, int]) -> Schedule:
    return Schedule(make=make, last=lambda _: False, abandon=lambda: None, limit=limit, weights=weights)


def bench_of(tmp_path: Path, jobs: int) -> Bench:
    bench = Bench(tmp_path)
    for arch in Arch:
        bench.engine.add_image(f"stock:1-{arch.value}", arch)
    bench.run = replace(bench.run, host=replace(bench.run.host, jobs=jobs))
    return bench


def named(report: Report) -> list[tuple[str, str, str]]:
    """What a report says of each target."""
    return [
        (one.target.identifier, one.wheel.sha256 if one.wheel else str(one.error), one.same_as)
        for one in report.outcomes
    ]


def test_so_many_run_at_once_and_no_more(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=WAIT)
    inside: list[int] = []

    def make(one: Target, _: Group) -> Outcome:
        inside.append(1)
        meeting.wait()
        assert len(inside) <= 2
        meeting.wait()
        inside.pop()
        return outcome(one)

    targets = tuple(target(minor=minor) for minor in (10, 11, 12, 13))
    told: list[Outcome] = []
    schedule(make, 2, {}).run([Group(targets=targets)], told.append)
    assert {one.target for one in told} == set(targets)


def test_the_longest_goes_first_among_architectures_and_the_plan_s_order_within_one() -> None:
    short, long = ([target(arch, minor) for minor in (11, 13)] for arch in (Arch.X86_64, Arch.S390X))
    weights = {short[0]: 1, short[1]: 9, long[0]: 5, long[1]: 2}
    waiting, begun = [short[:], long[:]], []
    while any(waiting):
        begun.append(waiting[next_group(waiting, weights)].pop(0))
    assert begun == [long[0], long[1], short[0], short[1]]
    assert next_group([[], short, long], {}) == 1


@pytest.mark.parametrize("jobs", [1, 2, 3, 7])
def test_the_report_is_the_same_however_many(tmp_path: Path, jobs: int) -> None:
    targets = [target(minor=minor) for minor in (11, 13)] + [target(Arch.I686, 11)]
    reports = []
    for number, count in enumerate((1, jobs)):
        (tmp_path / str(number)).mkdir()
        bench = bench_of(tmp_path / str(number), count)
        bench.project.status = {}
        reports.append(named(bench.build(*targets)))
        assert not bench.engine.boxes
    assert reports[0] == reports[1]
    assert len(reports[0]) == 3


def test_an_abi3_wheel_is_the_lowest_python_s_whoever_is_faster(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 2)
    both, later_is_done = threading.Barrier(2, timeout=WAIT), threading.Event()

    def wheels(python: str) -> Mapping[str, bytes]:
        both.wait()
        if python == "cp311":
            # The later Python has made its wheel long before this one has.
            assert later_is_done.wait(WAIT)
        else:
            later_is_done.set()
        return ABI3

    bench.project.wheels = wheels
    first, second = bench.build(target(minor=11), target(minor=13)).outcomes
    assert first.wheel is not None
    assert second.wheel is not None
    assert (first.same_as, second.same_as) == ("", first.wheel.path.name)
    assert bench.written == [first.wheel.path.name]
    assert len(second.wheel.proven) == 2


def test_if_the_lowest_python_fails_the_next_one_s_wheel_stands(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 2)

    def wheels(python: str) -> Mapping[str, bytes]:
        if python == "cp311":
            return {}
        return ABI3

    bench.project.wheels = wheels
    first, second = bench.build(target(minor=11), target(minor=13)).outcomes
    assert first.error is not None
    assert second.wheel is not None
    assert not second.same_as


def test_lines_say_whose_they_are(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 2)
    bench.build(target(minor=11), target(minor=13))
    for name in ("cp311-musllinux_1_2_x86_64", "cp313-musllinux_1_2_x86_64"):
        assert f"{name}: audit, graft and tag" in bench.progress.lines


def test_what_fails_fast_begins_nothing_more(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 2)
    bench.run = replace(bench.run, host=replace(bench.run.host, fail_fast=True))
    bench.project.status = {"build": 1}
    report = bench.build(*(target(arch) for arch in Arch))
    assert 0 < len(report.outcomes) < len(Arch)
    assert isinstance(report.outcomes[0].error, BuildError)


def test_a_signal_ends_all_that_runs_before_anybody_is_waited_for() -> None:
    """``last`` stands for whatever is raised in the main thread while others are at work."""
    at_work, abandoned = threading.Barrier(3, timeout=WAIT), threading.Event()
    targets = tuple(target(minor=minor) for minor in (11, 12, 13))

    def make(one: Target, _: Group) -> Outcome:
        at_work.wait()
        if one is not targets[0]:
            assert abandoned.wait(WAIT)
        return outcome(one)

    def interrupted(_: Outcome) -> bool:
        raise TerminatedError("terminated")

    ending = Schedule(make=make, last=interrupted, abandon=abandoned.set, limit=3, weights={})
    with pytest.raises(TerminatedError):
        ending.run([Group(targets=targets)], lambda _: None)
