"""Published wheels through pip, for any platform: asked once what fits, fetched by hash, kept in the cache.

pip's installation report says which file it would take (``pip install --dry-run --report``), so that a file that the
cache has is not fetched again. Index, certificates, proxies and credentials are the user's own pip settings.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from musllinux_build.adapters import process
from musllinux_build.adapters.fetch import Run, fetch_wheel, pip_options
from musllinux_build.arch import Arch
from musllinux_build.errors import FetchError
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag
from musllinux_build.survey.collect import Fetched, Nothing
from musllinux_build.survey.rows import Outcome, Project
from musllinux_build.tags import MusllinuxTag

PYTHONS = tuple(PythonTag(3, minor) for minor in (15, 14, 13, 12, 11))
"""Those asked for in turn when the user names none: the first that the project has a wheel for is taken."""
UNREACHED = re.compile(r"Could not fetch URL (\S+): (.*?)(?: - skipping)?$", re.MULTILINE)
"""What pip writes into its log of an index page that it did not get."""
SKIPPED = re.compile(r"none of the wheel's tags \(([^)]*)\) are compatible")
"""What pip writes into its log of each wheel for something else."""

OTHER_VERSIONS = re.compile(r"\(from versions: (?!none\))")
"""What pip says when other versions of the project have a wheel that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The file pip would take."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """pip found no file; ``offered`` are the tags of the wheels it saw and passed over, as far as it told.

    ``known``: some index has the project. ``other_versions``: it would take a wheel of another version.
    """

    known: bool
    offered: tuple[str, ...]
    other_versions: bool

    def may_have(self, arch: Arch, python: PythonTag) -> bool:
        """Whether a wheel for ``python`` on ``arch`` can be among them; True when pip did not tell."""
        return not self.offered or any(
            tag.partition("-")[0] == f"cp{python.major}{python.minor}"
            and tag.endswith(f"_{arch.value}")
            and "-musllinux_" in tag
            for tag in self.offered
        )

    def reason(self, arch: Arch) -> str:
        """Why there is none for ``arch``."""
        if self.other_versions:
            return "no musllinux wheel of this version"
        if any("-musllinux_" in tag and tag.endswith(f"_{arch.value}") for tag in self.offered):
            return "no musllinux wheel for the CPython asked for"
        return "no musllinux wheel for this architecture" if self.offered else "pip finds no wheel of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipIndex:
    """survey.collect.Index over pip. ``pythons`` in the order of preference; wheels are put into ``directory``."""

    cache: Path
    directory: Path
    pythons: Sequence[PythonTag] = PYTHONS
    run: Run = field(default=process.run)

    def fetch(self, project: Project, arch: Arch, policies: Sequence[Policy]) -> Fetched | Nothing:
        """The wheel for the first of ``pythons`` that has one."""
        platforms = tuple(policy.platform_tag(arch) for policy in policies)
        nothing = Nothing(outcome=Outcome.ABSENT, reason="")
        seen: Missing | None = None
        for python in self.pythons:
            if seen and not seen.may_have(arch, python):
                continue
            found = self._ask(project, platforms, python)
            if isinstance(found, Missing):
                if not found.known:
                    return Nothing(outcome=Outcome.ABSENT, reason=f"no index has {project}")
                seen = found
                continue
            if _is_musllinux(found.filename):
                return Fetched(path=self._get(found, arch, platforms, python), python=python.version)
            nothing = Nothing(outcome=Outcome.PURE, reason=f"no musllinux wheel: pip takes {found.filename}")
        if nothing.outcome is Outcome.PURE:
            return nothing
        return Nothing(outcome=Outcome.ABSENT, reason=seen.reason(arch) if seen else "no CPython was asked for")

    def _ask(self, project: Project, platforms: Sequence[str], python: PythonTag) -> Candidate | Missing:
        """What pip would install of ``project``."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="ask-") as scratch:
            report, log = Path(scratch) / "report.json", Path(scratch) / "log"
            command = (
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--disable-pip-version-check", "--no-input"),
                *("--quiet", "--ignore-installed", "--no-deps", "--only-binary=:all:", "--target", f"{scratch}/target"),
                *("--report", str(report), "--log", str(log)),
                *pip_options(platforms, python.version, _abi(python)),
                str(project),
            )
            done = self.run(command)
            if done.returncode == 0:
                return parse_report(report.read_text(encoding="utf-8"), str(project))
            told = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        return explain(told, done, project)

    def _get(self, found: Candidate, arch: Arch, platforms: Sequence[str], python: PythonTag) -> Path:
        destination = self.directory / arch.value / found.sha256[:16] / found.filename
        return fetch_wheel(
            found.name,
            found.version,
            found.filename,
            found.sha256,
            destination,
            cache=self.cache,
            platforms=platforms,
            python_version=python.version,
            abi=_abi(python),
            run=self.run,
        )


def parse_report(text: str, asked: str) -> Candidate:
    """The one file in pip's installation report (version 1).

    Raises:
        FetchError: it is not there, or the index gives no SHA-256.
    """
    try:
        (item,) = json.loads(text)["install"]
        metadata, download = item["metadata"], item["download_info"]
        filename = posixpath.basename(unquote(urlsplit(download["url"]).path))
        digest = download["archive_info"]["hashes"]["sha256"]
        found = Candidate(name=metadata["name"], version=metadata["version"], filename=filename, sha256=digest)
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(
            f"pip does not say what it would install for {asked}",
            details=f"{type(error).__name__}: {error}",
            resolution="Use an index that gives SHA-256 hashes, and pip 23 or later.",
        ) from None
    if not filename.endswith(".whl") or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise FetchError(f"pip would install {filename[:200]!r} for {asked}, which is no hashed wheel")
    return found


def explain(log: str, done: process.Completed, project: Project) -> Missing:
    """Why pip found nothing, from its log: there is none, or the project is not known.

    Raises:
        FetchError: an index was not reached, or pip failed otherwise.
    """
    unreached = [(url, why) for url, why in UNREACHED.findall(log) if not why.startswith("404 ")]
    if unreached:
        url, why = unreached[0]
        raise FetchError(
            f"pip cannot ask the index for {project}",
            details=f"{urlsplit(url).hostname}: {why}",
            resolution="Check pip's index, certificate and proxy settings (`pip config list`).",
        )
    if b"No matching distribution found" not in done.stderr:
        done.check(FetchError, f"pip fails for {project}", resolution="Run the command to see what it says.")
    offered = tuple(dict.fromkeys(tag for group in SKIPPED.findall(log) for tag in group.split(", ")))
    others = OTHER_VERSIONS.search(done.stderr.decode(errors="replace"))
    return Missing(
        known=bool(offered or others) or not UNREACHED.search(log), offered=offered, other_versions=others is not None
    )


def _abi(python: PythonTag) -> str | None:
    """What pip must be told of a free-threaded CPython; it knows the others' by their version."""
    return str(python) if python.free_threaded else None


def _is_musllinux(filename: str) -> bool:
    platforms = filename.removesuffix(".whl").rpartition("-")[2]
    return any(MusllinuxTag.parse(platform) for platform in platforms.split("."))
