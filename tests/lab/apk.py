"""The package and index format of apk-tools 2, written and read without Alpine's tools: bytes in, bytes out.

A package is three gzip streams in a row: a signature of the second, the control segment, the data segment. Only the
last tar archive of such a chain may have end-of-archive records, because apk reads the chain as one archive.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice

END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)

INDEX_FIELDS = {
    "P": "pkgname",
    "V": "pkgver",
    "A": "arch",
    "I": "size",
    "T": "pkgdesc",
    "U": "url",
    "L": "license",
    "o": "origin",
    "D": "depend",
    "p": "provides",
}
"""The letters of APKINDEX and the keys of .PKGINFO they repeat; C and S are of the package as a file."""


class Kind(Enum):
    """What an entry of a package is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a package, relative to the root; ``content`` is a link's target, and empty for a directory."""

    path: str
    kind: Kind
    mode: int = 0o644
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What .PKGINFO says of a package beside what is computed from its entries."""

    name: str
    version: str
    arch: str
    description: str
    license: str
    origin: str
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    """Packages of the root whose files this one may take over."""
    url: str = "https://musl.libc.org/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A private key as a function, and the file name its public half has in ``/etc/apk/keys``."""

    key_name: str
    sign: Callable[[bytes], bytes]
    """RSA PKCS#1 v1.5 over SHA-1, the only signature apk-tools 2 checks as ``.SIGN.RSA``."""


def with_parents(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries by path, with a directory entry before everything that lies in it."""
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        for end in (index for index, letter in enumerate(path) if letter == "/"):
            by_path.setdefault(path[:end], Entry(path=path[:end], kind=Kind.DIRECTORY, mode=0o755))
    return tuple(by_path[path] for path in sorted(by_path))


def _member(entry: Entry) -> bytes:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.uname, info.gname = entry.mode, "root", "root"
    body = b""
    if entry.kind is Kind.DIRECTORY:
        info.type = tarfile.DIRTYPE
    else:
        # apk compares installed files (a link by its target) with this sum.
        info.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(entry.content).hexdigest()}
    if entry.kind is Kind.LINK:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.content.decode(), 0o777
    elif entry.kind is Kind.FILE:
        info.size, body = len(entry.content), entry.content
    return info.tobuf(tarfile.PAX_FORMAT) + body + bytes(-len(body) % tarfile.BLOCKSIZE)


def _plain_member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _compress(archive: bytes) -> bytes:
    # The level is a compromise: a package with a compiler in it takes half a minute at 9 and seven seconds at 6.
    return gzip.compress(archive, compresslevel=6, mtime=0)


def _signature(signer: Signer, segment: bytes) -> bytes:
    return _compress(_plain_member(f".SIGN.RSA.{signer.key_name}", signer.sign(segment)))


def _pkginfo(package: Package, *, size: int, data_hash: str) -> str:
    rows: list[tuple[str, str]] = [
        ("pkgname", package.name),
        ("pkgver", package.version),
        ("pkgdesc", package.description),
        ("url", package.url),
        ("builddate", "0"),
        ("packager", "musllinux-build lab"),
        ("size", str(size)),
        ("arch", package.arch),
        ("origin", package.origin),
        ("license", package.license),
        *(("depend", name) for name in package.depends),
        *(("provides", name) for name in package.provides),
        *(("replaces", name) for name in package.replaces),
        ("datahash", data_hash),
    ]
    return "".join(f"{key} = {value}\n" for key, value in rows)


def write_apk(package: Package, entries: Iterable[Entry], signer: Signer) -> bytes:
    """The bytes of a signed package; the same for the same arguments."""
    members = with_parents(entries)
    data = _compress(b"".join(map(_member, members)) + END_OF_ARCHIVE)
    size = sum(len(entry.content) for entry in members if entry.kind is Kind.FILE)
    info = _pkginfo(package, size=size, data_hash=hashlib.sha256(data).hexdigest())
    control = _compress(_plain_member(".PKGINFO", info.encode()))
    return _signature(signer, control) + control + data


def split_streams(content: bytes) -> Iterator[bytes]:
    """The gzip streams of a chain, still compressed."""
    while content:
        inflate = zlib.decompressobj(wbits=31)
        inflate.decompress(content)
        rest = inflate.unused_data
        yield content[: len(content) - len(rest)]
        content = rest


def read_members(stream: bytes) -> dict[str, bytes]:
    """The regular files of one gzip stream by name, with or without end-of-archive records."""
    plain = io.BytesIO(gzip.decompress(stream) + END_OF_ARCHIVE)
    with tarfile.open(fileobj=plain, mode="r:") as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isreg()]
        return {name: file.read() for name, file in files if file is not None}


def read_pkginfo(text: str) -> dict[str, tuple[str, ...]]:
    """.PKGINFO as values by key, in order."""
    values: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition(" = ")
        if equals:
            values[key] = (*values.get(key, ()), value)
    return values


def index_record(content: bytes) -> str:
    """The record APKINDEX has for a package, read from the package's own bytes."""
    _, control = islice(split_streams(content), 2)
    info = read_pkginfo(read_members(control)[".PKGINFO"].decode())
    identity = base64.b64encode(hashlib.sha1(control).digest()).decode()
    rows = [f"C:Q1{identity}", f"S:{len(content)}"]
    rows += [f"{letter}:{' '.join(info[key])}" for letter, key in INDEX_FIELDS.items() if key in info]
    return "\n".join(rows) + "\n"


def write_index(packages: Mapping[str, bytes], description: str, signer: Signer) -> bytes:
    """APKINDEX.tar.gz of packages by file name, signed."""
    records = "\n".join(index_record(packages[name]) for name in sorted(packages)) + "\n"
    members = (("DESCRIPTION", description.encode()), ("APKINDEX", records.encode()))
    index = _compress(b"".join(_plain_member(*member) for member in members) + END_OF_ARCHIVE)
    return _signature(signer, index) + index


def file_name(package: Package) -> str:
    """The name apk asks a repository for."""
    return f"{package.name}-{package.version}.apk"


def moved(entry: Entry, path: str) -> Entry:
    """The same entry elsewhere."""
    return replace(entry, path=path)
