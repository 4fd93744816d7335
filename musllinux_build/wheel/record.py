"""RECORD (PEP 376, PEP 427): every file with its hash and size, as verified on input and written on output."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from musllinux_build.errors import WheelError
from musllinux_build.wheel.codec import Buffer

SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Never listed, and never written: deprecated by PEP 815."""
ALGORITHMS = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
DIGEST = re.compile(r"[0-9A-Za-z_-]{1,128}={0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEntry:
    """One row. ``algorithm`` is a hashlib name, ``digest`` urlsafe base64 without padding; ``size`` may be unstated."""

    algorithm: str
    digest: str
    size: int | None

    def matches(self, content: Buffer) -> bool:
        """Whether ``content`` is what the row says."""
        digest = ALGORITHMS[self.algorithm](content).digest()
        return encode_digest(digest) == self.digest and self.size in (None, len(content))


def encode_digest(digest: bytes) -> str:
    """The digest as RECORD writes it."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def parse_record(text: str, dist_info: str, label: str) -> dict[str, RecordEntry]:
    """Path to entry of every row that must have a hash.

    Raises:
        WheelError: a row is malformed, occurs twice or has no hash of SHA-256 or better (PEP 427).
    """
    entries: dict[str, RecordEntry] = {}
    unhashed = {f"{dist_info}/{name}" for name in ("RECORD", *SIGNATURES)}
    met: set[str] = set()
    for row in _rows(text, label):
        if len(row) != 3:
            raise _wrong(label, f"row {','.join(row)[:200]!r} has not three fields")
        path, stated, size = row
        if path in unhashed and path not in met:
            met.add(path)
            continue
        algorithm, _, digest = stated.partition("=")
        if algorithm not in ALGORITHMS or not DIGEST.fullmatch(digest) or not re.fullmatch(r"[0-9]{0,15}", size):
            raise _wrong(label, f"{path[:200]!r} has no hash of SHA-256 or better, or a malformed row")
        if path in entries:
            raise _wrong(label, f"{path[:200]!r} is listed twice")
        entries[path] = RecordEntry(algorithm=algorithm, digest=digest.rstrip("="), size=int(size) if size else None)
    return entries


def _rows(text: str, label: str) -> Iterator[list[str]]:
    """One after the other, so that the first wrong one of a million is the last that is read."""
    try:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as reason:
        raise _wrong(label, f"it is no CSV file ({reason})") from None


def check_listing(entries: Mapping[str, RecordEntry], files: Iterable[str], dist_info: str, label: str) -> None:
    """Every file is listed and every listed file is there.

    Raises:
        WheelError: with the files that are not.
    """
    own = {f"{dist_info}/{name}" for name in ("RECORD", *SIGNATURES)}
    present = set(files) - own
    extra, missing = sorted(present - entries.keys()), sorted(entries.keys() - present)
    if extra:
        raise _wrong(label, f"not listed: {', '.join(repr(path[:200]) for path in extra[:5])}")
    if missing:
        raise _wrong(label, f"listed and not there: {', '.join(repr(path[:200]) for path in missing[:5])}")


def check_content(entry: RecordEntry, path: str, content: Buffer, label: str) -> None:
    """``content`` is what the row of ``path`` says.

    Raises:
        WheelError: it is not.
    """
    if not entry.matches(content):
        raise _wrong(label, f"{path!r} is not the file that was recorded")


def format_record(rows: Mapping[str, tuple[str, int]], dist_info: str) -> bytes:
    """RECORD for path to (SHA-256 as RECORD writes it, size in bytes); its own row last."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for path, (digest, size) in rows.items():
        writer.writerow((path, f"sha256={digest}", size))
    writer.writerow((f"{dist_info}/RECORD", "", ""))
    return out.getvalue().encode()


def _wrong(label: str, why: str) -> WheelError:
    return WheelError(
        f"{label}: its RECORD does not describe it: {why}",
        resolution="The wheel was altered after it was built, or built wrongly; build it again.",
    )
