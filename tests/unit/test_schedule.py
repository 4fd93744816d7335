"""Several wheels at once on an engine in memory: what is begun when, what is the same however many, and every end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.pipeline import build_all
from musllinux_build.builds.schedule import Group, Schedule, Slots, Turn, grouped, longest
from musllinux_build.builds.session import signals_as_errors
from musllinux_build.errors import BuildError, EngineError, InterruptedBuildError, TerminatedError
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.report import BuiltWheel, Outcome, Report
from tests.unit.test_engines import Engines
from tests.unit.test_pipeline import EXTENSION, IMAGE, Bench, target
from tests.wheelgen import WheelSpec, build_wheel

WAIT = 20
ABI3 = {
    "demo-1.0-cp311-abi3-linux_x86_64.whl": build_wheel(
        WheelSpec(files={"x.abi3.so": EXTENSION}, tag="cp311-abi3-linux_x86_64")
    )
}


T = TypeVar("T")


def in_time(function: Callable[[], T]) -> T:
    """What a function gives that might wait for ever."""
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(WAIT)


def outcome(one: Target) -> Outcome:
    return Outcome(target=one, seconds=0.0)


def abi3(one: Target, same_as: str = "") -> Outcome:
    """The wheel of a target that serves every Python from 3.10 on."""
    name = f"demo-1.0-cp310-abi3-{one.policy.platform_tag(one.arch)}.whl"
    wheel = BuiltWheel(path=Path(name), size=1, sha256=str(one.python), floor="", grafted=(), proven=())
    return replace(outcome(one), wheel=wheel, same_as=same_as)


def settled(turn: Turn) -> Outcome:
    """The same as the last step of a build: the own wheel, or that of an earlier Python."""
    made = abi3(turn.target)
    assert made.wheel is not None
    other = turn.settle(made.wheel.path.name)
    return replace(made, wheel=other, same_as=other.path.name) if other is not None else made


def schedule(
    make: Callable[[Turn], Outcome],
    slots: Sequence[int],
    weights: Mapping[Target, int] | None = None,
    able: Callable[[Target], Sequence[int]] = lambda _: [0],
) -> Schedule:
    """Of engines that may make anything, or what ``able`` says."""
    return Schedule(
        make=make, able=able, last=lambda _: False, abandon=lambda: None, slots=slots, weights=weights or {}
    )


def pythons(arch: Arch, *minors: int) -> Group:
    return Group(targets=tuple(target(arch, minor) for minor in minors))


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


def test_so_many_run_at_once_and_no_more() -> None:
    meeting = threading.Barrier(2, timeout=WAIT)
    inside: list[int] = []

    def make(turn: Turn) -> Outcome:
        inside.append(1)
        meeting.wait()
        assert len(inside) <= 2
        meeting.wait()
        inside.pop()
        return outcome(turn.target)

    group = pythons(Arch.X86_64, 10, 11, 12, 13)
    told: list[Outcome] = []
    schedule(make, [2]).run([group], told.append)
    assert {one.target for one in told} == set(group.targets)


def test_the_longest_goes_first_among_architectures_and_the_plan_s_order_within_one() -> None:
    short, long = pythons(Arch.X86_64, 11, 13), pythons(Arch.S390X, 11, 13)
    weights = dict(zip((*short.targets, *long.targets), (1, 9, 5, 2), strict=True))
    begun: list[Target] = []
    slots = Slots(free=[1])
    waiting = [list(short.targets), list(long.targets)]
    while (turn := schedule(settled, [1], weights)._next(slots, [short, long], waiting)) is not None:
        begun.append(turn.target)
        assert schedule(settled, [1], weights)._next(slots, [short, long], waiting) is None
        turn.finish(outcome(turn.target), last=False)
    assert begun == [*long.targets, *short.targets]
    assert longest({1: short.targets[0], 2: long.targets[0]}, {}) == 1


def test_targets_that_are_mixed_are_sorted_into_their_groups() -> None:
    first, other, last = target(minor=11), target(Arch.I686, 11), target(minor=13)
    old = replace(first, policy=Policy.MUSLLINUX_1_1)
    assert grouped([first, other, old, last]) == [(first, last), (other,), (old,)]


def test_each_engine_works_from_the_beginning() -> None:
    """All targets of one take longer, so that they would all go first if they could go anywhere."""
    names = {Arch.X86_64: 0, Arch.S390X: 1}
    meeting = threading.Barrier(2, timeout=WAIT)

    def make(turn: Turn) -> Outcome:
        assert turn.engine == names[turn.target.arch]
        meeting.wait()
        return outcome(turn.target)

    groups = [pythons(arch, 10, 11, 12, 13) for arch in names]
    weights = {one: 1 + names[one.arch] for group in groups for one in group.targets}
    told: list[Outcome] = []
    schedule(make, [1, 1], weights, able=lambda one: [names[one.arch]]).run(groups, told.append)
    assert len(told) == 8


@pytest.mark.parametrize("slots", [[1, 1], [1, 2], [4]])
def test_nobody_waits_for_ever_where_one_wheel_serves_all(slots: list[int]) -> None:
    """3.9 fails everywhere, so that each wheel of the rest might be the one that is kept."""
    begun: list[Target] = []

    def make(turn: Turn) -> Outcome:
        begun.append(turn.target)
        if turn.target.python.minor == 9:
            return replace(outcome(turn.target), error=BuildError("no"))
        return settled(turn)

    groups = [pythons(arch, *range(9, 15)) for arch in (Arch.X86_64, Arch.S390X)]
    told: list[Outcome] = []
    able = (lambda one: [one.arch is Arch.S390X]) if len(slots) > 1 else (lambda _: [0])
    for _ in range(20):
        begun.clear()
        told.clear()
        for group in groups:
            group.outcomes.clear()
        in_time(lambda: schedule(make, slots, able=able).run(groups, told.append))
        if slots == [1, 1]:
            for group in groups:
                assert [one for one in begun if one in group.targets] == list(group.targets)
        assert sorted(one.target.identifier for one in told if one.wheel and not one.same_as) == [
            "cp310-musllinux_1_2_s390x",
            "cp310-musllinux_1_2_x86_64",
        ]


def test_who_waits_for_an_earlier_python_has_no_slot_and_nobody_builds_what_will_be_there() -> None:
    first, promised, later = pythons(Arch.X86_64, 11, 13, 14).targets
    other = target(Arch.I686)
    other_began, told, begun = threading.Event(), list[Outcome](), list[Target]()

    def make(turn: Turn) -> Outcome:
        begun.append(turn.target)
        if turn.target is first:
            assert other_began.wait(WAIT)
        if turn.target is other:
            other_began.set()
            return outcome(other)
        return settled(turn)

    groups = [Group(targets=(first, promised, later)), Group(targets=(other,))]
    schedule(make, [2], {first: 9, promised: 9, later: 9}).run(groups, told.append)
    assert begun[2:] == [other, later]
    assert [one.target for one in told if not one.same_as and one.wheel] == [first]


def test_who_comes_back_has_a_slot_before_who_has_not_begun() -> None:
    group = pythons(Arch.X86_64, 11, 13)
    slots = Slots(free=[1, 0])
    back = Turn(target=group.targets[1], group=group, engine=0, slots=slots, made="demo-1.0-cp310-abi3-any.whl")
    slots.aside.append(back)
    assert slots.first([1, 0]) == 0
    group.outcomes[group.targets[0]] = outcome(group.targets[0])
    assert slots.first([1, 0]) is None
    slots.free[1] = 1
    assert slots.first([0, 1]) == 1


def test_who_comes_back_waits_for_a_slot() -> None:
    group = pythons(Arch.X86_64, 11, 13)
    slots = Slots(free=[0, 0])
    first, second = (
        Turn(target=one, group=group, engine=engine, slots=slots) for engine, one in enumerate(group.targets)
    )
    result: Future[None] = Future()

    def settle() -> None:
        second.settle("demo-1.0-cp310-abi3-any.whl")
        result.set_result(None)

    threading.Thread(target=settle, daemon=True).start()
    assert slots.events.get(timeout=WAIT) is None
    with slots.changed:
        assert slots.free == [0, 1]
        slots.free[1] = 0  # somebody else has begun
    first.finish(outcome(first.target), last=False)
    with pytest.raises(TimeoutError):
        result.result(0.05)
    with slots.changed:
        slots.free[1] = 1
        slots.changed.notify_all()
    result.result(WAIT)
    assert (slots.free, slots.aside) == ([1, 0], [])


def test_a_second_try_goes_where_a_slot_is_free_and_stays_where_none_is() -> None:
    group = pythons(Arch.X86_64, 11)
    slots = Slots(free=[0, 0, 1])
    turn = Turn(target=group.targets[0], group=group, engine=0, slots=slots)
    turn.move([1])
    assert (turn.engine, slots.free) == (0, [0, 0, 1])
    turn.move([1, 2])
    assert (turn.engine, slots.free) == (2, [1, 0, 0])


def test_a_crash_is_tried_again_while_all_that_it_could_wait_for_waits_for_it(tmp_path: Path) -> None:
    engines = Engines(tmp_path, one=None, other=None)
    sites = [replace(site, native=Arch.AARCH64) for site in engines.sites]
    one, other = (engines.benches[name].project for name in ("one", "other"))
    later_is_done = threading.Event()

    def crash_once() -> None:
        one.status["build"] = 0 if "build" in one.seen else 139
        assert later_is_done.wait(WAIT)

    def wheels(_: str) -> Mapping[str, bytes]:
        later_is_done.set()
        return ABI3

    one.during_build = crash_once
    other.wheels = wheels
    one.wheels = lambda _: ABI3
    targets = (target(minor=11), target(minor=13))
    first, second = in_time(lambda: build_all(sites, Plan(targets=targets, skipped=()))).outcomes
    assert first.retried
    assert first.wheel is not None
    assert second.same_as == first.wheel.path.name


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
    """``told`` stands for whatever is raised in the main thread while others are at work."""
    at_work, abandoned = threading.Barrier(3, timeout=WAIT), threading.Event()
    group = pythons(Arch.X86_64, 11, 12, 13)

    def make(turn: Turn) -> Outcome:
        at_work.wait()
        if turn.target is not group.targets[0]:
            assert abandoned.wait(WAIT)
        return outcome(turn.target)

    def interrupted(_: Outcome) -> None:
        raise TerminatedError("terminated")

    with pytest.raises(TerminatedError):
        replace(schedule(make, [3]), abandon=abandoned.set).run([group], interrupted)


def test_when_a_signal_ends_the_run_nobody_waits_for_an_earlier_python() -> None:
    group, other = pythons(Arch.X86_64, 11, 13), pythons(Arch.I686, 13)
    gave_up = threading.Event()

    def make(turn: Turn) -> Outcome:
        if turn.target is group.targets[0]:
            assert gave_up.wait(WAIT)
        if turn.target is not group.targets[1]:
            return outcome(turn.target)
        with pytest.raises(EngineError, match="the run is ending"):
            turn.settle("demo-1.0-cp310-abi3-any.whl")
        gave_up.set()
        return outcome(turn.target)

    def interrupted(_: Outcome) -> None:
        raise TerminatedError("terminated")

    with pytest.raises(TerminatedError):
        in_time(lambda: schedule(make, [2]).run([group, other], interrupted))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_builds_of_images_on_every_engine(tmp_path: Path, number: signal.Signals) -> None:
    engines = Engines(tmp_path, here=None, mainframe=Arch.S390X)
    at_work = threading.Barrier(3, timeout=WAIT)
    late = []

    def build_of(bench: Bench) -> Callable[[Policy, Arch], ImageInfo]:
        ended = threading.Event()
        bench.engine.abandon_builds = ended.set  # type: ignore[method-assign] # as a builder's connection is closed

        def image(_: Policy, arch: Arch) -> ImageInfo:
            at_work.wait()
            if not ended.wait(WAIT):
                late.append(arch)
            return bench.known(f"{IMAGE}-{arch.value}")

        return image

    for bench in engines.benches.values():
        bench.images = build_of(bench)

    def send() -> None:
        at_work.wait()
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    plan = Plan(targets=(target(), target(Arch.S390X)), skipped=())
    try:
        with signals_as_errors(), pytest.raises((InterruptedBuildError, TerminatedError)):
            build_all(engines.sites, plan)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        sender.join()
    assert not late
    assert not any(bench.engine.boxes for bench in engines.benches.values())
