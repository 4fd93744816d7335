"""Sysroot over a container's files: read one by one, links resolved inside it, nothing executed.

The container is stopped first, so what is read cannot change under the reader; only regular files leave it.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Sequence

from musllinux_build.errors import EngineError
from musllinux_build.ports import Engine
from musllinux_build.tarstream import only_file

MAXIMUM_FILE_BYTES = 2 << 30
_MAXIMUM_LINKS = 40


class ContainerSysroot:
    """ports.Sysroot of a stopped container."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._real: dict[str, str | None] = {}

    def real_path(self, path: str) -> str | None:
        """The path with links resolved; the engine resolves those of the directories within the container."""
        if path not in self._real:
            self._real[path] = self._resolve(posixpath.normpath(path))
        return self._real[path]

    def _resolve(self, path: str) -> str | None:
        for _ in range(_MAXIMUM_LINKS):
            found = self._engine.stat(self._container, path)
            if found is None:
                return None
            if not found.is_link:
                return path
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), found.link_target))
        return None

    def read(self, path: str) -> bytes | None:
        """The bytes of a regular file, None when there is none."""
        real = self.real_path(path)
        found = self._engine.stat(self._container, real) if real else None
        if real is None or found is None or found.is_dir:
            return None
        if found.size > MAXIMUM_FILE_BYTES:
            raise EngineError(f"{path} in the container has {found.size} bytes, more than any library")
        chunks = self._engine.get(self._container, real)
        return None if chunks is None else only_file(b"".join(chunks))

    def names(self, path: str) -> Sequence[str]:
        """The names in a directory, sorted."""
        real = self.real_path(path)
        found = self._engine.stat(self._container, real) if real else None
        chunks = self._engine.get(self._container, real) if real and found and found.is_dir else None
        return () if chunks is None else names_in(b"".join(chunks))


def names_in(archive: bytes) -> Sequence[str]:
    """The names of what lies directly in the directory that a tar is of, sorted."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        parts = [name.strip("/").split("/") for name in tar.getnames()]
    return sorted({part[1] for part in parts if len(part) == 2})
