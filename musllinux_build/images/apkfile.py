"""Packages and package indexes of apk-tools 2 as bytes: read, and believed as far as a signature carries.

A signed index names the SHA-1 of each package's control segment, which names the SHA-256 of its data segment, so a key
vouches for every byte (Alpine wiki, "Apk spec"; apk-tools 2, ``src/package.c``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from musllinux_build.errors import FetchError

REPOSITORIES = ("main", "community")
INDEX = "APKINDEX.tar.gz"
_END = bytes(2 * tarfile.BLOCKSIZE)
_SIGNATURE = re.compile(r"\.SIGN\.(RSA|RSA256)\.([\w@.-]+\.rsa\.pub)")
LARGEST_MEMBER = 256 << 20
# PKCS #1 v1.5 (RFC 8017, 9.2, notes 1): what stands before the digest in a signature.
_DIGEST_INFO = {
    "RSA": ("sha1", bytes.fromhex("3021300906052b0e03021a05000414")),
    "RSA256": ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A record of an index, or of the database of installed packages. ``checksum`` is ``Q1…``: its identity."""

    name: str
    version: str
    checksum: str = ""
    size: int = 0
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    install_if: tuple[str, ...] = ()
    priority: int = 0

    @property
    def filename(self) -> str:
        """The name that apk asks a repository for."""
        return f"{self.name}-{self.version}.apk"


def parse_index(text: str) -> list[Package]:
    """The records of an APKINDEX or of ``lib/apk/db/installed``; a record without a name or version is left out."""
    found = []
    for record in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        # Of an installed package the letters of its files follow; none of them is one of ours before F.
        fields: dict[str, str] = {}
        for line in record.splitlines():
            letter, colon, value = line.partition(":")
            if letter == "F":
                break
            if colon:
                fields[letter] = value
        if fields.get("P") and fields.get("V"):
            found.append(
                Package(
                    name=fields["P"],
                    version=fields["V"],
                    checksum=fields.get("C", ""),
                    size=int(fields["S"]) if fields.get("S", "").isdecimal() else 0,
                    depends=tuple(fields.get("D", "").split()),
                    provides=tuple(fields.get("p", "").split()),
                    install_if=tuple(fields.get("i", "").split()),
                    priority=int(fields["k"]) if fields.get("k", "").isdecimal() else 0,
                )
            )
    return found


def split_streams(content: bytes) -> Iterator[bytes]:
    """The gzip streams of a chain, still compressed.

    Raises:
        ValueError: it is none.
    """
    while content:
        inflate = zlib.decompressobj(wbits=31)
        try:
            inflate.decompress(content)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if not inflate.eof:
            raise ValueError("the file ends early")
        rest = inflate.unused_data
        yield content[: len(content) - len(rest)]
        content = rest


def read_members(stream: bytes) -> dict[str, bytes]:
    """The regular files of one gzip stream by name, with or without end-of-archive records."""
    plain = zlib.decompressobj(wbits=31).decompress(stream, LARGEST_MEMBER)
    with tarfile.open(fileobj=io.BytesIO(plain + _END), mode="r:") as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isreg()]
        return {name: file.read() for name, file in files if file is not None}


def read_signed_index(content: bytes, keys: Mapping[str, bytes], place: str) -> tuple[list[Package], str]:
    """The records of an ``APKINDEX.tar.gz`` and the name of the key that signed it; ``keys`` are PEM texts by name.

    Raises:
        FetchError: it is not signed by one of them, or is no index.
    """
    try:
        signature, *rest = split_streams(content)
        signed = b"".join(rest)
        for name, value in read_members(signature).items():
            found = _SIGNATURE.fullmatch(name)
            if found is None or found[2] not in keys:
                continue
            if not _verifies(keys[found[2]], found[1], value, signed):
                raise FetchError(f"the signature of {place} is wrong", details=f"made with {found[2]}")
            members = {name: data for stream in rest for name, data in read_members(stream).items()}
            return parse_index(members["APKINDEX"].decode()), found[2]
    except (ValueError, LookupError, tarfile.TarError) as error:
        raise FetchError(f"{place} is not a package index", details=str(error)) from error
    raise FetchError(
        f"{place} is not signed by a key that is known",
        details="known: " + (", ".join(sorted(keys)) or "none"),
        resolution="Put the mirror's key into keys/ of its directory.",
    )


def check_package(content: bytes, package: Package) -> None:
    """Refuse a file that is not the package of the index.

    Raises:
        FetchError: its size, its control segment or its data segment is another.
    """
    if len(content) != package.size:
        raise _not_it(package, f"{len(content)} bytes instead of {package.size}")
    try:
        *_, control, data = split_streams(content)
        (identity,) = re.findall(r"^Q1(.+)$", package.checksum)
        if hashlib.sha1(control).digest() != base64.b64decode(identity):  # noqa: S324 - the format's own
            raise _not_it(package, "its control segment has another SHA-1")
        info = read_members(control)[".PKGINFO"].decode()
        (wanted,) = re.findall(r"^datahash = ([0-9a-f]{64})$", info, re.MULTILINE)
    except (ValueError, KeyError, tarfile.TarError, binascii.Error) as error:
        raise _not_it(package, f"it is no package: {error}") from error
    if hashlib.sha256(data).hexdigest() != wanted:
        raise _not_it(package, "its data segment has another SHA-256")


def _not_it(package: Package, why: str) -> FetchError:
    return FetchError(f"{package.filename} is not the package of the index", details=why)


def _verifies(key: bytes, kind: str, signature: bytes, signed: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 (RFC 8017, 8.2.2): the signature's block is compared as a whole."""
    modulus, exponent = _public_key(key)
    algorithm, prefix = _DIGEST_INFO[kind]
    size = (modulus.bit_length() + 7) // 8
    digest = hashlib.new(algorithm, signed).digest()
    padding = bytes([255]) * (size - len(prefix) - len(digest) - 3)
    block = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
    return len(signature) == size and block == b"\0\1" + padding + b"\0" + prefix + digest


def _public_key(pem: bytes) -> tuple[int, int]:
    """Modulus and exponent of a PEM SubjectPublicKeyInfo (RFC 5280, 4.1.2.7; RFC 8017, A.1.1)."""
    text = b"".join(line for line in pem.split(b"\n") if line and not line.startswith(b"-"))
    (info,) = _elements(base64.b64decode(text))
    _, bits = _elements(info)
    (key,) = _elements(bits[1:])
    modulus, exponent = _elements(key)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _elements(content: bytes) -> Sequence[bytes]:
    """The contents of DER elements in a row (X.690, 8.1)."""
    found, place = [], 0
    while place < len(content):
        size, place = content[place + 1], place + 2
        if size & 0x80:
            count = size & 0x7F
            size, place = int.from_bytes(content[place : place + count], "big"), place + count
        if place + size > len(content):
            raise ValueError("the key ends early")
        found.append(content[place : place + size])
        place += size
    return found
