"""images.fetching.Fetch on this machine: addresses by urllib, wheels by pip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.adapters.fetch import fetch_bytes, fetch_url, fetch_wheel
from musllinux_build.errors import FetchError
from musllinux_build.images.lock import BaseRow, SourceRow, WheelRow


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFetch:
    """Fetches on this machine, never in a container; ``cache`` keeps files by hash."""

    cache: Path

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
        return fetch_wheel(
            row.name,
            row.version,
            row.filename,
            row.sha256,
            directory / row.filename,
            cache=self.cache,
            platforms=platforms,
        )

    def unpinned(self, url: str) -> bytes | None:
        """The bytes behind an address."""
        return fetch_bytes(url)

    def _url(self, urls: Sequence[str], sha256: str, size: int | None, destination: Path) -> Path:
        return fetch_url(urls, sha256, size, destination, cache=self.cache)
