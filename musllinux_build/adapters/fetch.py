"""Pinned files, fetched on this machine and believed only for their hash.

A cache keeps them by hash, and a cached file is hashed again before it is used. Wheels come through pip, so that the
user's own index, certificates and proxies hold.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from musllinux_build.adapters import process
from musllinux_build.errors import DiskFullError, FetchError
from musllinux_build.staging import claimed

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which an address counts as dead."""
LARGEST = 1 << 30
ATTEMPTS = 3
SCHEMES = ("https", "http", "file")

Open = Callable[[str], BinaryIO]
Run = Callable[[Sequence[str]], process.Completed]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_url(url: str) -> BinaryIO:
    """The bytes behind an ``https``, ``http`` or ``file`` address; proxies and CA bundle are the user's."""
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"not an address that can be fetched: {url}")
    stream: BinaryIO = urllib.request.urlopen(url, timeout=TIMEOUT)  # noqa: S310 - the scheme was checked
    return stream


def fetch_url(
    urls: Iterable[str],
    sha256: str,
    size: int | None,
    destination: Path,
    *,
    cache: Path,
    opener: Open = open_url,
) -> Path:
    """Put the file with this hash and size (bytes) at ``destination``: from the cache, or the first good address.

    A ``size`` of None is one that nobody has measured yet: the hash decides, and LARGEST bounds what is received.

    Raises:
        FetchError: no address gives it; every address and its reason are in the details.
        DiskFullError: no room for it.
    """
    with _disk_explained(destination):
        if _reuse(cache, sha256, destination):
            return destination
        cache.mkdir(parents=True, exist_ok=True)
        reasons = []
        for url in urls:
            try:
                with _partial(_entry(cache, sha256)) as part:
                    _receive(opener(url), sha256, size, part)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if _is_disk_full(error):
                    raise
                reasons.append(f"{url}: {_reason(error)}")
                continue
            _place(_entry(cache, sha256), destination)
            return destination
    raise FetchError(
        f"cannot fetch {destination.name}",
        details="\n".join(reasons) or "no address is known for it",
        resolution="Check the network and the proxy, or name a directory or mirror that holds the file.",
    )


