"""What no input may do: take a second of the processor, a gigabyte, or write outside the scratch directory."""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 1.0
MEMORY = 1 << 30
STUCK = 120
"""Seconds after which a hang in C code, which no signal reaches, ends the process with a traceback."""
CHANGED_FILES = re.compile(
    r"os\.(?:mkdir|rmdir|remove|rename|link|symlink|chmod|chown|truncate|utime|mkfifo|mknod|setxattr|removexattr)"
    r"|shutil\..*|tempfile\..*"
)
OUTSIDE = re.compile(
    r"os\.(?:system|exec|posix_spawn|fork|forkpty|kill|putenv|chdir)|subprocess\..*|socket\..*|ctypes\.dlopen|pty\..*"
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooSlowError(BaseException):
    """Not an Exception, so that nothing under test takes it for its own."""


class Guard:
    """Watches one input after the other; ``seen`` are the forbidden things that the current one did."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = f"{scratch.resolve()}/"
        self._armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, self._too_slow)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Armed while inside."""
        self.seen = []
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITING)
            if writes and not str(path).startswith(self._scratch) and not isinstance(path, int):
                self.seen.append(f"open for writing: {path!r}")
        elif OUTSIDE.fullmatch(event) or (
            CHANGED_FILES.fullmatch(event) and not str(arguments[0]).startswith(self._scratch)
        ):
            self.seen.append(f"{event}: {arguments!r}"[:300])

    def _too_slow(self, number: int, frame: object) -> None:
        if self._armed:
            raise TooSlowError


def limit_memory() -> None:
    """No more than MEMORY beyond what the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def watch_for_hangs() -> None:
    faulthandler.dump_traceback_later(STUCK, exit=True)
