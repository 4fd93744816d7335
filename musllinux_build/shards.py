"""Plan → one part of it: every machine that is told ``I/N`` makes the same cut, without asking the others.

A part is a run of neighbours in the order architecture, policy, Python: what a part has to have besides its wheels
(images, compilers, ``before-all``) is had by as few parts as can be, and an abi3 wheel seldom by two. Of all such cuts
the one is taken whose longest part is shortest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

from musllinux_build.arch import Arch
from musllinux_build.plan import Plan, Target
from musllinux_build.times import weigh

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """The ``index``-th of ``count`` parts; the first is 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/4``.

        Raises:
            ValueError: it is none of 1/N to N/N.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, flags=re.ASCII)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"{text!r} is none of 1/N to N/N; the first of four is 1/4")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(plan: Plan, shard: Shard, times: Mapping[str, float]) -> Plan:
    """What ``shard`` builds of ``plan``: in the plan's order, which itself has no say in who builds what."""
    every = sorted(set(plan.targets), key=_place)
    cuts = cut(every, weigh(every, times), shard.count)
    chosen = frozenset(cuts[shard.index - 1]) if shard.index <= len(cuts) else frozenset[Target]()
    return replace(plan, targets=tuple(target for target in plan.targets if target in chosen))


def _place(target: Target) -> tuple[object, ...]:
    return list(Arch).index(target.arch), target.policy.series, target.python


def cut(items: Sequence[T], weights: Sequence[int], count: int) -> list[tuple[T, ...]]:
    """``items`` in at most ``count`` runs, none empty, so that the heaviest is as light as can be."""
    count = min(count, len(items))
    if not count:
        return []
    limit = _least_limit(weights, count)
    after = [*_runs_needed(weights, limit), 0]
    parts: list[tuple[T, ...]] = []
    start, rest = 0, sum(weights)
    for left in range(count, 0, -1):
        end, load = start, 0
        while end < len(items) and load + weights[end] <= limit and len(items) - end >= left:
            # Enough for its share, and the others can take what remains: they shall have something to do, too.
            if end > start and (2 * load + weights[end]) * left > 2 * rest and after[end] < left:
                break
            load += weights[end]
            end += 1
        parts.append(tuple(items[start:end]))
        start, rest = end, rest - load
    return parts


def _least_limit(weights: Sequence[int], count: int) -> int:
    """The smallest weight that no run need exceed."""
    sums = [0, *accumulate(weights)]
    low, high = max(*weights, -(-sums[-1] // count)), sums[-1]
    while low < high:
        middle = (low + high) // 2
        if _runs_needed(weights, middle)[0] <= count:
            high = middle
        else:
            low = middle + 1
    return low


def _runs_needed(weights: Sequence[int], limit: int) -> list[int]:
    """For every place the number of runs of at most ``limit`` that all from there on need."""
    ends: list[int] = []
    end, load = len(weights), 0
    for start in range(len(weights) - 1, -1, -1):
        load += weights[start]
        while load > limit:
            end -= 1
            load -= weights[end]
        ends.append(end)
    ends.reverse()
    needed = [0] * (len(weights) + 1)
    for start in range(len(weights) - 1, -1, -1):
        needed[start] = needed[ends[start]] + 1
    return needed[:-1]
