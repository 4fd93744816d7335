"""SOURCE → Project: what the files of a project directory or an sdist say of it, and its files as a tar stream."""

from __future__ import annotations

import configparser
import lzma
import os
import posixpath
import re
import stat
import tarfile
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from musllinux_build.errors import NotAProjectError, UsageError
from musllinux_build.gitconfig import shared_config
from musllinux_build.tarstream import CHUNK, Content, directory_entry, file_entry, tar_stream

MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")
MAXIMUM_SDIST_BYTES = 4 << 30
_NOT_A_PROJECT = "Name a directory with a pyproject.toml, setup.py or setup.cfg, or an sdist (.tar.gz)."

# What the decompressors raise for a file that is cut short or damaged.
_DAMAGED = (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error)
# What of a linked work tree's .git is its own (gitrepository-layout(5)).
_PRIVATE = ("HEAD", "index")
_CONFIG = re.compile(r"\.git/(?:(modules)/.+/)?config(?:\.worktree)?")

ListFiles = Callable[[Path], Sequence[str] | None]
"""The files below a directory that its version control does not ignore, relative; None without version control."""
Warn = Callable[[str], None]
"""Is told what is not as it should be while the work goes on."""


def say_nothing(_: str) -> None:
    """The Warn of someone who does not want to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A source tree to build wheels from."""

    path: Path
    table: Mapping[str, object]
    """``[tool.musllinux-build]`` of its pyproject.toml."""
    requires_python: SpecifierSet
    pyproject: Mapping[str, object] = field(default_factory=dict)
    """All of its pyproject.toml."""

    @property
    def is_sdist(self) -> bool:
        """Whether ``path`` is an archive."""
        return self.path.is_file()


def read_project(path: Path) -> Project:
    """The project at ``path``.

    Raises:
        NotAProjectError: there is none.
        UsageError: its pyproject.toml cannot be parsed, or a file cannot be read.
    """
    with _named_when_unreadable(path):
        if path.is_dir():
            files = {name: (path / name).read_bytes() for name in MARKERS if (path / name).is_file()}
            if not files:
                raise NotAProjectError(f"{path} is not a Python project", resolution=_NOT_A_PROJECT)
        elif path.is_file():
            files = _sdist_files(path, (*MARKERS, "PKG-INFO"))
        else:
            raise NotAProjectError(f"{path} does not exist", resolution=_NOT_A_PROJECT)
    pyproject = _parse_toml(files.get("pyproject.toml", b""), path)
    return Project(
        path=path,
        table=_own_table(pyproject, path),
        requires_python=_requires_python(pyproject, files),
        pyproject=pyproject,
    )


def source_tar(
    project: Project, list_files: ListFiles, *, leave_out: Sequence[Path] = (), warn: Warn = say_nothing
) -> Iterator[bytes]:
    """The project's files as an uncompressed tar stream, owned by root, names relative.

    From a directory: what version control does not ignore, and its ``.git`` (setuptools-scm reads it); without
    version control everything but environments and caches. ``leave_out`` are directories of ours (the output).

    Raises:
        NotAProjectError: the sdist is damaged or not safe.
        UsageError: a file cannot be read.
    """
    if project.is_sdist:
        with _opened_sdist(project.path) as archive:
            yield from tar_stream(_sdist_entries(archive, project.path))
        return
    root = project.path.resolve()
    ours = frozenset(path for path in map(Path.resolve, leave_out) if root in path.parents)
    tree = _Tree(root=root, list_files=list_files, leave_out=ours, warn=warn)
    with _named_when_unreadable(project.path):
        yield from tar_stream(_directory_entries(tree.items()))


@contextmanager
def _named_when_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{error.filename or path} cannot be read: {error.strerror or error}",
            resolution="Make it readable, or remove it from the source.",
        ) from None


def _parse_toml(content: bytes, path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"pyproject.toml of {path} cannot be parsed: {error}", resolution="Correct it.") from None


def _own_table(pyproject: Mapping[str, object], path: Path) -> Mapping[str, object]:
    table: Mapping[str, object] = pyproject
    for keys in (("tool",), ("tool", "musllinux-build")):
        found = table.get(keys[-1], {})
        if not isinstance(found, Mapping):
            brief = f"{'.'.join(keys)} in pyproject.toml of {path} is not a table"
            raise UsageError(brief, resolution="Write [tool.musllinux-build] and its keys below.")
        table = found
    return table


