"""images.fetching.Fetch on this machine: addresses by urllib, wheels by pip."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from musllinux_build.adapters import process
from musllinux_build.adapters.fetch import fetch_bytes, fetch_url, fetch_wheel
from musllinux_build.errors import FetchError
from musllinux_build.images.lock import BaseRow, SourceRow, WheelRow

GLANCE_SECONDS = 0.2
"""How often is looked whether the run goes on."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFetch:
    """Fetches on this machine, never in a container; ``cache`` keeps files by hash.

    A signal ends what the main thread fetches; other threads ask ``go_on`` meanwhile, which raises after the run's end.
    """

    cache: Path
    go_on: Callable[[], None] | None = None

    def base(self, row: BaseRow, destination: Path) -> Path:
        """A root archive by its addresses."""
        if row.sha256 is None:
            raise FetchError(f"the lock has no hash of {row.filename}", resolution="Measure it from an archive.")
        return self._url(row.urls, row.sha256, row.size, destination)

    def source(self, row: SourceRow, destination: Path) -> Path:
        """A source archive by its addresses."""
        return self._url(row.urls, row.sha256, row.size, destination)

    def wheel(self, row: WheelRow, directory: Path, platforms: Sequence[str]) -> Path:
        """A wheel through the user's own pip settings."""
        pip = process.ProcessGroups()
        fetch = partial(
            fetch_wheel,
            row.name,
            row.version,
            row.filename,
            row.sha256,
            directory / row.filename,
            cache=self.cache,
            platforms=platforms,
            run=process.run if self._asks() is None else partial(_run_in, pip),
        )
        try:
            return self._awaited(fetch)
        finally:
            pip.end()

    def unpinned(self, url: str) -> bytes | None:
        """The bytes behind an address."""
        return self._awaited(partial(fetch_bytes, url))

    def _url(self, urls: Sequence[str], sha256: str, size: int | None, destination: Path) -> Path:
        return self._awaited(partial(fetch_url, urls, sha256, size, destination, cache=self.cache))

    def _asks(self) -> Callable[[], None] | None:
        return None if threading.current_thread() is threading.main_thread() else self.go_on

    def _awaited(self, fetch: Callable[[], T]) -> T:
        """What ``fetch`` gives. It is left alone when ``go_on`` raises, as nothing ends a read from the network.

        Its thread ends with the process then, and what it has written of a file is removed by the next run.
        """
        go_on = self._asks()
        if go_on is None:
            return fetch()
        go_on()
        result: Future[T] = Future()

        def work() -> None:
            try:
                result.set_result(fetch())
            except BaseException as error:  # noqa: BLE001 - raised by who waits
                result.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        while not wait([result], timeout=GLANCE_SECONDS).done:
            go_on()
        return result.result()


def _run_in(group: process.ProcessGroups, argv: Sequence[str]) -> process.Completed:
    """As process.run, by a program that another thread can end."""
    said = bytearray()
    status = group.run(argv, env=os.environ, cwd=os.curdir, on_output=said.extend)
    return process.Completed(argv=tuple(argv), returncode=status, stdout=b"", stderr=bytes(said))
