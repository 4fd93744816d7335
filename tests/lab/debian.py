"""Debian's packages, sources and a root of it, through a private apt configuration.

The machine's own apt lists, architectures and sources stay as they are. Where Debian is and which key signs it is
read from the machine's apt sources, so that a company mirror or a proxy keeps working and no host is written here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.commands import LabError, run, say, step

LOCK = Path(__file__).parents[2] / "dockerfiles" / "lock.toml"
APT_HELPER = "/usr/lib/apt/apt-helper"

RELEASE = "bookworm"
"""The Debian release binary packages and the builder root come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a Debian archive is and which keyring its signature is checked with."""

    uri: str
    signed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source tarball wanted: our name for it, Debian's source package and the suite it is taken from."""

    name: str
    package: str
    suite: str = "trixie"
    pinned: str = ""
    """Upstream's version in the product's lock, wanted first: a pool keeps files that its index has left behind."""
    optional: bool = False
    """The lab does without it where an archive has none."""


SOURCES = (
    SourceRow(name="cpython", package="python3.9", suite="bullseye"),
    SourceRow(name="cpython", package="python3.11", suite="bookworm"),
    SourceRow(name="cpython", package="python3.13"),
    SourceRow(name="cpython", package="python3.14", suite="sid", pinned="3.14.6", optional=True),
    SourceRow(name="cpython", package="python3.15", suite="sid", optional=True),
    SourceRow(name="openssl", package="openssl", pinned="3.5.7"),
    SourceRow(name="zlib", package="zlib"),
    SourceRow(name="bzip2", package="bzip2"),
    SourceRow(name="xz", package="xz-utils"),
    SourceRow(name="libffi", package="libffi"),
    SourceRow(name="sqlite", package="sqlite3"),
    SourceRow(name="ncurses", package="ncurses"),
    SourceRow(name="readline", package="readline"),
    SourceRow(name="gdbm", package="gdbm"),
    SourceRow(name="zstd", package="libzstd"),
    SourceRow(name="mpdecimal", package="mpdecimal"),
    SourceRow(name="util-linux", package="util-linux"),
    SourceRow(name="expat", package="expat"),
    SourceRow(name="libyaml", package="libyaml"),
    SourceRow(name="bash", package="bash"),
    SourceRow(name="make", package="make-dfsg"),
    SourceRow(name="git", package="git"),
    SourceRow(name="curl", package="curl"),
    SourceRow(name="tar", package="tar"),
    SourceRow(name="patch", package="patch"),
    SourceRow(name="pkgconf", package="pkgconf"),
    # Of the machine's own release: its file compiles the magic.
    SourceRow(name="file", package="file", suite="bookworm"),
    SourceRow(name="unzip", package="unzip"),
    SourceRow(name="m4", package="m4"),
    SourceRow(name="libtool", package="libtool"),
    SourceRow(name="bison", package="bison"),
    # The stock roots have the libraries of 1.1.1; only its headers are used.
    SourceRow(name="openssl1.1", package="openssl", suite="bullseye"),
)
"""What others unpack first, then what only packages are built from. sid moves: its rows follow it when the lab is made
anew."""

BUILDER_PACKAGES = (
    "autoconf",
    "automake",
    "binutils",
    "bzip2",
    "file",
    "gcc",
    "libc6-dev",
    "libltdl-dev",
    "libtool",
    "m4",
    "make",
    "patch",
    "perl",
    "pkg-config",
    "tcl",
    "xz-utils",
)
"""What CPython's build python and the cross builds of its libraries run.

tcl makes SQLite's amalgamation, libltdl has a macro of libffi's configure.
"""


def parse_deb822(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of an apt ``.sources`` file, keys in lower case."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = (line for line in stanza.splitlines() if line.strip() and not line.startswith("#"))
        pairs = (line.partition(":") for line in lines if not line[0].isspace())
        fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
        if fields:
            yield fields


def parse_one_line(text: str) -> Iterator[dict[str, str]]:
    """The ``deb`` lines of an apt ``.list`` file in the form of deb822 stanzas."""
    pattern = r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.*)$"
    for found in re.finditer(pattern, text, flags=re.MULTILINE):
        options = dict(word.split("=", 1) for word in (found["options"] or "").split() if "=" in word)
        yield {
            "types": "deb",
            "uris": found["uri"],
            "suites": found["suite"],
            "components": found["components"],
            "signed-by": options.get("signed-by", ""),
        }


