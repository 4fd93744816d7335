"""How much time and memory hostile input may cost."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float, memory: int) -> Iterator[None]:
    """The block takes less processor time and allocates less (bytes, at its peak)."""
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < seconds
