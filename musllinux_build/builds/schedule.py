"""Several wheels at once: which target is begun next, and which of two that make the same wheel keeps it.

The targets of one architecture and policy are begun in the plan's order, so that whatever an earlier Python may still
make is under work before a later one asks; among the architectures the one with the longest target goes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from musllinux_build.arch import Arch
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.report import BuiltWheel, Outcome
from musllinux_build.tags import serves

Key = tuple[Arch, Policy]


@dataclass(slots=True, kw_only=True)
class Group:
    """The targets of one architecture and policy, and what has become of them so far."""

    targets: tuple[Target, ...]
    outcomes: dict[Target, Outcome] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def finish(self, outcome: Outcome) -> None:
        """A target has its outcome; who waits for it goes on."""
        with self.changed:
            self.outcomes[outcome.target] = outcome
            self.changed.notify_all()

    def serving(self, target: Target) -> BuiltWheel | None:
        """A finished wheel of an earlier Python that serves ``target`` too (abi3)."""
        with self.changed:
            return self._serving(target)

    def settle(self, target: Target, name: str) -> BuiltWheel | None:
        """The wheel that ``target`` takes in place of the one it has made, which is called ``name``; None: its own.

        An earlier Python that this wheel would serve may be making it, too. It is waited for, and its wheel is the one
        that is kept: that of a run in which nothing is done at once.
        """
        rivals = [other for other in self._earlier(target) if serves(name, other.python)]
        with self.changed:
            self.changed.wait_for(lambda: all(rival in self.outcomes for rival in rivals))
            return self._serving(target)

    def _serving(self, target: Target) -> BuiltWheel | None:
        for other in self._earlier(target):
            outcome = self.outcomes.get(other)
            wheel = outcome.wheel if outcome is not None and not outcome.same_as else None
            if wheel is not None and serves(wheel.path.name, target.python):
                return wheel
        return None

    def _earlier(self, target: Target) -> Sequence[Target]:
        return self.targets[: self.targets.index(target)]


def next_group(waiting: Sequence[Sequence[Target]], weights: Mapping[Target, int]) -> int:
    """The index of the group whose next target takes longest, the first of several; one at least has a target."""
    heads = [(weights.get(targets[0], 1), -index) for index, targets in enumerate(waiting) if targets]
    return -max(heads)[1]


Make = Callable[[Target, Group], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How targets are made: ``limit`` at once, ``weights`` say what they are expected to take.

    ``last`` says of an outcome that nothing is begun after it. ``abandon`` ends what is under work when the run is
    interrupted.
    """

    make: Make
    last: Callable[[Outcome], bool]
    abandon: Callable[[], None]
    limit: int
    weights: Mapping[Target, int]

    def run(self, groups: Sequence[Group], told: Callable[[Outcome], None]) -> None:
        """Make every target that has no outcome yet; ``told`` gets each outcome, in this thread, as it comes."""
        waiting = [[target for target in group.targets if target not in group.outcomes] for group in groups]
        if self.limit == 1:
            self._one_after_the_other(groups, waiting, told)
            return
        running: dict[Future[Outcome], Group] = {}
        ended = False
        with ThreadPoolExecutor(max_workers=self.limit) as pool:
            try:
                while running or any(waiting):
                    while not ended and len(running) < self.limit and any(waiting):
                        index = next_group(waiting, self.weights)
                        group = groups[index]
                        running[pool.submit(self._one, waiting[index].pop(0), group)] = group
                    if not running:
                        break
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[done]
                        outcome = done.result()
                        told(outcome)
                        ended = ended or self.last(outcome)
            except BaseException:
                self.abandon()
                raise

    def _one_after_the_other(
        self, groups: Sequence[Group], waiting: Sequence[list[Target]], told: Callable[[Outcome], None]
    ) -> None:
        """In this thread, in the plan's order: a signal ends what runs where it is."""
        for group, targets in zip(groups, waiting, strict=True):
            for target in targets:
                outcome = self._one(target, group)
                told(outcome)
                if self.last(outcome):
                    return

    def _one(self, target: Target, group: Group) -> Outcome:
        try:
            outcome = self.make(target, group)
        except BaseException:
            # Nobody waits for what will never come.
            group.finish(Outcome(target=target, seconds=0.0))
            raise
        group.finish(outcome)
        return outcome
