import threading

import pytest

from musllinux_build.wheel.crew import ROOM, share


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_in_order_and_the_first_error_is_raised(workers: int) -> None:
    sizes = [ROOM, 3, ROOM // 2, 1 << 19, 7, ROOM * 3, 1 << 20]
    assert share(sizes, lambda size: size, lambda size: size + 1, workers) == [size + 1 for size in sizes]
    assert share([], lambda size: size, lambda size: size, workers) == []
    with pytest.raises(ZeroDivisionError, match="first"):
        share(sizes, lambda size: size, lambda size: fail("first" if size == ROOM else "other"), workers)


def fail(message: str) -> None:
    raise ZeroDivisionError(message)


def test_what_is_held_stays_within_the_room() -> None:
    lock, held, most = threading.Lock(), [0], [0]

    def work(size: int) -> None:
        with lock:
            held[0] += size
            most[0] = max(most[0], held[0])
        threading.Event().wait(0.001)
        with lock:
            held[0] -= size

    share([ROOM // 2 + 1] * 8 + [ROOM // 3] * 8 + [10] * 50, lambda size: size, work, 4)
    assert ROOM // 2 < most[0] <= ROOM
    share([2 * ROOM, ROOM // 2, ROOM], lambda size: size, work, 4)
    assert most[0] == 2 * ROOM


@pytest.mark.parametrize(("beside", "together"), [(0, False), (ROOM, True)])
def test_small_pieces_go_beside_the_largest_only_where_that_is_allowed(beside: int, together: bool) -> None:
    small_done = threading.Event()

    def work(weight: int) -> bool:
        if weight == ROOM:
            small_done.set()
            return True
        return small_done.wait(5 if beside else 0.2)

    largest, _ = share([4 * ROOM, ROOM], lambda weight: weight, work, 2, beside=beside)
    assert largest is together
