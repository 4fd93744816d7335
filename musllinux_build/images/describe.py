"""What is in an image and what it was made from, as the documents that registries keep beside it.

The bill of materials is CycloneDX 1.6: apk's packages, interpreters, the libraries that are linked into them and the
wheels they come with. The provenance is an in-toto statement with SLSA's predicate, version 1: the parameters of the
build and every download with its hash. Both follow from their inputs alone.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from musllinux_build import __version__
from musllinux_build.apkdb import ApkPackage
from musllinux_build.arch import Arch
from musllinux_build.images.contents import tool_groups
from musllinux_build.images.lock import BaseRow, Lock, SourceRow, WheelRow
from musllinux_build.images.oci import canonical, timestamp
from musllinux_build.images.publish import Attachment
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy

CYCLONEDX = "application/vnd.cyclonedx+json"
IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
HOME = "https://github.com/musllinux-build/musllinux-build"


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What one image was made from: rows of the lock, and the packages apk says are installed."""

    policy: Policy
    arch: Arch
    base: BaseRow
    sources: tuple[SourceRow, ...]
    wheels: tuple[WheelRow, ...]
    packages: tuple[ApkPackage, ...]
    lock_digest: str


def select_materials(
    lock: Lock,
    policy: Policy,
    arch: Arch,
    *,
    sources: Sequence[SourceRow],
    packages: Iterable[ApkPackage],
    lock_digest: str,
    variant: Variant = Variant.FULL,
) -> Materials:
    """The rows of an image with these sources; a wheel of two groups is there once."""
    wheels = [row for group in ("python", *tool_groups(variant)) for row in lock.wheel_group(group, arch)]
    return Materials(
        policy=policy,
        arch=arch,
        base=lock.base(policy.row.base, arch),
        sources=tuple(sorted(sources, key=lambda row: (row.name, row.order))),
        wheels=tuple({row.filename: row for row in wheels}.values()),
        packages=tuple(sorted(set(packages), key=lambda package: package.name)),
        lock_digest=lock_digest,
    )


def bill_of_materials(materials: Materials, clock: int) -> Attachment:
    """The SBOM, dated ``clock`` (seconds since 1970, UTC)."""
    name = materials.policy.platform_tag(materials.arch)
    root = f"pkg:oci/{name}"
    components = [
        *(_apk(package, materials.policy) for package in materials.packages),
        *(_source(row) for row in materials.sources),
        *(_wheel(row) for row in materials.wheels),
    ]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(clock),
            "tools": {"components": [{"type": "application", "name": "musllinux-build", "version": __version__}]},
            "component": {"type": "container", "bom-ref": root, "name": name, "purl": root},
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": sorted(str(component["bom-ref"]) for component in components)},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }
    digest = hashlib.sha256(canonical(document)).digest()
    document["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=5)}"
    content = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    return Attachment(media_type=CYCLONEDX, content=content, title=f"{name}.cdx.json")


def _apk(package: ApkPackage, policy: Policy) -> Mapping[str, Any]:
    branch = ".".join(policy.row.base.split(".")[:2])
    purl = (
        f"pkg:apk/alpine/{quote(package.name, safe='')}@{quote(package.version, safe='')}"
        f"?arch={package.arch}&distro=alpine-{branch}"
    )
    found = {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}
    return {**found, "licenses": [{"license": {"name": package.license}}]} if package.license else found


def _source(row: SourceRow) -> Mapping[str, Any]:
    purl = f"pkg:generic/{row.name}@{row.version}"
    found: dict[str, Any] = {
        "type": "platform" if row.name == "cpython" else "library",
        "bom-ref": purl,
        "name": row.name,
        "version": row.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": row.sha256}],
    }
    if row.urls:
        found["externalReferences"] = [{"type": "source-distribution", "url": url} for url in row.urls]
    return found


def _wheel(row: WheelRow) -> Mapping[str, Any]:
    purl = f"pkg:pypi/{row.name}@{row.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": row.name,
        "version": row.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": row.sha256}],
    }


def provenance(materials: Materials, manifest_digest: str, builder: str) -> Attachment:
    """The statement about the image with this manifest; ``builder`` is the URI of who built it (SLSA: ``builder.id``).

    It has no times: the same build says the same.
    """
    name = materials.policy.platform_tag(materials.arch)
    algorithm, _, digest = manifest_digest.partition(":")
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {algorithm: digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": f"{HOME}/images/v1",
                "externalParameters": {
                    "policy": materials.policy.value,
                    "arch": materials.arch.value,
                    "pythons": [row.version for row in materials.sources if row.name == "cpython"],
                    "lock": materials.lock_digest,
                },
                "resolvedDependencies": list(_dependencies(materials)),
            },
            "runDetails": {"builder": {"id": builder, "version": {"musllinux-build": __version__}}},
        },
    }
    content = (json.dumps(statement, indent=1, sort_keys=True) + "\n").encode()
    return Attachment(media_type=IN_TOTO, content=content, title=f"{name}.provenance.json")


def _dependencies(materials: Materials) -> Iterable[Mapping[str, Any]]:
    base = materials.base
    root: dict[str, Any] = {"name": base.filename, "uri": base.urls[0] if base.urls else f"file:{base.filename}"}
    if base.sha256:
        root["digest"] = {"sha256": base.sha256}
    yield root
    for row in materials.sources:
        uri = row.urls[0] if row.urls else f"pkg:generic/{row.name}@{row.version}"
        yield {"name": row.archive, "uri": uri, "digest": {"sha256": row.sha256}}
    for wheel in materials.wheels:
        yield {
            "name": wheel.filename,
            "uri": f"pkg:pypi/{wheel.name}@{wheel.version}",
            "digest": {"sha256": wheel.sha256},
        }
    for package in materials.packages:
        yield {"name": package.name, "uri": f"pkg:apk/alpine/{package.name}@{package.version}?arch={package.arch}"}
