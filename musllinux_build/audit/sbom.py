"""What a repair put into a wheel, as a CycloneDX 1.6 document for ``.dist-info/sboms`` (PEP 770).

Every library is a component, whether a package owns it or not, with the hash of the file in the wheel and of the file
it was made from; the wheel itself is the primary component, and every other one is reached from it. The document
follows from its inputs alone: sorted, dated by the epoch of the archive, its serial number a hash of the rest. It tells
no path of the machine: of a file that no package owns, only its name.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from musllinux_build import __version__
from musllinux_build.apkdb import ApkDatabase, Owned
from musllinux_build.audit.naming import unhashed_name
from musllinux_build.tags import WheelName, normalized

SBOM_NAME = "sboms/musllinux-build.cdx.json"
"""Below the ``.dist-info`` directory. Other tools' documents beside it are theirs and stay as they are."""
PROPERTY: Final = "musllinux-build"
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
MOST_PARENTHESES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file a library was made from: ``path`` in the root, or the member it was in the input wheel."""

    path: str
    sha256: str
    sha1: str

    @classmethod
    def of(cls, path: str, content: bytes | bytearray | memoryview) -> Source:
        """The source at ``path`` with this ``content``."""
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return cls(path=path, sha256=hashlib.sha256(content).hexdigest(), sha1=sha1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A library that was put into the wheel, or was there and was changed.

    ``member`` is its path in the wheel; ``needs`` the members of other bundled libraries; ``soname`` the name it had.
    """

    member: str
    sha256: str
    soname: str
    source: Source
    needs: tuple[str, ...] = ()


def sbom_json(
    wheel: WheelName,
    libraries: Iterable[Bundled],
    database: ApkDatabase,
    *,
    epoch: int,
    earlier: Sequence[Mapping[str, object]] = (),
) -> bytes:
    """The document for the wheel that is called ``wheel``; ``epoch`` dates it (seconds, UTC).

    ``earlier`` are components of libraries that another repair put in and that are still there.
    """
    ordered = sorted(libraries, key=lambda library: library.member)
    components = {library.member: _component(library, database) for library in ordered}
    kept = {str(component["bom-ref"]): component for component in earlier}
    root = _wheel_purl(wheel)
    document = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "musllinux-build", "version": __version__}]},
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": wheel.distribution,
                "version": wheel.version,
                "purl": root,
            },
        },
        "components": [component for _, component in sorted({**kept, **components}.items())],
        "dependencies": _dependencies(root, ordered, sorted(kept.keys() - components.keys())),
    }
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()
    # RFC 4122's version 5 is a name-based one; the name here is the document.
    document["serialNumber"] = f"urn:uuid:{_uuid(content[:16])}"
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def earlier_components(content: bytes, members: AbstractSet[str]) -> tuple[Mapping[str, object], ...]:
    """The components of the document ``content`` that describe one of ``members``; none of what is no such document."""
    try:
        document = json.loads(content)
        components = document["components"]
        kept = [row for row in components if isinstance(row, dict) and row.get("bom-ref") in members]
        json.dumps(kept)
    except (KeyError, RecursionError, TypeError, ValueError):
        return ()
    return tuple(kept)


def _component(library: Bundled, database: ApkDatabase) -> Mapping[str, object]:
    owned = database.owner(library.source.path)
    name, version = (owned.package.name, owned.package.version) if owned else (_plain_name(library), "")
    about = _identity(name, version, owned, database)
    is_member = not library.source.path.startswith("/")
    shown = library.source.path if owned or is_member else posixpath.basename(library.source.path)
    properties = {"path": library.member, "soname": library.soname, "source": shown}
    if owned is None:
        properties["from-the-wheel" if is_member else "unowned"] = "true"
    elif owned.sha1 and owned.sha1 != library.source.sha1:
        properties["differs-from-package"] = "true"
    return {
        **about,
        "bom-ref": library.member,
        "hashes": [{"alg": "SHA-256", "content": library.sha256}],
        "evidence": {"occurrences": [{"location": library.member}]},
        "pedigree": {
            "ancestors": [{**about, "hashes": [{"alg": "SHA-256", "content": library.source.sha256}]}],
            "notes": "Its dynamic section was edited, so that musl finds and loads it where it is in the wheel.",
        },
        "properties": [{"name": f"{PROPERTY}:{key}", "value": _clean(value)} for key, value in properties.items()],
    }


