"""Parts of a plan: disjoint, complete, the same wherever they are made, and as even as runs of neighbours can be."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import known_policies
from musllinux_build.python import PythonTag
from musllinux_build.shards import Shard, cut, shard_of
from musllinux_build.times import format_times, parse_times

TARGETS = st.builds(
    Target,
    arch=st.sampled_from(list(Arch)),
    policy=st.sampled_from(known_policies()),
    python=st.builds(PythonTag, st.just(3), st.integers(9, 15), st.booleans()),
)
PLANS = st.lists(TARGETS, unique=True, max_size=40).map(lambda targets: Plan(targets=tuple(targets), skipped=()))
COUNTS = st.integers(1, 12)
SECONDS = st.floats(0, 10_000, allow_nan=False)


def parts(plan: Plan, count: int, times: dict[str, float]) -> list[Plan]:
    return [shard_of(plan, Shard(index, count), times) for index in range(1, count + 1)]


@st.composite
def timed_plans(draw: st.DrawFn) -> tuple[Plan, dict[str, float]]:
    plan = draw(PLANS)
    known = [target.identifier for target in plan.targets if draw(st.booleans())]
    return plan, {name: draw(SECONDS) for name in known}


@given(timed_plans(), COUNTS)
def test_parts_are_disjoint_and_complete(timed: tuple[Plan, dict[str, float]], count: int) -> None:
    plan, times = timed
    found = [target for part in parts(plan, count, times) for target in part.targets]
    assert len(found) == len(set(found))
    assert set(found) == set(plan.targets)


@given(timed_plans(), COUNTS, st.randoms())
def test_the_order_of_options_and_of_times_moves_nothing(
    timed: tuple[Plan, dict[str, float]], count: int, random: object
) -> None:
    plan, times = timed
    targets, rows = list(plan.targets), list(times.items())
    random.shuffle(targets)  # type: ignore[attr-defined]
    random.shuffle(rows)  # type: ignore[attr-defined]
    other = parts(Plan(targets=tuple(targets), skipped=()), count, dict(rows))
    assert [set(part.targets) for part in parts(plan, count, times)] == [set(part.targets) for part in other]


@given(PLANS, COUNTS)
def test_the_plans_order_stays_and_nobody_is_idle_who_need_not_be(plan: Plan, count: int) -> None:
    made = parts(plan, count, {})
    places = {target: place for place, target in enumerate(plan.targets)}
    for part in made:
        assert [places[target] for target in part.targets] == sorted(places[target] for target in part.targets)
    assert sum(bool(part.targets) for part in made) == min(count, len(plan.targets))


def lightest(weights: list[int], count: int) -> int:
    """The least that the heaviest of ``count`` runs can weigh, by trying all."""
    ends = [(0, *inner, len(weights)) for inner in combinations(range(1, len(weights)), count - 1)]
    return min(max(sum(weights[a:b]) for a, b in pairwise(one)) for one in ends)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 8))
def test_no_cut_has_a_lighter_heaviest_part(weights: list[int], count: int) -> None:
    runs = cut(list(enumerate(weights)), weights, count)
    assert [item for run in runs for item in run] == list(enumerate(weights))
    count = min(count, len(weights))
    assert len(runs) == count
    assert max(sum(weight for _, weight in run) for run in runs) == lightest(weights, count)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), COUNTS)
def test_no_part_is_heavier_than_its_share_and_one_item(weights: list[int], count: int) -> None:
    runs = cut(weights, weights, count)
    assert max(map(sum, runs)) <= sum(weights) / count + max(weights)


@given(st.integers(1, 999).flatmap(lambda count: st.builds(Shard, st.integers(1, count), st.just(count))))
def test_a_shard_is_written_as_it_is_read(shard: Shard) -> None:
    assert Shard.parse(str(shard)) == shard


@given(st.dictionaries(st.text(), SECONDS.map(lambda seconds: round(seconds, 1))))
def test_times_are_written_as_they_are_read(times: dict[str, float]) -> None:
    assert parse_times(format_times(times), "x") == times
