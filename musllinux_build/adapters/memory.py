"""The C library's allocator, told once to give large blocks back to the system."""

from __future__ import annotations

import ctypes
from typing import Final

M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
LARGE: Final = 1 << 18


def give_back_large_blocks() -> None:
    """Let every block of 256 KiB and more be pages of its own, as they are in musl.

    glibc raises the size from which blocks are so as large ones are freed, up to 32 MiB, and what it then keeps of
    freed contents comes to more than a repair needs at once. One arena serves all threads, as small blocks are asked
    for while the interpreter's lock is held (mallopt(3), M_MMAP_THRESHOLD and M_ARENA_MAX).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_ARENA_MAX, 1)
