"""A directory with an Alpine package repository, as ``before-all`` sees it inside its container."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy
from musllinux_build.tarstream import tar_stream

_PLACE = "var/cache/musllinux-build/apk"
_LIST = "/etc/apk/repositories"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryDirectory:
    """``path`` holds ``v3.13/main/<apk arch>/`` and ``keys/*.rsa.pub``, as Alpine's mirrors lay it out.

    It is copied into the container and made its only repository (``enter``); ``leave`` undoes both, so that the kept
    image says nothing of it.
    """

    path: Path
    policy: Policy
    arch: Arch

    @property
    def _branch(self) -> str:
        major, minor, *_ = self.policy.row.base.split(".")
        return f"v{major}.{minor}"

    @property
    def digest(self) -> str:
        """Of the index, which names every package with its checksum."""
        index = self.path / self._branch / "main" / self.arch.row.apk / "APKINDEX.tar.gz"
        return hashlib.sha256(index.read_bytes()).hexdigest()

    def tar(self) -> Iterator[bytes]:
        """Packages, index and keys, to unpack at ``/``."""
        return tar_stream(self._entries())

    def _entries(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for name in (f"{self._branch}/main/{self.arch.row.apk}", "keys"):
            for file in sorted((self.path / name).iterdir()):
                entry = tarfile.TarInfo(f"{_PLACE}/{name}/{file.name}")
                data = file.read_bytes()
                entry.size, entry.mode = len(data), 0o644
                yield entry, data

    @property
    def enter(self) -> str:
        """The script that makes it the only repository."""
        return (
            f"cp {_LIST} {_LIST}.before; cp -r /etc/apk/keys /etc/apk/keys.before; "
            f"cp /{_PLACE}/keys/* /etc/apk/keys/; echo /{_PLACE}/{self._branch}/main > {_LIST}"
        )

    @property
    def leave(self) -> str:
        """The script that forgets it."""
        return (
            f"mv {_LIST}.before {_LIST}; rm -rf /etc/apk/keys /{_PLACE}; "
            "mv /etc/apk/keys.before /etc/apk/keys; rmdir -p /var/cache/musllinux-build 2>/dev/null || true"
        )
