"""Engine over the root that this process runs in: a container is a directory of its own, and nothing is isolated.

There is one image, this one. What is done to its files outside a container's directory stays done; that is what
``commit`` means here. Images, volumes and other platforms are not to be had.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, NoReturn, cast

from musllinux_build.adapters.process import ProcessGroups
from musllinux_build.arch import Arch
from musllinux_build.errors import DiskFullError, EngineError
from musllinux_build.ports import BuildSpec, ContainerSpec, EngineInfo, ImageInfo, PathStat
from musllinux_build.tarstream import Content, tar_stream

PREFIX = "musllinux-build-"
_TEMPORARY = "tmp"
ATTEMPTS = 20
PAUSE_SECONDS = 0.05


class OwnRoot:
    """ports.Engine without an engine. ``temporary`` is where the directories go.

    ``undisturbed`` keeps signals out while a program is started (adapters/process.py).
    """

    def __init__(
        self,
        image: ImageInfo,
        temporary: Path,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._image = image
        self._temporary = temporary.absolute()
        self._undisturbed = undisturbed
        self._open: dict[str, tuple[ContainerSpec, ProcessGroups]] = {}

    def info(self) -> EngineInfo:
        """No engine at all."""
        arch = self._image.arch
        return EngineInfo(name="none", version="", api=(0, 0), arch=arch, machine=arch.value if arch else "")

    def image(self, ref: str) -> ImageInfo | None:
        """The image around us, by its identity."""
        return self._image if ref == self._image.id else None

    def create(self, spec: ContainerSpec) -> str:
        """A new directory, its path as the identity."""
        if spec.volumes or spec.command is not None or Arch.from_oci(*_split(spec.platform)) is not self._image.arch:
            _refuse("starting a container")
        with _explained(f"making a directory in {self._temporary}"):
            directory = self._new_directory()
            self._open[directory] = spec, ProcessGroups(self._undisturbed)
            Path(directory, _TEMPORARY).mkdir()
        return directory

    def _new_directory(self) -> str:
        """The first free number: compilers write the path into what they make, and so it is mostly the same."""
        number = 0
        while True:
            path = self._temporary / f"{PREFIX}{number}"
            try:
                path.mkdir(mode=0o700)  # no link and nothing of another user's is ever taken over
            except FileExistsError:
                number += 1
            else:
                return str(path)

    def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        on_output: Callable[[bytes], None] | None = None,
    ) -> int:
        """Execute; temporary files go into the container's directory, as a container has a ``/tmp`` of its own."""
        _, programs = self._found(container)
        environment = {"TMPDIR": f"{container}/{_TEMPORARY}", **(self._image.env if env is None else env)}
        with _explained(f"executing {argv[0]}"):
            return programs.run(argv, env=environment, cwd=cwd, on_output=on_output or (lambda _: None))

    def put(self, container: str, directory: str, tar: Iterable[bytes]) -> None:
        """Unpack below ``directory``, and nowhere else."""
        self._found(container)
        with (
            _explained(f"copying into {directory}"),
            tarfile.open(fileobj=cast("IO[bytes]", _Pieces(tar)), mode="r|") as archive,
        ):
            _unpack(archive, directory)

    def get(self, container: str, path: str) -> Iterator[bytes] | None:
        """A path as a tar stream, links not followed; None when it does not exist."""
        self._found(container)
        return tar_stream(_entries(path)) if os.path.lexists(path) else None

    def stat(self, container: str, path: str) -> PathStat | None:
        """What a path is, None when it does not exist."""
        self._found(container)
        try:
            found = os.lstat(path)
        except OSError:
            return None
        is_link = stat.S_ISLNK(found.st_mode)
        target = posixpath.join(posixpath.dirname(path), os.readlink(path)) if is_link else ""  # noqa: PTH115 - text
        return PathStat(
            name=posixpath.basename(path),
            size=found.st_size,
            mode=found.st_mode,
            link_target=posixpath.normpath(target) if is_link else "",
            is_dir=stat.S_ISDIR(found.st_mode),
            is_link=is_link,
        )

    def stop(self, container: str) -> None:
        """Kill what was started there and all that this started."""
        _, programs = self._found(container)
        programs.end()

    def commit(self, container: str, tag: str, labels: Mapping[str, str]) -> ImageInfo:  # noqa: ARG002 - no names here
        """The image around us: what was changed in it is changed."""
        self._found(container)
        return self._image

    def remove(self, container: str) -> None:
        """Kill and remove; nothing happens when it is gone."""
        if container not in self._open:
            return
        self.stop(container)
        with _explained(f"removing {container}"):
            _remove_tree(Path(container))
        del self._open[container]

    def containers(self, label: str) -> Sequence[str]:
        """The directories that are there, by their labels."""
        key, equals, value = label.partition("=")
        return [
            name
            for name, (spec, _) in self._open.items()
            if key in spec.labels and (not equals or spec.labels[key] == value)
        ]

    def _found(self, container: str) -> tuple[ContainerSpec, ProcessGroups]:
        if container not in self._open:
            raise EngineError(f"there is no directory {container} of this run")
        return self._open[container]

    def pull(self, ref: str, platform: str) -> ImageInfo:
        """No registry."""
        _refuse(f"pulling {ref} for {platform}")

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:  # noqa: ARG002 - the port's signature
        """No builder."""
        _refuse(f"building {spec.tag}")

    def abandon_builds(self) -> None:
        """There are none."""

    def tag(self, ref: str, name: str) -> None:
        """No names."""
        _refuse(f"naming {ref} {name}")

    def wait(self, container: str) -> int:
        """No command of its own."""
        _refuse(f"waiting for {container}")

    def volume(self, name: str, labels: Mapping[str, str]) -> bool:  # noqa: ARG002 - the port's signature
        """No volumes."""
        _refuse(f"making the volume {name}")

    def volume_labels(self, name: str) -> Mapping[str, str] | None:  # noqa: ARG002 - the port's signature
        """No volumes."""
        return None

    def remove_volume(self, name: str) -> None:
        """No volumes."""

    def volumes(self, label: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        """No volumes."""
        return ()

    def images(self, label: str) -> Sequence[str]:
        """The one image, where it has the label."""
        key, equals, value = label.partition("=")
        labels = self._image.labels
        return [self._image.id] if key in labels and (not equals or labels[key] == value) else []

    def save(self, ref: str) -> Iterator[bytes]:
        """An image cannot be had from within."""
        _refuse(f"saving {ref}")

    def load(self, tar: Iterable[bytes]) -> None:  # noqa: ARG002 - the port's signature
        """No other image."""
        _refuse("loading an image")

    def remove_image(self, ref: str) -> None:
        """Nobody removes the ground below their feet."""


def _split(platform: str) -> tuple[str, str | None]:
    _, architecture, *variant = platform.split("/")
    return architecture, variant[0] if variant else None


def _refuse(doing: str) -> NoReturn:
    raise EngineError(
        f"{doing} needs a container engine, and none is used inside an image",
        resolution="Start it outside, or with an engine: --no-inside",
    )


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left while {doing}", details=str(error), resolution="Name a larger place: TMPDIR=DIR"
            ) from error
        raise EngineError(f"{doing} failed", details=str(error), resolution="Run: musllinux-build doctor") from error


