"""The database of installed packages that apk keeps in a root: which package a file is from.

The file is the package index with the files of each package (apk-tools, "APKINDEX format"): one ``letter:value`` in
a line, packages apart by an empty line, ``F:`` a directory, ``R:`` a file in it, ``Z:`` that file's SHA-1. It may come
from anywhere, so nothing in it is believed further than its form, and what has no form is passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DATABASES = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
"""Where apk keeps it: apk-tools 2, and 3 on a root whose ``/lib`` is a link."""
RELEASES = ("/etc/os-release", "/usr/lib/os-release")
LARGEST, MOST_FILES, LONGEST_LINE = 64 << 20, 2_000_000, 4096
FORMS = {
    "P": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"),
    "V": re.compile(r"[0-9][A-Za-z0-9._+~-]{0,127}"),
    "A": re.compile(r"[a-z0-9_]{1,32}"),
    "o": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"),
    "L": re.compile(r"[\x20-\x7e]{1,512}"),
}
RELEASE_LINE = re.compile(r"(ID|VERSION_ID)=([\"']?)([A-Za-z0-9._-]{1,64})\2")
SHA1_BASE64 = "Q1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApkPackage:
    """An installed package. ``license`` is what its maintainer wrote: an SPDX expression, or not; "" without one."""

    name: str
    version: str
    arch: str
    origin: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A file of ``package``; ``sha1`` as hexadecimal digits, "" where the database has none."""

    package: ApkPackage
    sha1: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApkDatabase:
    """Installed files by absolute path. ``distribution`` and ``release`` as os-release has them, "" without one."""

    files: Mapping[str, Owned]
    distribution: str = ""
    release: str = ""

    @property
    def branch(self) -> str:
        """The stable branch of a release (``3.13`` of ``3.13.12``), any other release as it is."""
        found = re.fullmatch(r"(\d+\.\d+)\.\d+", self.release)
        return found[1] if found else self.release

    def owner(self, path: str) -> Owned | None:
        """Whose ``path`` is; ``/lib`` and ``/usr/lib`` are one on roots that merged them after installation."""
        other = path.removeprefix("/usr") if path.startswith("/usr/lib/") else f"/usr{path}"
        return self.files.get(path) or self.files.get(other)


NO_DATABASE = ApkDatabase(files={})


def read_database(read: Callable[[str], bytes | None]) -> ApkDatabase:
    """The database of the root that ``read`` opens files of, an empty one where there is none."""
    release = next((content for path in RELEASES if (content := read(path)) is not None), b"")
    installed = next((content for path in DATABASES if (content := read(path)) is not None), b"")
    names = {
        found[1]: found[3] for line in _lines(release[:LARGEST]) if (found := RELEASE_LINE.fullmatch(line.strip()))
    }
    return ApkDatabase(
        files=parse_installed(installed), distribution=names.get("ID", ""), release=names.get("VERSION_ID", "")
    )


def parse_installed(content: bytes) -> Mapping[str, Owned]:
    """Absolute path to owner of every file; a package without a sound name and version owns nothing."""
    files: dict[str, Owned] = {}
    if len(content) > LARGEST:
        return files
    for block in content.split(b"\n\n"):
        package, fields = None, dict[str, str]()
        directory, path = "", ""
        for line in _lines(block):
            letter, _, value = line.partition(":")
            if letter in FORMS and package is None:
                fields[letter] = value if FORMS[letter].fullmatch(value) else ""
            elif letter == "F":
                directory = value
            elif letter == "R" and value and len(files) < MOST_FILES:
                package = package or _package(fields)
                path = f"/{directory}/{value}" if directory else f"/{value}"
                if package:
                    files.setdefault(path, Owned(package=package, sha1=""))
            elif letter == "Z" and package and path in files and files[path].package is package:
                files[path] = Owned(package=package, sha1=_sha1(value))
    return files


def parse_packages(content: bytes) -> tuple[ApkPackage, ...]:
    """Every installed package, also one without files, sorted by name."""
    found = set()
    for block in content[:LARGEST].split(b"\n\n"):
        fields = dict[str, str]()
        for line in _lines(block):
            letter, _, value = line.partition(":")
            if letter in FORMS and letter not in fields:
                fields[letter] = value if FORMS[letter].fullmatch(value) else ""
        if package := _package(fields):
            found.add(package)
    return tuple(sorted(found, key=lambda package: (package.name, package.version)))


def _lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8", "replace").split("\n")
    return [line for line in lines if len(line) <= LONGEST_LINE]


def _package(fields: Mapping[str, str]) -> ApkPackage | None:
    if not fields.get("P") or not fields.get("V"):
        return None
    return ApkPackage(
        name=fields["P"],
        version=fields["V"],
        arch=fields.get("A", ""),
        origin=fields.get("o", ""),
        license=fields.get("L", ""),
    )


def _sha1(value: str) -> str:
    """The digits of ``Q1`` and base64 (apk-tools, "apk_blob_push_csum"), "" for any other kind."""
    if not value.startswith(SHA1_BASE64):
        return ""
    try:
        digest = base64.b64decode(value.removeprefix(SHA1_BASE64), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return digest.hex() if len(digest) == 20 else ""
