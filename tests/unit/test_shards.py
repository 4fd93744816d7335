"""Parts of a plan: how recorded times cut it. What holds of all plans is in tests/laws."""

from __future__ import annotations

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import known_policies
from musllinux_build.python import PythonTag
from musllinux_build.shards import Shard, cut, shard_of
from musllinux_build.times import parse_times, weigh


def parts(plan: Plan, count: int, times: dict[str, float]) -> list[Plan]:
    return [shard_of(plan, Shard(index, count), times) for index in range(1, count + 1)]


def test_equal_ones_are_dealt_evenly() -> None:
    assert sorted(len(run) for run in cut(range(10), [1] * 10, 4)) == [2, 2, 3, 3]
    assert cut([], [], 3) == []


def test_this_cut_is_the_same_in_every_version() -> None:
    """Who changes it changes what the machines of one build do, should their versions differ."""
    plan = Plan(
        targets=tuple(
            Target(arch=arch, policy=policy, python=PythonTag(3, minor))
            for arch in Arch
            for policy in known_policies()[:2]
            for minor in (11, 13)
        ),
        skipped=(),
    )
    firsts = [(len(part.targets), part.targets[0].identifier) for part in parts(plan, 4, {})]
    assert firsts == [
        (7, "cp311-musllinux_1_1_x86_64"),
        (7, "cp313-musllinux_1_2_aarch64"),
        (5, "cp311-musllinux_1_2_ppc64le"),
        (5, "cp313-musllinux_1_2_s390x"),
    ]


def test_recorded_times_move_the_cut() -> None:
    plan = Plan(
        targets=tuple(
            Target(arch=Arch.X86_64, policy=known_policies()[0], python=PythonTag(3, minor)) for minor in range(10, 14)
        ),
        skipped=(),
    )
    first = plan.targets[0].identifier
    assert [len(part.targets) for part in parts(plan, 2, {})] == [2, 2]
    assert [
        len(part.targets) for part in parts(plan, 2, {**{t.identifier: 1.0 for t in plan.targets}, first: 9.0})
    ] == [1, 3]


def test_what_has_no_time_is_weighed_by_what_has() -> None:
    policy, python = known_policies()[0], PythonTag(3, 13)
    intel, mainframe = (Target(arch=arch, policy=policy, python=python) for arch in (Arch.X86_64, Arch.S390X))
    assert weigh([intel, mainframe], {}) == (1000, 2000)
    assert weigh([intel, mainframe], {intel.identifier: 30.0}) == (30_000, 60_000)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "١/٢", ""])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="none of 1/N to N/N"):
        Shard.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2, "seconds": {}}', '{"version": 1, "seconds": {"a": "b"}}']
    + [f'{{"version": 1, "seconds": {{"a": {wrong}}}}}' for wrong in ("-1", "NaN", "Infinity")],
)
def test_what_is_no_file_of_times(text: str) -> None:
    with pytest.raises(UsageError, match=r"^x"):
        parse_times(text, "x")
