"""Work on many members at once: on all cores, and within a bound on memory.

Inflating, hashing and deflating large members gives up the interpreter's lock, so threads are enough. The largest
pieces start first; one that would not fit beside those that run waits, and smaller ones go ahead meanwhile. A piece
that is larger than the bound runs alone, or with what the caller allows beside it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")
ROOM: Final = 8 << 20
"""Bytes that pieces may hold together, unless one alone needs more."""
HANDFUL: Final = 1 << 18
"""Small pieces are taken so many bytes at a time: the interpreter's lock changes hands less often."""
MOST_WORKERS: Final = 8


def cores() -> int:
    """How many threads to use: the processors this process may run on, at most 8."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)))


def share(
    pieces: Sequence[Piece],
    weigh: Callable[[Piece], int],
    work: Callable[[Piece], Result],
    workers: int,
    *,
    beside: int = 0,
) -> list[Result]:
    """The result of ``work`` for each piece, in order; ``weigh`` tells how many bytes a piece holds while at work.

    ``beside`` bytes of other pieces may be at work while the largest is.

    All pieces are done before the error of the first that failed is raised, so that it is the same one every time.
    """
    errors: dict[int, Exception] = {}
    results: dict[int, Result] = {}
    queue = _Queue([weigh(piece) for piece in pieces], beside)

    def run() -> None:
        while taken := queue.take():
            for index in taken:
                try:
                    results[index] = work(pieces[index])
                except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
                    errors[index] = error
            queue.give_back(taken)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, queue.most_at_once) - 1)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(pieces))]


class _Queue:
    """The pieces that wait, by index, largest first, and the room that is left."""

    def __init__(self, weights: Sequence[int], beside: int) -> None:
        self._weights = weights
        self._waiting = deque(sorted(range(len(weights)), key=lambda index: (-weights[index], index)))
        self._room = max(ROOM, max(weights, default=0) + beside)
        self._changed = threading.Condition()
        self.most_at_once = max(1, min(len(weights), sum(weights) // HANDFUL))

    def take(self) -> list[int]:
        """The next pieces for one thread; none when there are no more."""
        with self._changed:
            while self._waiting:
                if self._weights[self._waiting[0]] <= self._room:
                    taken = [self._waiting.popleft()]
                elif self._weights[self._waiting[-1]] <= self._room:
                    taken = [self._waiting.pop()]
                else:
                    self._changed.wait()
                    continue
                weight = self._weights[taken[0]]
                while self._waiting and weight + self._weights[self._waiting[-1]] <= min(HANDFUL, self._room):
                    taken.append(self._waiting.pop())
                    weight += self._weights[taken[-1]]
                self._room -= weight
                return taken
            return []

    def give_back(self, taken: Sequence[int]) -> None:
        """The bytes of ``taken`` are free again."""
        with self._changed:
            self._room += sum(self._weights[index] for index in taken)
            self._changed.notify_all()