class _Pieces:
    """Byte chunks as the file object that tarfile reads a stream from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """No more than ``size`` bytes, none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _unpack(archive: tarfile.TarFile, directory: str) -> None:
    # Modes and links as they are; that nothing leaves the directory is seen to here (PEP 706 came with 3.11.4).
    archive.extraction_filter = lambda member, _: member
    archive.extractall(directory, members=_within(archive, directory), numeric_owner=True)  # noqa: S202 - see _within


def _within(archive: tarfile.TarFile, directory: str) -> Iterator[tarfile.TarInfo]:
    """The members, none of which is written outside ``directory`` or through a link that was there before."""
    root = os.path.realpath(directory)
    for member in archive:
        parent = os.path.realpath(posixpath.join(root, posixpath.dirname(member.name)))
        plain = member.isreg() or member.isdir() or member.issym()
        over_a_link = posixpath.islink(posixpath.join(root, member.name))
        leaves = ".." in member.name.split("/") or posixpath.commonpath((root, parent)) != root
        if not plain or over_a_link or leaves:
            raise tarfile.TarError(f"{member.name!r} leads out of {directory}")
        yield member


def _entries(path: str) -> Iterator[tuple[tarfile.TarInfo, Content]]:
    """``path`` and what is below it, under its own name."""
    top = posixpath.dirname(path.rstrip("/"))
    waiting = [Path(path)]
    while waiting:
        here = waiting.pop()
        found = here.lstat()
        entry = tarfile.TarInfo(posixpath.relpath(here, top))
        entry.mode, entry.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
        if stat.S_ISDIR(found.st_mode):
            entry.type = tarfile.DIRTYPE
            waiting.extend(sorted(here.iterdir(), reverse=True))
            yield entry, b""
        elif stat.S_ISLNK(found.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, str(here.readlink())
            yield entry, b""
        elif stat.S_ISREG(found.st_mode):
            with here.open("rb") as stream:
                entry.size = os.fstat(stream.fileno()).st_size
                yield entry, stream


def _remove_tree(path: Path) -> None:
    """Remove all of it: directories nobody may write to are opened, and what dies meanwhile is waited for."""
    for attempt in range(ATTEMPTS):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
        except PermissionError:
            for directory, _, _ in os.walk(path):
                Path(directory).chmod(0o700)
        except OSError:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return
    shutil.rmtree(path)