def fetch_bytes(url: str, *, opener: Open = open_url, pause: Callable[[float], None] = time.sleep) -> bytes | None:
    """What an address holds, None where it has nothing; the caller has to know what it believes of it.

    Raises:
        FetchError: it does not answer, or holds more than LARGEST.
    """
    reason = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opener(url) as stream:
                content = stream.read(LARGEST + 1)
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                return None
            reason = _reason(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = _reason(error)
        else:
            if len(content) <= LARGEST:
                return content
            raise FetchError(f"{url} is too long", details=f"more than {LARGEST} bytes")
        if attempt < ATTEMPTS:
            pause(2.0**attempt)
    raise FetchError(f"cannot fetch {url}", details=reason, resolution="Check the network and the proxy.")


def fetch_wheel(
    name: str,
    version: str,
    filename: str,
    sha256: str,
    destination: Path,
    *,
    cache: Path,
    platforms: Sequence[str] = (),
    python_version: str | None = None,
    abi: str | None = None,
    run: Run = process.run,
) -> Path:
    """Put the wheel ``name==version`` with this hash at ``destination``, through the user's own pip settings.

    ``platforms`` are platform tags (``manylinux_2_17_aarch64``) for a machine other than this one, ``python_version``
    and ``abi`` are as in ``--python-version`` (``313``) and ``--abi`` (``cp313t``). ``filename`` is the name the lock
    expects.

    Raises:
        FetchError: pip does not get it, or gets another file.
        DiskFullError: no room for it.
    """
    with _disk_explained(destination):
        if _reuse(cache, sha256, destination):
            return destination
        cache.mkdir(parents=True, exist_ok=True)
        with claimed(cache) as scratch:
            wheel = _pip_download(
                scratch,
                requirement=f"{name}=={version} --hash=sha256:{sha256}\n",
                filename=filename,
                options=pip_options(platforms, python_version, abi),
                run=run,
            )
            if (found := file_sha256(wheel)) != sha256:
                raise FetchError(
                    f"{filename} is not the pinned file",
                    details=f"expected sha256 {sha256}\nreceived sha256 {found}",
                    resolution="Check the index that pip is configured to use.",
                )
            wheel.replace(_entry(cache, sha256))
        _place(_entry(cache, sha256), destination)
    return destination


def pip_options(platforms: Sequence[str], python_version: str | None, abi: str | None = None) -> tuple[str, ...]:
    """Pip's words for a target other than the running interpreter."""
    chosen = tuple(option for platform in platforms for option in ("--platform", platform))
    version = ("--python-version", python_version) if python_version else ()
    return (*chosen, *version, *(("--implementation", "cp", "--abi", abi) if abi else ()))


def _pip_download(scratch: Path, *, requirement: str, filename: str, options: Sequence[str], run: Run) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(requirement, encoding="utf-8")
    found = scratch / "found"
    command = (
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes"),
        *options,
        *("-d", str(found), "-r", str(requirements)),
    )
    run(command).check(
        FetchError,
        f"pip cannot fetch {filename}",
        resolution="Check pip's index, certificate and proxy settings (`pip config list`). "
        "After a hash mismatch: the index does not have the pinned file.",
    )
    wheel = found / filename
    if not wheel.is_file():
        got = ", ".join(sorted(path.name for path in found.glob("*"))) or "nothing"
        raise FetchError(
            f"pip fetched another file than {filename}",
            details=f"it fetched: {got}",
            resolution="The lock names a file that the index does not have; refresh the lock.",
        )
    return wheel


def _receive(stream: BinaryIO, sha256: str, size: int | None, part: BinaryIO) -> None:
    """Copy a stream while hashing it; stops at the first byte too many.

    Raises:
        ValueError: other size or hash.
    """
    digest, received = hashlib.sha256(), 0
    with stream:
        while chunk := stream.read(CHUNK):
            received += len(chunk)
            if received > (LARGEST if size is None else size):
                raise ValueError(f"longer than {'any source' if size is None else f'the pinned {size} bytes'}")
            digest.update(chunk)
            part.write(chunk)
    if size is not None and received != size:
        raise ValueError(f"{received} bytes instead of the pinned {size}")
    if digest.hexdigest() != sha256:
        raise ValueError(f"sha256 {digest.hexdigest()} instead of the pinned {sha256}")


def _entry(cache: Path, sha256: str) -> Path:
    return cache / sha256


def _reuse(cache: Path, sha256: str, destination: Path) -> bool:
    """Take the file from the destination or the cache, where its hash still holds; drop what is spoiled."""
    if destination.is_file() and file_sha256(destination) == sha256:
        return True
    entry = _entry(cache, sha256)
    if not entry.is_file():
        return False
    if file_sha256(entry) != sha256:
        entry.unlink(missing_ok=True)
        return False
    _place(entry, destination)
    return True


def _place(entry: Path, destination: Path) -> None:
    with entry.open("rb") as source, _partial(destination) as part:
        shutil.copyfileobj(source, part, CHUNK)


@contextmanager
def _partial(path: Path) -> Iterator[BinaryIO]:
    """A new file that becomes ``path`` at the end of the block and disappears when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with claimed(path.parent) as staging:
        temporary = staging / path.name
        with temporary.open("wb") as stream:
            yield stream
        temporary.chmod(0o644)
        temporary.replace(path)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def _disk_explained(destination: Path) -> Iterator[None]:
    """What the disks of this machine refuse, in words for its user."""
    try:
        yield
    except OSError as error:
        details = f"{error.filename or destination}: {error.strerror or error}"
        if _is_disk_full(error):
            resolution = "Free space, or point the cache elsewhere."
            raise DiskFullError(f"no room for {destination.name}", details=details, resolution=resolution) from error
        resolution = "Check the permissions of the cache and of the destination."
        raise FetchError(f"cannot store {destination.name}", details=details, resolution=resolution) from error
