"""The lab's directory: what is in place, what made it, and the signed package repository."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.policy import PolicyRow
from tests.lab.apk import Signer, file_name, write_apk, write_index
from tests.lab.commands import LabError, run, say
from tests.lab.sysroot import Built

KEY_NAME = "musllinux-lab.rsa"


def digest_of(*inputs: object) -> str:
    """One hash of the texts of everything a result follows from."""
    texts = [each.read_text() if isinstance(each, Path) else repr(each) for each in inputs]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """A file that is complete from the moment it is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.chmod(mode)
    partial.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The output directory; ``work`` is private to the lab, the rest is the layout others read."""

    directory: Path

    @property
    def work(self) -> Path:
        return self.directory / ".work"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the directory; a second run waits and then finds everything made."""
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def fresh(self, name: str, digest: str) -> bool:
        """Whether a result was made from the same inputs and is still there."""
        record = self._record(name)
        if not record.exists():
            return False
        stamp = json.loads(record.read_text())
        return bool(stamp["digest"] == digest) and all((self.directory / path).exists() for path in stamp["paths"])

    def made(self, name: str, digest: str, paths: Sequence[Path]) -> None:
        """Records what a result consists of, after it is in place."""
        relative = [str(path.relative_to(self.directory)) for path in paths]
        write_file(self._record(name), json.dumps({"digest": digest, "paths": relative}).encode())

    def replace_made(self, name: str, kept: Sequence[Path]) -> None:
        """Deletes what an older version of a result left that the new one has not."""
        record = self._record(name)
        if record.exists():
            for path in json.loads(record.read_text())["paths"]:
                if self.directory / path not in kept:
                    (self.directory / path).unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self.work / "made" / f"{name}.json"

    def signer(self) -> Signer:
        """The lab's key, made at its first use; every lab directory has its own."""
        private, public = self.work / KEY_NAME, self.directory / "apk" / "keys" / f"{KEY_NAME}.pub"
        if not private.exists():
            write_file(private, run(["openssl", "genrsa", "2048"]), mode=0o600)
        if not public.exists():
            write_file(public, run(["openssl", "rsa", "-in", private, "-pubout"]))
        command = ["openssl", "dgst", "-sha1", "-sign", str(private)]
        return Signer(key_name=public.name, sign=lambda content: run(command, stdin=content))

    def repository(self, arch: Arch, release: PolicyRow) -> Path:
        """The directory of packages apk reads, named as on Alpine's mirrors."""
        branch = release.base.rpartition(".")[0]
        return self.directory / "apk" / f"v{branch}" / "main" / arch.row.apk

    def publish(self, name: str, digest: str, built: Sequence[Built], repository: Path) -> None:
        """Puts packages and an index that has them in place."""
        signer = self.signer()
        paths = [repository / file_name(each.package) for each in built]
        for path, each in zip(paths, built, strict=True):
            write_file(path, write_apk(each.package, each.entries, signer))
        self.replace_made(name, paths)
        everything = {path.name: path.read_bytes() for path in sorted(repository.glob("*.apk"))}
        write_file(repository / "APKINDEX.tar.gz", write_index(everything, "musllinux-build lab", signer))
        self.made(name, digest, [*paths, repository / "APKINDEX.tar.gz"])
        say(f"{repository.relative_to(self.directory)}: {', '.join(path.name for path in paths)}")


def copy_bases(shared: Path, bases: Path, names: Sequence[str]) -> list[Path]:
    """Alpine's official archives, checked against Alpine's own sums.

    Raises:
        LabError: an archive is not what Alpine published.
    """
    rows = (line.split() for line in (shared / "SHA512SUMS").read_text().splitlines())
    sums = {name: checksum for checksum, name in rows}
    copies = []
    bases.mkdir(parents=True, exist_ok=True)
    for name in names:
        content = (shared / name).read_bytes()
        if hashlib.sha512(content).hexdigest() != sums.get(name):
            raise LabError(f"{name}: not the archive in SHA512SUMS")
        partial = bases / f".{name}.partial"
        shutil.copyfile(shared / name, partial)
        partial.replace(bases / name)
        copies.append(bases / name)
    return copies
