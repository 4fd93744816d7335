"""The lab's directory: what is in place, what made it, and the signed package repository."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
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

    def left_over(self, name: str, kept: Sequence[Path]) -> list[Path]:
        """What an older version of a result left that the new one has not."""
        record = self._record(name)
        if not record.exists():
            return []
        old = [self.directory / path for path in json.loads(record.read_text())["paths"]]
        return [path for path in old if path not in kept and path.name != "APKINDEX.tar.gz"]

    def replace_made(self, name: str, kept: Sequence[Path]) -> None:
        """Deletes what an older version of a result left that the new one has not."""
        for path in self.left_over(name, kept):
            path.unlink(missing_ok=True)

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
        return self.directory / "apk" / branch_of(release) / "main" / arch.row.apk

    def adopt(self, name: str, digest: str, branch: str, others: Sequence[str], repository: Path) -> bool:
        """Takes packages made from the same inputs over from another branch's repository."""
        for other in others:
            if other != branch and self.fresh(f"{name}-{other}", digest):
                stamp = json.loads(self._record(f"{name}-{other}").read_text())
                paths = [self.directory / path for path in stamp["paths"] if path.endswith(".apk")]
                self._put(f"{name}-{branch}", digest, {path.name: path.read_bytes() for path in paths}, repository)
                return True
        return False

    def publish(self, name: str, digest: str, built: Sequence[Built], branch: str, repository: Path) -> None:
        """Puts packages and an index that has them in place."""
        signer = self.signer()
        made = {file_name(each.package): write_apk(each.package, each.entries, signer) for each in built}
        self._put(f"{name}-{branch}", digest, made, repository)

    def _put(self, record: str, digest: str, made: Mapping[str, bytes], repository: Path) -> None:
        paths = [repository / name for name in made]
        for path in paths:
            write_file(path, made[path.name])
        # The index without a package precedes the end of that package.
        kept = {path.name: path for path in sorted(repository.glob("*.apk"))}
        gone = self.left_over(record, paths)
        everything = {name: path.read_bytes() for name, path in kept.items() if path not in gone}
        write_file(repository / "APKINDEX.tar.gz", write_index(everything, "musllinux-build lab", self.signer()))
        for path in gone:
            path.unlink(missing_ok=True)
        self.made(record, digest, [*paths, repository / "APKINDEX.tar.gz"])
        say(f"{repository.relative_to(self.directory)}: {', '.join(made)}")


def branch_of(release: PolicyRow) -> str:
    """The branch of Alpine's mirrors that a base is of (``v3.13``)."""
    return f"v{release.base.rpartition('.')[0]}"


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
