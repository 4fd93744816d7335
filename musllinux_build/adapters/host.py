"""What this machine says: its index settings, its CA bundle, the files and the version its version control knows."""

from __future__ import annotations

import ast
import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from musllinux_build.adapters.process import Completed, run
from musllinux_build.errors import UsageError
from musllinux_build.project import Warn, say_nothing
from musllinux_build.scm import DESCRIBE, Scheme, describe_version, read_scheme

DEBIAN_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# pip's option → its environment variable; the ones that say where packages come from and how they are reached.
INDEX_OPTIONS = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "find-links": "PIP_FIND_LINKS",
    "trusted-host": "PIP_TRUSTED_HOST",
    "proxy": "PIP_PROXY",
    "timeout": "PIP_DEFAULT_TIMEOUT",
    "default-timeout": "PIP_DEFAULT_TIMEOUT",
    "retries": "PIP_RETRIES",
    "no-index": "PIP_NO_INDEX",
}
_PLAIN = frozenset({"trusted-host", "timeout", "default-timeout", "retries", "no-index"})
# Sections of pip's configuration, the weaker first: pip reads [global], then the command's own, then the environment.
SECTIONS = ("global", "download", "wheel", "install", ":env:")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def index_settings(*, with_credentials: bool, warn: Warn = say_nothing) -> Mapping[str, str]:
    """Pip's settings on this machine, as environment variables for the containers."""
    listed = run([sys.executable, "-m", "pip", "config", "list"])
    return forwarded_index(listed.stdout.decode(errors="replace"), with_credentials=with_credentials, warn=warn)


def forwarded_index(listing: str, *, with_credentials: bool, warn: Warn = say_nothing) -> Mapping[str, str]:
    """The variables in the output of ``pip config list`` that mean the same inside a container.

    Local paths and ``file:`` URLs do not, and a URL with a user or password is left out unless ``with_credentials``;
    ``warn`` is told of the latter, without the secret.
    """
    strongest: dict[str, tuple[int, str, Sequence[str]]] = {}
    for line in listing.splitlines():
        key, equals, quoted = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        variable = INDEX_OPTIONS.get(name)
        if not equals or variable is None or section not in SECTIONS:
            continue
        rank = SECTIONS.index(section)
        if rank >= strongest.get(variable, (-1,))[0]:
            strongest[variable] = rank, name, _value(quoted).split()
    found: dict[str, str] = {}
    for variable, (_, name, words) in sorted(strongest.items()):
        kept = [word for word in words if name in _PLAIN or _means_the_same(name, word, warn, with_credentials)]
        if kept:
            found[variable] = " ".join(kept)
    return found


def _value(quoted: str) -> str:
    """What pip shows with Python's ``repr``."""
    try:
        return str(ast.literal_eval(quoted.strip()))
    except (ValueError, SyntaxError):
        return quoted.strip()


def _means_the_same(name: str, url: str, warn: Warn, with_credentials: bool) -> bool:  # noqa: FBT001 - one caller
    proxy = name == "proxy"
    try:
        # A proxy may lack its scheme, as in every program that takes one.
        parts = urlsplit(f"http://{url}" if proxy and "://" not in url else url)
        host = parts.hostname
    except ValueError:
        warn(f"pip's {name} is no URL and was not passed in")
        return False
    if host is None or host in _LOCAL or not (proxy or parts.scheme in ("http", "https")):
        return False
    if "@" in parts.netloc and not with_credentials:
        warn(f"pip's {name} on {host} has a password and was not passed in; use --index-credentials")
        return False
    return True


def ca_bundle(chosen: Path | None, environment: Mapping[str, str]) -> bytes:
    """The certificates to trust in containers: ``chosen``, else what this machine's programs use; empty when none.

    Raises:
        UsageError: ``chosen`` holds no certificate.
    """
    if chosen is not None:
        content = chosen.read_bytes()
        if b"BEGIN CERTIFICATE" not in content:
            raise UsageError(f"--ca-bundle {chosen} holds no certificate", resolution="Name a PEM file.")
        return content
    default = ssl.get_default_verify_paths().cafile
    names = (environment.get("SSL_CERT_FILE"), environment.get("REQUESTS_CA_BUNDLE"), default)
    for path in (*(Path(name) for name in names if name), DEBIAN_BUNDLE):
        if path.is_file():
            return path.read_bytes()
    return b""


def tracked_files(directory: Path, warn: Warn = say_nothing) -> Sequence[str] | None:
    """What git does not ignore below ``directory``, relative and sorted by git; None when no repository has it.

    A directory that a repository further up ignores as a whole is in none. ``warn`` is told when there is a
    repository and git fails in it.
    """
    # Only the names are wanted: no hook, no pager, no configuration of the project decides what runs.
    safe = ("-c", "safe.directory=*")
    names = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    listed = _git(directory, *safe, *names)
    if listed.returncode:
        if any((place / ".git").exists() for place in (directory, *directory.resolve().parents)):
            warn(f"git fails in {directory}, so what it ignores is sent too: {_first_line(listed)}")
        return None
    if _git(directory, *safe, "check-ignore", "-q", ".").returncode == 0:
        return None
    return [name.decode(errors="surrogateescape") for name in listed.stdout.split(b"\0") if name]


def scm_environment(
    directory: Path,
    pyproject: Mapping[str, object],
    warn: Warn = say_nothing,
    *,
    clock: Callable[[], float] = time.time,
) -> Mapping[str, str]:
    """The variable that tells setuptools-scm in the container the version of a work tree; empty when it needs none.

    ``warn`` is told when the project asks git for its version in a way that only works with git in the image.
    """
    if not directory.is_dir():
        return {}
    top = _git(directory, "rev-parse", "--is-shallow-repository", "--show-toplevel")
    try:
        scheme = read_scheme(pyproject)
        if scheme is None or (top.returncode and not (directory / ".git").exists()):
            return {}
        if top.returncode:
            raise ValueError(_first_line(top))  # noqa: TRY301 - one warning for all reasons
        shallow, _, place = top.stdout.decode(errors="surrogateescape").rstrip("\n").partition("\n")
        if scheme.root is not None and (directory / scheme.root).resolve() != Path(place).resolve():
            return {}
        version = describe_version(_described(directory, scheme), scheme, time.strftime("%Y%m%d", time.gmtime(clock())))
    except ValueError as reason:
        warn(f'the version is left to git in the image, which may lack it ({reason}): before-all = "apk add git"')
        return {}
    if shallow == "true":
        warn(f"{directory} is a shallow clone: {version} may count too few commits (git fetch --unshallow)")
    return {scheme.variable: version}


def _described(directory: Path, scheme: Scheme) -> str:
    """``git describe``, and what setuptools-scm takes for it in a repository without tags."""
    described = _git(directory, *DESCRIBE)
    if described.returncode == 0:
        return described.stdout.decode().strip()
    node = _git(directory, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    count = _git(directory, "rev-list", "--count", "HEAD")
    if node.returncode or count.returncode:
        raise ValueError(_first_line(node))
    return f"{scheme.untagged}-{count.stdout.decode().strip()}-g{node.stdout.decode().strip()}"


def _git(directory: Path, *arguments: str) -> Completed:
    """Git's answer about ``directory`` alone: a hook or a rebase that runs us exports another repository's place."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    return run(command, env={**environment, "LC_ALL": "C"})


def _first_line(completed: Completed) -> str:
    return completed.explanation.partition("\n")[0]
