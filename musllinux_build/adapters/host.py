"""What this machine says: its index settings, its CA bundle, the files its version control knows."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from musllinux_build.adapters.process import run
from musllinux_build.errors import UsageError

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


def index_settings(*, with_credentials: bool) -> Mapping[str, str]:
    """Pip's settings on this machine, as environment variables for the containers."""
    listed = run([sys.executable, "-m", "pip", "config", "list"])
    return forwarded_index(listed.stdout.decode(errors="replace"), with_credentials=with_credentials)


def forwarded_index(listing: str, *, with_credentials: bool) -> Mapping[str, str]:
    """The variables in the output of ``pip config list`` that mean the same inside a container.

    Local paths and ``file:`` URLs do not, and a URL with a user or password is left out unless ``with_credentials``.
    Later lines win, as the environment wins over files.
    """
    found: dict[str, str] = {}
    for line in listing.splitlines():
        key, equals, quoted = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        variable = INDEX_OPTIONS.get(name)
        if not equals or variable is None or section not in ("global", "install", ":env:", "download", "wheel"):
            continue
        words = quoted.strip().strip("'\"").replace("\\n", " ").split()
        kept = [word for word in words if name in _PLAIN or _means_the_same(word, with_credentials=with_credentials)]
        if kept:
            found[variable] = " ".join(kept)
    return found


def _means_the_same(url: str, *, with_credentials: bool) -> bool:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts.scheme in ("http", "https") and not local and (with_credentials or "@" not in parts.netloc)


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


def tracked_files(directory: Path) -> Sequence[str] | None:
    """What git does not ignore below ``directory``, relative and sorted by git; None when it is in no repository."""
    # Only the names are wanted: no hook, no pager, no configuration of the project decides what runs.
    argv = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(directory)]
    listed = run([*argv, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
    if listed.returncode:
        return None
    return [name.decode(errors="surrogateescape") for name in listed.stdout.split(b"\0") if name]
