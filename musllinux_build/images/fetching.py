"""What the images ask of the network. The command line brings the one that answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from musllinux_build.errors import FetchError
from musllinux_build.images.lock import BaseRow, SourceRow, WheelRow


class Fetch(Protocol):
    """Pinned files into paths; every method raises FetchError when it cannot, or the hash is another."""

    def base(self, row: BaseRow, destination: Path) -> Path:
        """A root archive at ``destination``."""
        ...

    def source(self, row: SourceRow, destination: Path) -> Path:
        """A source archive at ``destination``."""
        ...

    def wheel(self, row: WheelRow, directory: Path, platforms: Sequence[str]) -> Path:
        """A wheel in ``directory``; ``platforms`` are platform tags where it is not for every machine."""
        ...

    def unpinned(self, url: str) -> bytes | None:
        """What an address holds, None where it has nothing: only for what a signature or an index vouches for."""
        ...


class NoFetch:
    """For supplies that are all on this machine."""

    def base(self, row: BaseRow, destination: Path) -> Path:  # noqa: ARG002 - the protocol's
        """Refused."""
        raise _refused(row.filename)

    def source(self, row: SourceRow, destination: Path) -> Path:  # noqa: ARG002 - the protocol's
        """Refused."""
        raise _refused(row.archive)

    def wheel(self, row: WheelRow, directory: Path, platforms: Sequence[str]) -> Path:  # noqa: ARG002 - the protocol's
        """Refused."""
        raise _refused(row.filename)

    def unpinned(self, url: str) -> bytes | None:
        """Refused."""
        raise _refused(url)


def _refused(filename: str) -> FetchError:
    return FetchError(f"{filename} is not here and nothing may be fetched", resolution="Put it into the directory.")
