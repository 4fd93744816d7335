"""Several wheels at once: which target is begun next and where, and which of two that make the same wheel keeps it.

The targets of one architecture and policy are begun in the plan's order, so that whatever an earlier Python may still
make is under work before a later one asks; among the architectures that an engine has a slot for, the one with the
longest target goes first.

Nobody who has a slot waits for anybody: a target is begun where a slot is free, who waits for an earlier Python has
given its slot back, and a second try goes where a slot is free or stays. So each slot comes back, and no two wait for
each other.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from musllinux_build.arch import Arch
from musllinux_build.builds.session import undisturbed
from musllinux_build.errors import EngineError
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.report import BuiltWheel, Outcome
from musllinux_build.tags import serves

GLANCE_SECONDS = 0.5
"""How late a signal may be seen that came just before a wait, which it then does not end."""


def grouped(targets: Sequence[Target]) -> list[tuple[Target, ...]]:
    """The targets of each architecture and policy in the plan's order, wherever in the plan they stand."""
    groups: dict[tuple[Arch, Policy], list[Target]] = {}
    for target in targets:
        groups.setdefault((target.arch, target.policy), []).append(target)
    return [tuple(members) for members in groups.values()]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """The targets of one architecture and policy, and what has become of them so far."""

    targets: tuple[Target, ...]
    outcomes: dict[Target, Outcome] = field(default_factory=dict)

    def serving(self, target: Target) -> BuiltWheel | None:
        """A finished wheel of an earlier Python that serves ``target`` too (abi3)."""
        for other in self._earlier(target):
            outcome = self.outcomes.get(other)
            wheel = outcome.wheel if outcome is not None and not outcome.same_as else None
            if wheel is not None and serves(wheel.path.name, target.python):
                return wheel
        return None

    def rivals(self, target: Target, name: str) -> list[Target]:
        """The earlier Pythons without an outcome that may make ``target``'s wheel, called ``name``, too."""
        return [other for other in self._earlier(target) if other not in self.outcomes and serves(name, other.python)]

    def _earlier(self, target: Target) -> Sequence[Target]:
        return self.targets[: self.targets.index(target)]


@dataclass(slots=True, kw_only=True, eq=False)
class Slots:
    """How many more targets each engine takes, and who waits. It is read and written under ``changed``."""

    free: list[int]
    aside: list[Turn] = field(default_factory=list)
    """Who waits for an earlier Python, without a slot."""
    closed: bool = False
    """Nothing is begun any more."""
    over: bool = False
    """Nobody is waited for any more."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    events: SimpleQueue[Future[Outcome] | None] = field(default_factory=SimpleQueue)
    """What the thread that begins targets waits for: a finished one, or None for a slot that came back."""

    def first(self, engines: Sequence[int]) -> int | None:
        """The first of the engines with a slot that nobody wants back who has begun."""
        wanted = Counter(turn.engine for turn in self.aside if turn.returns)
        return next((engine for engine in engines if self.free[engine] > wanted[engine]), None)

    def promised(self, target: Target, group: Group) -> bool:
        """Whether somebody waits with a wheel that serves ``target``: it need not be built, whose it ever becomes."""
        return any(turn.group is group and serves(turn.made, target.python) for turn in self.aside)

    def event(self) -> Future[Outcome] | None:
        """What has ended, or None now and then."""
        try:
            return self.events.get(timeout=GLANCE_SECONDS)
        except Empty:
            return None

    def end(self) -> None:
        """The run is interrupted."""
        with undisturbed(), self.changed:
            self.over = True
            self.changed.notify_all()


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """A target that was begun: ``engine`` is the one whose slot it has, by its number."""

    target: Target
    group: Group
    engine: int
    slots: Slots
    made: str = ""
    """What the wheel is called that waits for an earlier Python's."""

    @property
    def returns(self) -> bool:
        """Whether all that it waited for is there."""
        return not self.group.rivals(self.target, self.made)

    def serving(self) -> BuiltWheel | None:
        """A finished wheel of an earlier Python that serves this one too (abi3)."""
        with self.slots.changed:
            return self.group.serving(self.target)

    def settle(self, name: str) -> BuiltWheel | None:
        """The wheel that is taken in place of the target's own, which is called ``name``; None: its own.

        An earlier Python that this wheel would serve may be making it, too. It is waited for, and its wheel is the one
        that is kept: that of a run in which nothing is done at once.

        Raises:
            EngineError: the run was interrupted meanwhile.
        """
        slots = self.slots
        with slots.changed:
            if self.group.rivals(self.target, name):
                self.made = name
                slots.aside.append(self)
                self._give_back()
                slots.changed.wait_for(lambda: slots.over or (self.returns and slots.free[self.engine] > 0))
                slots.free[self.engine] -= 1
                slots.aside.remove(self)
                if slots.over:
                    raise EngineError("the run is ending: no other wheel is waited for", resolution="Start again.")
            return self.group.serving(self.target)

    def move(self, engines: Sequence[int]) -> None:
        """To the first of the engines that has a slot free; where none has, it stays."""
        with self.slots.changed:
            other = self.slots.first(engines)
            if other is not None:
                self.slots.free[other] -= 1
                self._give_back()
                self.engine = other

    def finish(self, outcome: Outcome, *, last: bool) -> None:
        """The target has its outcome; who waits for it, or for its slot, goes on."""
        with self.slots.changed:
            self.group.outcomes[self.target] = outcome
            self.slots.closed = self.slots.closed or last
            self._give_back()

    def _give_back(self) -> None:
        self.slots.free[self.engine] += 1
        self.slots.changed.notify_all()
        self.slots.events.put(None)