def _identity(name: str, version: str, owned: Owned | None, database: ApkDatabase) -> Mapping[str, object]:
    """What is the same of a library before and after it was put into a wheel."""
    about: dict[str, object] = {"type": "library", "name": _clean(name)}
    if owned is None:
        return about
    about |= {"version": version, "purl": _package_purl(owned, database)}
    if owned.package.license:
        about["licenses"] = [_license(owned.package.license)]
    return about


def _plain_name(library: Bundled) -> str:
    """``libyaml-0`` of ``libyaml-0.so.2``, without a tool's hash: all that is known of what no package owns."""
    file_name = unhashed_name(posixpath.basename(library.source.path))
    return file_name.partition(".so")[0] or file_name


def _license(text: str) -> Mapping[str, object]:
    """An SPDX expression as such, anything else as a name."""
    # Its table of licences takes longer to import than a small wheel takes to repair.
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # noqa: PLC0415

    try:
        expression = canonicalize_license_expression(text) if text.count("(") <= MOST_PARENTHESES else None
    except InvalidLicenseExpression:
        expression = None
    if expression is None:
        return {"license": {"name": text, "acknowledgement": "declared"}}
    return {"expression": expression, "acknowledgement": "declared"}


def _dependencies(root: str, libraries: Sequence[Bundled], kept: Sequence[str]) -> list[Mapping[str, object]]:
    """The wheel needs what no other library brings in; of a cycle that nothing else reaches, its first member."""
    members = {library.member: library for library in libraries}
    needed = {name for library in libraries for name in library.needs if name != library.member}
    direct: list[str] = []
    reached: set[str] = set()
    for member in sorted(members, key=lambda member: (member in needed, member)):
        if member not in reached:
            direct.append(member)
            _reach(member, members, reached)
    rows: dict[str, list[str]] = {root: sorted([*direct, *kept]), **{ref: [] for ref in kept}}
    rows |= {library.member: sorted({*library.needs} & members.keys()) for library in libraries}
    return [{"ref": ref, "dependsOn": needs} if needs else {"ref": ref} for ref, needs in sorted(rows.items())]


def _reach(start: str, members: Mapping[str, Bundled], reached: set[str]) -> None:
    waiting = [start]
    while waiting:
        member = waiting.pop()
        if member not in reached and member in members:
            reached.add(member)
            waiting.extend(members[member].needs)


def _package_purl(owned: Owned, database: ApkDatabase) -> str:
    """``pkg:apk/alpine/yaml@0.2.5-r0?arch=x86_64&distro=alpine-3.13`` (package-url, type apk)."""
    package, distribution = owned.package, database.distribution or "alpine"
    qualifiers = [f"arch={quote(package.arch, safe='')}"] if package.arch else []
    if database.distribution and database.branch:
        qualifiers.append(f"distro={quote(f'{distribution}-{database.branch}', safe='')}")
    name, version = quote(package.name.lower(), safe=""), quote(package.version, safe="")
    query = "?" + "&".join(qualifiers) if qualifiers else ""
    return f"pkg:apk/{quote(distribution.lower(), safe='')}/{name}@{version}{query}"


def _wheel_purl(wheel: WheelName) -> str:
    name, version = normalized(wheel.distribution), quote(wheel.version.replace("_", "+"), safe="")
    return f"pkg:pypi/{quote(name, safe='')}@{version}?file_name={quote(str(wheel), safe='')}"


def _clean(text: str) -> str:
    """``text`` as JSON can carry it: bytes that were no UTF-8 are shown in hexadecimal."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _uuid(content: bytes) -> str:
    """The UUID of version 5 with these bits (RFC 9562, 5.5)."""
    bits = bytearray(content)
    bits[6], bits[8] = bits[6] & 0x0F | 0x50, bits[8] & 0x3F | 0x80
    text = bits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
