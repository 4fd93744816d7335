"""pyproject.toml, git's description of a commit → the version that setuptools-scm gives it.

Images need no git: where git is, the version is worked out, and setuptools-scm is told it by its own variable. Only
its documented defaults are repeated here (guess-next-dev, node-and-date, the default tags); whatever else a project
asks for is left to setuptools-scm itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from musllinux_build.project import subtable

DESCRIBE = ("describe", "--dirty", "--tags", "--long", "--abbrev=40", "--match", "*[0-9]*")
SHORT = len("g123456789")
"""How much of a commit's name is in a version."""
PRETEND = "SETUPTOOLS_SCM_PRETEND_VERSION"
SETUPTOOLS_SCM = frozenset({"setuptools-scm", "flit-scm"})
# Build requirements that run git by rules of their own.
OTHERS = frozenset({"pbr", "poetry-dynamic-versioning", "setuptools-git-versioning", "versioneer", "versioningit"})
# Options of setuptools-scm that do not change the version, and those that are understood here.
_FILES = frozenset({"version_file", "version_file_template", "write_to", "write_to_template", "fallback_root"})
_KNOWN = frozenset({"root", "search_parent_directories", "version_scheme", "local_scheme", "fallback_version"})
_TAG = re.compile(r"(?:[\w-]+-)?(?P<version>[vV]?\d+(?:\.\d+){0,2}[^+]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a project's version follows from its repository, and the variable that says it instead."""

    variable: str
    root: str | None = "."
    """The repository's top as seen from the project; None: wherever above it."""
    local: bool = True
    untagged: str = "0.0"


def read_scheme(pyproject: Mapping[str, object]) -> Scheme | None:
    """What pyproject.toml says of the version; None when it does not come from git.

    Raises:
        ValueError: it comes from git by rules that are not known here; the message names them.
    """
    required = _required(pyproject)
    hatch = subtable(pyproject, "tool", "hatch", "version")
    if "hatch-vcs" in required and hatch.get("source") == "vcs":
        if unknown := hatch.keys() - {"source", "raw-options", "fallback-version"}:
            raise ValueError(f"hatch-vcs with {', '.join(sorted(unknown))}")
        fallback = {"fallback_version": hatch["fallback-version"]} if "fallback-version" in hatch else {}
        return _scheme(PRETEND, {**subtable(hatch, "raw-options"), **fallback})
    own = "setuptools_scm" in subtable(pyproject, "tool")
    if own or (SETUPTOOLS_SCM & required.keys() and "version" not in subtable(pyproject, "project")):
        if not own and "simple" not in required.get("setuptools-scm", ()):
            raise ValueError("setuptools-scm without [tool.setuptools_scm]")
        name = subtable(pyproject, "project").get("name")
        named = (
            f"{PRETEND}_FOR_{canonicalize_name(name).replace('-', '_').upper()}" if isinstance(name, str) else PRETEND
        )
        return _scheme(named, subtable(pyproject, "tool", "setuptools_scm"))
    if subtable(pyproject, "tool", "pdm", "version").get("source") == "scm":
        raise ValueError("pdm-backend's scm source")
    if others := OTHERS & required.keys():
        raise ValueError(min(others))
    return None


def describe_version(described: str, scheme: Scheme, day: str) -> str:
    """The version of a commit from the output of ``git describe`` (:data:`DESCRIBE`); ``day`` is YYYYMMDD.

    Raises:
        ValueError: the tag is no version, or none that can be followed.
    """
    dirty = described.endswith("-dirty")
    tag, distance, node = described.removesuffix("-dirty").rsplit("-", 2)
    matched = _TAG.fullmatch(tag)
    try:
        version = Version(matched["version"] if matched else tag)
    except InvalidVersion:
        raise ValueError(f"the tag {tag!r}") from None
    if distance == "0" and not dirty:
        return str(version)
    local = f"{node[:SHORT]}.d{day}" if dirty else node[:SHORT]
    suffix = f"+{local}" if scheme.local else ""
    return f"{_next(version.public, tag)}.dev{distance}{suffix}"


def _next(version: str, tag: str) -> str:
    release, dev, number = version.partition(".dev")
    if dev:
        if number != "0":
            raise ValueError(f"the tag {tag!r}")
        return release
    return re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), version)


def _scheme(variable: str, options: Mapping[str, object]) -> Scheme:
    odd = set(options.keys() - _FILES - _KNOWN)
    if options.get("version_scheme", "guess-next-dev") != "guess-next-dev":
        odd.add("version_scheme")
    local = options.get("local_scheme", "node-and-date")
    if local not in ("node-and-date", "no-local-version"):
        odd.add("local_scheme")
    if odd:
        raise ValueError(f"setuptools-scm with {', '.join(sorted(odd))}")
    root = None if options.get("search_parent_directories") else str(options.get("root", "."))
    untagged = str(options.get("fallback_version") or "0.0")
    return Scheme(variable=variable, root=root, local=local == "node-and-date", untagged=untagged)


def _required(pyproject: Mapping[str, object]) -> Mapping[str, set[str]]:
    """Build requirement → its extras."""
    listed = subtable(pyproject, "build-system").get("requires")
    found: dict[str, set[str]] = {}
    for text in listed if isinstance(listed, list) else ():
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            continue
        found[canonicalize_name(requirement.name)] = requirement.extras
    return found
