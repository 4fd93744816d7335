"""SOURCE → Project: what the files of a project directory or an sdist say of it, and its files as a tar stream."""

from __future__ import annotations

import configparser
import io
import os
import stat
import tarfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from musllinux_build.errors import NotAProjectError, UsageError

MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")
MAXIMUM_SDIST_BYTES = 4 << 30
_NOT_A_PROJECT = "Name a directory with a pyproject.toml, setup.py or setup.cfg, or an sdist (.tar.gz)."

ListFiles = Callable[[Path], Sequence[str] | None]
"""The files below a directory that its version control does not ignore, relative; None without version control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A source tree to build wheels from."""

    path: Path
    table: Mapping[str, object]
    """``[tool.musllinux-build]`` of its pyproject.toml."""
    requires_python: SpecifierSet

    @property
    def is_sdist(self) -> bool:
        """Whether ``path`` is an archive."""
        return self.path.is_file()


def read_project(path: Path) -> Project:
    """The project at ``path``.

    Raises:
        NotAProjectError: there is none.
        UsageError: its pyproject.toml cannot be parsed.
    """
    if path.is_dir():
        if not any((path / name).is_file() for name in MARKERS):
            raise NotAProjectError(f"{path} is not a Python project", resolution=_NOT_A_PROJECT)
        files = {name: (path / name).read_bytes() for name in MARKERS if (path / name).is_file()}
    elif path.is_file():
        files = _sdist_files(path, (*MARKERS, "PKG-INFO"))
    else:
        raise NotAProjectError(f"{path} does not exist", resolution=_NOT_A_PROJECT)
    pyproject = _parse_toml(files.get("pyproject.toml", b""), path)
    return Project(
        path=path,
        table=_subtable(pyproject, "tool", "musllinux-build"),
        requires_python=_requires_python(pyproject, files),
    )


def source_tar(project: Project, list_files: ListFiles, *, leave_out: Sequence[Path] = ()) -> Iterator[bytes]:
    """The project's files as an uncompressed tar stream, owned by root, names relative.

    From a directory: what version control does not ignore, and its ``.git`` (setuptools-scm reads it); without
    version control everything but environments and caches. ``leave_out`` are directories of ours (the output).
    """
    if project.is_sdist:
        return _repacked_sdist(project.path)
    return _directory_tar(project.path, list_files, tuple(item.resolve() for item in leave_out))


def _parse_toml(content: bytes, path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"pyproject.toml of {path} cannot be parsed: {error}", resolution="Correct it.") from None


def _subtable(table: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    for key in keys:
        found = table.get(key)
        if not isinstance(found, Mapping):
            return {}
        table = found
    return table


def _requires_python(pyproject: Mapping[str, object], files: Mapping[str, bytes]) -> SpecifierSet:
    """From [project], the sdist's metadata or setup.cfg, in this order; everything when none says."""
    text = _subtable(pyproject, "project").get("requires-python")
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


def _open_sdist(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:*")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotAProjectError(f"{path} is not an sdist: {error}", resolution=_NOT_A_PROJECT) from None


def _sdist_members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Members with their name below the archive's one top directory (PEP 517, "source distributions").

    Raises:
        NotAProjectError: a member leaves that directory, or is neither file, directory nor link inside it.
    """
    total = 0
    for member in archive:
        parts = PurePosixPath(member.name).parts
        total += member.size
        safe = not member.name.startswith("/") and ".." not in parts and total <= MAXIMUM_SDIST_BYTES
        if member.issym() or member.islnk():
            safe = safe and not member.linkname.startswith("/") and ".." not in PurePosixPath(member.linkname).parts
        if not safe or not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise NotAProjectError(f"{path} is not a safe sdist: {member.name!r}", resolution="Make it anew.")
        if len(parts) > 1:
            yield member, "/".join(parts[1:])


def _sdist_files(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    wanted = set(names)
    found: dict[str, bytes] = {}
    with _open_sdist(path) as archive:
        try:
            for member, name in _sdist_members(archive, path):
                if name in wanted and member.isfile():
                    stream = archive.extractfile(member)
                    found[name] = stream.read() if stream else b""
        except (tarfile.TarError, OSError, EOFError) as error:
            raise NotAProjectError(f"{path} is not an sdist: {error}", resolution=_NOT_A_PROJECT) from None
    if not wanted & set(MARKERS) & set(found):
        raise NotAProjectError(f"{path} holds no Python project", resolution=_NOT_A_PROJECT)
    return found


def _repacked_sdist(path: Path) -> Iterator[bytes]:
    with _open_sdist(path) as archive:
        yield from tar_stream(_sdist_entries(archive, path))


def _sdist_entries(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for member, name in _sdist_members(archive, path):
        stream = archive.extractfile(member) if member.isfile() or member.islnk() else None
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = member.mode & 0o777 | 0o600, member.mtime
        if stream is not None:
            data = stream.read()
            entry.size = len(data)
            yield entry, data
        else:
            entry.type, entry.linkname = member.type, member.linkname
            yield entry, b""


def _directory_tar(root: Path, list_files: ListFiles, leave_out: tuple[Path, ...]) -> Iterator[bytes]:
    listed = list_files(root)
    names = _walk(root, leave_out) if listed is None else _tracked(root, listed, list_files)
    yield from tar_stream(_directory_entries(root, names))


def _tracked(root: Path, listed: Sequence[str], list_files: ListFiles) -> Iterator[str]:
    """The listed files, those of submodules, and everything below ``.git``."""
    if (root / ".git").is_dir():
        yield ".git"
        yield from (f".git/{name}" for name in _walk(root / ".git", ()))
    for name in sorted(listed):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            inner = list_files(path)
            names = _walk(path, ()) if inner is None else _tracked(path, inner, list_files)
            yield from (f"{name.rstrip('/')}/{item}" for item in names)
        elif path.is_symlink() or path.exists():
            yield name


def _walk(root: Path, leave_out: tuple[Path, ...]) -> Iterator[str]:
    for directory, folders, files in os.walk(root):
        here = Path(directory)
        folders[:] = sorted(name for name in folders if not _is_disposable(here / name, leave_out))
        for name in (*folders, *sorted(files)):
            yield (here / name).relative_to(root).as_posix()


def _is_disposable(folder: Path, leave_out: tuple[Path, ...]) -> bool:
    return (
        folder.name == "__pycache__"
        or (folder / "pyvenv.cfg").is_file()
        or (folder / "CACHEDIR.TAG").is_file()
        or folder.resolve() in leave_out
    )


def _directory_entries(root: Path, names: Iterable[str]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for name in names:
        status = (root / name).lstat()
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, str((root / name).readlink())
            yield entry, b""
        elif stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
            yield entry, b""
        elif stat.S_ISREG(status.st_mode):
            data = (root / name).read_bytes()
            entry.size = len(data)
            yield entry, data


def tar_stream(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Iterator[bytes]:
    """Entries as an uncompressed tar, chunk by chunk, owned by root."""
    for entry, data in entries:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        yield data
        yield bytes(-len(data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def tar_of(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    """A tar of regular files by name; parents are made by whoever unpacks it."""
    buffer = io.BytesIO()
    for chunk in tar_stream(_plain_entries(files, mode)):
        buffer.write(chunk)
    return buffer.getvalue()


def _plain_entries(files: Mapping[str, bytes], mode: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for name, data in files.items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        yield entry, data