def subtable(table: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """The table at a dotted path of a parsed TOML file, empty where there is none."""
    for key in keys:
        found = table.get(key)
        if not isinstance(found, Mapping):
            return {}
        table = found
    return table


def _requires_python(pyproject: Mapping[str, object], files: Mapping[str, bytes]) -> SpecifierSet:
    """From [project], the sdist's metadata or setup.cfg, in this order; everything when none says."""
    text = subtable(pyproject, "project").get("requires-python")
    if text is None and "PKG-INFO" in files:
        text = BytesParser().parsebytes(files["PKG-INFO"], headersonly=True).get("Requires-Python")
    if text is None and "setup.cfg" in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(files["setup.cfg"].decode())
        except (configparser.Error, UnicodeDecodeError):
            return SpecifierSet()
        text = parser.get("options", "python_requires", fallback=None)
    try:
        return SpecifierSet(str(text or ""))
    except InvalidSpecifier:
        raise UsageError(f"requires-python {text!r} is not a version specifier", resolution="See PEP 440.") from None


@contextmanager
def _opened_sdist(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive at ``path``; what is wrong with it, then or while it is read, is one error."""
    try:
        with tarfile.open(path, "r:*") as archive:
            yield archive
    except _DAMAGED as error:
        if path.suffix == ".whl":
            resolution = "This is a wheel: musllinux-build audit show says whether it loads, audit repair mends it."
        elif path.suffix == ".zip":
            resolution = "An sdist is a .tar.gz (PEP 625)."
        else:
            resolution = _NOT_A_PROJECT
        raise NotAProjectError(f"{path} is not an sdist", details=str(error), resolution=resolution) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A member of an sdist. ``name`` is below the top directory; ``data`` has the content of a file, else None."""

    name: str
    info: tarfile.TarInfo
    data: tarfile.TarInfo | None

    @property
    def target(self) -> str:
        """Where a symbolic link leads, read lexically from the top directory."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.name), self.info.linkname))


def _sdist_members(archive: tarfile.TarFile, path: Path) -> Iterator[_Member]:
    """The members below the archive's one top directory (PEP 517, "source distributions").

    Raises:
        NotAProjectError: a member leaves that directory, or is neither file, directory nor link inside it.
    """
    files: dict[PurePosixPath, tarfile.TarInfo] = {}
    top: str | None = None
    total = 0
    for info in archive:
        place = PurePosixPath(info.name)
        below = len(place.parts) > 1
        data = info if info.isfile() else files.get(PurePosixPath(info.linkname)) if info.islnk() else None
        member = _Member(name="/".join(place.parts[1:]), info=info, data=data)
        total += info.size
        if below:
            top = top or place.parts[0]
        safe = total <= MAXIMUM_SDIST_BYTES and not place.is_absolute() and ".." not in place.parts
        if not safe or (below and place.parts[0] != top) or not _is_plain(member):
            raise NotAProjectError(f"{path} is not a safe sdist: {info.name!r}", resolution="Make it anew.")
        if data is not None:
            files[place] = data
        if below:
            yield member
    # The checksum of a compressed file is at its end, behind all that tarfile reads.
    while archive.fileobj.read(CHUNK):
        pass


def _is_plain(member: _Member) -> bool:
    """A file, a directory, a hard link to a file before it or a symbolic link that stays inside."""
    if member.info.issym():
        outside = member.target == ".." or member.target.startswith("../")
        return not member.info.linkname.startswith("/") and not outside
    return member.info.isdir() or member.data is not None


def _sdist_files(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _opened_sdist(path) as archive:
        members = {member.name: member for member in _sdist_members(archive, path)}
        for name in names:
            data = _followed(members, name)
            stream = archive.extractfile(data) if data else None
            if stream is not None:
                found[name] = stream.read()
    if not found.keys() & set(MARKERS):
        raise NotAProjectError(f"{path} holds no Python project", resolution=_NOT_A_PROJECT)
    return found


def _followed(members: Mapping[str, _Member], name: str) -> tarfile.TarInfo | None:
    """The content of a file, also when symbolic links lead to it; None when there is none."""
    seen: set[str] = set()
    while name in members and name not in seen and members[name].info.issym():
        seen.add(name)
        name = members[name].target
    return members[name].data if name in members else None


def _sdist_entries(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, Content]]:
    for member in _sdist_members(archive, path):
        stream = archive.extractfile(member.data) if member.data else None
        if member.data is not None and stream is not None:
            entry = file_entry(member.name, member.data.size, member.info.mode & 0o777 | 0o600)
        else:
            entry = directory_entry(member.name, member.info.mode & 0o777 | 0o700)
            entry.type, entry.linkname = member.info.type, member.info.linkname
        entry.mtime = member.info.mtime
        yield entry, b"" if stream is None else stream


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """A source directory, resolved. ``leave_out`` are resolved directories inside it."""

    root: Path
    list_files: ListFiles
    leave_out: frozenset[Path]
    warn: Warn

    def items(self) -> Iterator[tuple[str, Path]]:
        """What is sent: name in the tar, file here."""
        yield from _git_items(self.root)
        for path in self._files():
            yield path.relative_to(self.root).as_posix(), path

    def _files(self) -> Iterator[Path]:
        listed = self.list_files(self.root)
        markers = {name for name in MARKERS if (self.root / name).is_file()}
        if listed is not None and markers.isdisjoint(listed):
            self.warn(f"git ignores {' and '.join(sorted(markers))} of {self.root}: all files there are sent")
            listed = None
        return self._walk(self.root) if listed is None else self._tracked(self.root, listed)

    def _tracked(self, root: Path, listed: Sequence[str]) -> Iterator[Path]:
        """The listed files and those of the repositories among them."""
        for name in sorted(item.rstrip("/") for item in listed):
            path = root / name
            try:
                is_directory = stat.S_ISDIR(path.lstat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not self.leave_out.isdisjoint((path, *path.parents)):
                continue
            yield path
            if is_directory and not any(item.startswith(f"{name}/") and item != f"{name}/" for item in listed):
                yield from self._repository(path)

    def _repository(self, path: Path) -> Iterator[Path]:
        """The files of a directory that git lists instead of them: a submodule, or a repository of its own."""
        if (path / ".git").exists():
            inner = self.list_files(path)
            yield from self._walk(path) if inner is None else self._tracked(path, inner)
        elif not any(path.iterdir()):
            self.warn(f"submodule {path.relative_to(self.root)} is not checked out: git submodule update --init")
        else:
            yield from self._walk(path)

    def _walk(self, root: Path) -> Iterator[Path]:
        for directory, folders, files in os.walk(root, onerror=_raise):
            here = Path(directory)
            folders[:] = sorted(name for name in folders if not self._is_disposable(here / name))
            names = (*folders, *sorted(files))
            yield from (here / name for name in names if here != self.root or name != ".git")

    def _is_disposable(self, folder: Path) -> bool:
        return (
            folder.name == "__pycache__"
            or folder == self.root / ".git"
            or (folder / "pyvenv.cfg").is_file()
            or (folder / "CACHEDIR.TAG").is_file()
            or folder.resolve() in self.leave_out
        )


def _raise(error: OSError) -> None:
    raise error


def _git_items(root: Path) -> Iterator[tuple[str, Path]]:
    """``.git`` as a directory of its own, also where it is a file: in linked work trees and submodules."""
    private = root / ".git"
    if private.is_file():
        private = root / private.read_text(errors="surrogateescape").partition("gitdir:")[2].strip()
    shared = private / "commondir"
    common = private / shared.read_text(errors="surrogateescape").strip() if shared.is_file() else private
    if not common.is_dir():
        return
    common = common.resolve()
    yield ".git", common
    for directory, folders, files in os.walk(common, onerror=_raise):
        here = Path(directory)
        if here == common:
            folders[:] = [name for name in folders if name != "worktrees"]
        # Programs of this machine's, which nothing in a container should start.
        folders[:] = sorted(name for name in folders if name != "hooks" or not (here / "objects").is_dir())
        for name in (*folders, *sorted(files)):
            inside = (here / name).relative_to(common).as_posix()
            if inside not in _PRIVATE:
                yield f".git/{inside}", here / name
    yield from ((f".git/{name}", private / name) for name in _PRIVATE)


def _directory_entries(items: Iterable[tuple[str, Path]]) -> Iterator[tuple[tarfile.TarInfo, Content]]:
    for name, path in items:
        try:
            status = path.lstat()
        except FileNotFoundError:  # it went away since it was listed: git's own temporary files do
            continue
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            yield entry, b""
        elif stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
            yield entry, b""
        elif found := _CONFIG.fullmatch(name):
            data = shared_config(path.read_bytes(), submodule=bool(found[1]))
            entry.size = len(data)
            yield entry, data
        elif stat.S_ISREG(status.st_mode):
            with path.open("rb") as stream:
                entry.size = os.fstat(stream.fileno()).st_size
                yield entry, stream