def find_origin(stanzas: Iterable[dict[str, str]]) -> Origin:
    """The archive among apt's stanzas that has the release itself, not its updates.

    Raises:
        LabError: none has it.
    """
    for fields in stanzas:
        if RELEASE in fields.get("suites", "").split() and "main" in fields.get("components", "").split():
            keyring = fields.get("signed-by") or "/usr/share/keyrings/debian-archive-keyring.gpg"
            return Origin(uri=fields["uris"].split()[0], signed_by=keyring)
    raise LabError(f"no apt source on this machine has Debian {RELEASE} main")


def machine_origin(apt: Path = Path("/etc/apt")) -> Origin:
    """Debian's archive as this machine's apt sources name it."""
    parts = apt / "sources.list.d"
    stanzas = [row for path in sorted(parts.glob("*.sources")) for row in parse_deb822(path.read_text())]
    for path in (apt / "sources.list", *sorted(parts.glob("*.list"))):
        if path.exists():
            stanzas += parse_one_line(path.read_text())
    return find_origin(stanzas)


def upstream_version(debian_name: str) -> str:
    """Upstream's version in the name of an orig tarball: ``zlib_1.3.dfsg+really1.3.1.orig.tar.gz`` is 1.3.1."""
    version = debian_name.split("_", 1)[1].split(".orig.", 1)[0]
    return re.sub(r"[.+~](?:dfsg|ds|repack).*$", "", version.rpartition("really")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Orig:
    """An upstream tarball in Debian's archive."""

    uri: str
    name: str
    checksum: str
    """``SHA256:`` and the digits, as apt takes it."""


def find_orig(text: str) -> Orig:
    """The main upstream tarball in what ``apt-get source --print-uris`` wrote.

    Raises:
        LabError: the source package has none.
    """
    for uri, name, checksum in re.findall(r"^'([^']+)' (\S+) \d+ (\S+)$", text, flags=re.MULTILINE):
        # Further tarballs of a source package are named .orig-<component>.
        if ".orig.tar." in name and not name.endswith(".asc"):
            return Orig(uri=uri, name=name, checksum=checksum)
    raise LabError(f"no upstream tarball among:\n{text}")


def pinned_orig(row: SourceRow, current: Orig) -> Orig:
    """The tarball of the version that a row pins, beside the current one in the pool, with the lock's hash.

    Raises:
        LabError: the lock does not have that version.
    """
    lock = tomllib.loads(LOCK.read_text())
    for source in lock["source"]:
        if (source["name"], source["version"]) == (row.name, row.pinned):
            name = f"{row.package}_{row.pinned}.orig.{current.name.rpartition('.orig.')[2]}"
            pool = current.uri.rpartition("/")[0]
            return Orig(uri=f"{pool}/{name}", name=name, checksum=f"SHA256:{source['sha256']}")
    raise LabError(f"{LOCK} has no {row.name} {row.pinned}")


@dataclass(slots=True)
class Apt:
    """A private apt: lists are fetched once, when the first package is asked for."""

    directory: Path
    architectures: tuple[str, ...]
    origin: Origin = field(default_factory=machine_origin)
    _ready: bool = False

    def prepare(self) -> dict[str, str]:
        """The environment of apt's programs, with the package lists in place."""
        configuration = self.directory / "apt.conf"
        if not self._ready:
            for name in ("parts", "state/lists/partial", "cache/archives/partial", "debs"):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
            suites = " ".join(sorted({RELEASE, *(row.suite for row in SOURCES)}))
            (self.directory / "parts" / "lab.sources").write_text(
                f"Types: deb\nURIs: {self.origin.uri}\nSuites: {RELEASE}\nComponents: main\n"
                f"Signed-By: {self.origin.signed_by}\n\n"
                f"Types: deb-src\nURIs: {self.origin.uri}\nSuites: {suites}\nComponents: main\n"
                f"Signed-By: {self.origin.signed_by}\n"
            )
            (self.directory / "state" / "status").touch()
            configuration.write_text(self._configuration())
            with step("apt: package lists"):
                run(["apt-get", "-qq", "update"], env={"APT_CONFIG": str(configuration)})
            self._ready = True
        return {"APT_CONFIG": str(configuration)}

    def _configuration(self) -> str:
        native = self.architectures[0]
        rows = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": self.directory / "parts",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self.directory / "state",
            "Dir::State::Lists": self.directory / "state" / "lists",
            "Dir::State::status": self.directory / "state" / "status",
            "Dir::Cache": self.directory / "cache",
            "APT::Architecture": native,
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
        }
        text = "".join(f'{key} "{value}";\n' for key, value in rows.items())
        return text + "".join(f'APT::Architectures:: "{name}";\n' for name in self.architectures)

    def deb(self, name: str, architecture: str) -> Path:
        """A binary package, downloaded and checked by apt."""
        environment = self.prepare()
        # A directory of its own: architectures are made at the same time.
        debs = self.directory / "debs" / f"{name}-{architecture}-{threading.get_ident()}"
        shutil.rmtree(debs, ignore_errors=True)
        debs.mkdir(parents=True)
        asked = name if architecture == "all" else f"{name}:{architecture}"
        run(["apt-get", "-qq", "download", f"{asked}/{RELEASE}"], cwd=debs, env=environment)
        (deb,) = debs.glob("*.deb")
        return deb

    def source(self, row: SourceRow, destination: Path) -> Path:
        """Upstream's tarball of a source package, byte for byte, under our name for it.

        Only the tarball is asked for, and checked against the signed index or the product's lock: Debian's own part is
        never used. An index may be ahead of a mirror's pool: what the release itself has is the last resort.

        Raises:
            LabError: nobody has it.
        """
        failures: list[str] = []
        for orig in self._candidates(row, failures):
            extension = orig.name.rpartition(".orig.")[2]
            target = destination / f"{row.name}-{upstream_version(orig.name)}.{extension}"
            partial = self.directory / orig.name
            partial.unlink(missing_ok=True)
            try:
                run([APT_HELPER, "download-file", orig.uri, partial, orig.checksum], env=self.prepare())
            except LabError as error:
                failures.append(f"{orig.name}: {str(error).splitlines()[-1]}")
                continue
            partial.replace(target)
            say(f"source {target.name} {hashlib.sha256(target.read_bytes()).hexdigest()}")
            return target
        raise LabError(f"no source of {row.package}: {'; '.join(failures)}")

    def _candidates(self, row: SourceRow, failures: list[str]) -> Iterator[Orig]:
        """What may be downloaded for a row, the most wanted first."""
        environment = self.prepare()
        for suite in dict.fromkeys((row.suite, RELEASE)):
            command = ["apt-get", "-qq", "source", "--only-source", "--print-uris", f"{row.package}/{suite}"]
            try:
                found = find_orig(run(command, cwd=self.directory, env=environment).decode())
            except LabError as error:
                failures.append(f"{suite}: {str(error).splitlines()[-1]}")
                continue
            if row.pinned and suite == row.suite:
                yield pinned_orig(row, found)
            yield found


def install_missing(packages: Iterable[str]) -> None:
    """Installs what this machine lacks of ``packages``."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"]
    installed = {line.split()[0] for line in run(query).decode().splitlines() if line.endswith(" installed")}
    missing = sorted(set(packages) - installed)
    if not missing:
        return
    with step(f"apt-get install {' '.join(missing)}"):
        if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
            run(["apt-get", "-qq", "update"])
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        run(command, env={"DEBIAN_FRONTEND": "noninteractive"})


def make_builder_root(origin: Origin, tar: Path) -> None:
    """A minimal Debian with a native compiler, as an uncompressed tar."""
    partial = tar.with_name(f".{tar.name}")
    command = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--architectures=amd64",
        f"--include={','.join(BUILDER_PACKAGES)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        # A builder that cannot ask the network gives the same result tomorrow.
        '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d',
        "--format=tar",
        RELEASE,
        str(partial),
        f"deb [signed-by={origin.signed_by}] {origin.uri} {RELEASE} main",
    ]
    run(command, env={"SOURCE_DATE_EPOCH": "0"})
    partial.replace(tar)