def longest(heads: Mapping[int, Target], weights: Mapping[Target, int]) -> int:
    """The group whose next target takes longest, the first of several."""
    return min(heads, key=lambda index: (-weights.get(heads[index], 1), index))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How targets are made: ``weights`` say what they are expected to take.

    Each engine makes as many at once as ``slots`` says; ``able`` gives the numbers of those that may make a target, the
    best first. ``last`` says of an outcome that nothing is begun after it. ``abandon`` ends what is under work when the
    run is interrupted.
    """

    make: Callable[[Turn], Outcome]
    able: Callable[[Target], Sequence[int]]
    last: Callable[[Outcome], bool]
    abandon: Callable[[], None]
    slots: Sequence[int]
    weights: Mapping[Target, int]

    def run(self, groups: Sequence[Group], told: Callable[[Outcome], None]) -> None:
        """Make every target that has no outcome yet; ``told`` gets each outcome, in this thread, as it comes."""
        slots = Slots(free=list(self.slots))
        waiting = [[target for target in group.targets if target not in group.outcomes] for group in groups]
        if sum(self.slots) == 1:
            self._one_after_the_other(slots, groups, waiting, told)
            return
        # As many threads as targets: who waits for another one has a thread, and no slot.
        with ThreadPoolExecutor(max_workers=max(1, sum(map(len, waiting)))) as pool:
            try:
                running = 0
                while True:
                    for turn in self._begin(slots, groups, waiting):
                        pool.submit(self._one, turn).add_done_callback(slots.events.put)
                        running += 1
                    if not running:
                        break
                    if (done := slots.event()) is not None:
                        running -= 1
                        told(done.result())
            except BaseException:
                slots.end()
                self.abandon()
                raise

    def _begin(self, slots: Slots, groups: Sequence[Group], waiting: Sequence[list[Target]]) -> list[Turn]:
        """The turns of all that can be begun now, each with its slot."""
        turns = []
        with undisturbed(), slots.changed:  # no signal may leave the lock behind
            while (turn := self._next(slots, groups, waiting)) is not None:
                turns.append(turn)
        return turns

    def _next(self, slots: Slots, groups: Sequence[Group], waiting: Sequence[list[Target]]) -> Turn | None:
        engines: dict[int, int] = {}
        for index, targets in enumerate(waiting):
            if targets and not slots.closed and not slots.promised(targets[0], groups[index]):
                engine = slots.first(self.able(targets[0]))
                if engine is not None:
                    engines[index] = engine
        if not engines:
            return None
        index = longest({index: waiting[index][0] for index in engines}, self.weights)
        slots.free[engines[index]] -= 1
        return Turn(target=waiting[index].pop(0), group=groups[index], engine=engines[index], slots=slots)

    def _one_after_the_other(
        self,
        slots: Slots,
        groups: Sequence[Group],
        waiting: Sequence[list[Target]],
        told: Callable[[Outcome], None],
    ) -> None:
        """In this thread, group by group in the plan's order: a signal ends what runs where it is."""
        for group, targets in zip(groups, waiting, strict=True):
            for target in targets:
                engine = self.able(target)[0]
                slots.free[engine] -= 1
                told(self._one(Turn(target=target, group=group, engine=engine, slots=slots)))
                if slots.closed:
                    return

    def _one(self, turn: Turn) -> Outcome:
        try:
            outcome = self.make(turn)
        except BaseException:
            # Nobody waits for what will never come.
            turn.finish(Outcome(target=turn.target, seconds=0.0), last=False)
            raise
        turn.finish(outcome, last=self.last(outcome))
        return outcome
