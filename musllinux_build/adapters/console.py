"""Progress on a terminal or in a log: one timed line per step on standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from musllinux_build.plaintext import plain_line


class ConsoleProgress:
    """ports.Progress over rich. ``verbosity``: -1 quiet, 0 steps and notes, 1 details, 2 also every output line."""

    def __init__(self, console: Console, *, verbosity: int = 0) -> None:
        self._console = console
        self.verbosity = verbosity
        self._lock = threading.Lock()
        self._open: list[str] = []
        self._status: Status | None = None

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A spinner while it runs (on a terminal), then the line with its duration and outcome."""
        started = time.monotonic()
        if self.verbosity < 0:
            yield
            return
        mark = "[red]✗[/]"
        try:
            with self._spinner(title):
                yield
            mark = "[green]✓[/]"
        finally:
            took = time.monotonic() - started
            self._line(f"{mark} {escape(title)} [dim]{took:.1f} s[/]")

    @contextmanager
    def _spinner(self, title: str) -> Iterator[None]:
        """What runs at the moment, a row each, where somebody sees it turn."""
        if not self._console.is_terminal:
            yield
            return
        self._running(title, add=True)
        try:
            yield
        finally:
            self._running(title, add=False)

    def _running(self, title: str, *, add: bool) -> None:
        """Steps begin and end in several threads."""
        with self._lock:
            if add:
                self._open.append(title)
            else:
                self._open.remove(title)
            text = escape("\n  ".join(self._open))
            if self._status is None and self._open:
                self._status = self._console.status(text)
                self._status.start()
            elif self._status is not None and self._open:
                self._status.update(text)
            elif self._status is not None:
                self._status.stop()
                self._status = None

    def note(self, text: str) -> None:
        """A line a user wants to see."""
        if self.verbosity >= 0:
            self._line(f"  {escape(plain_line(text))}")

    def detail(self, text: str) -> None:
        """A line for ``-v``."""
        if self.verbosity > 0:
            self._line(f"  [dim]{escape(plain_line(text))}[/]")

    def warn(self, text: str) -> None:
        """Something is not as it should be; shown even when quiet."""
        self._line(f"[yellow]! {escape(plain_line(text))}[/]")

    def _line(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)
