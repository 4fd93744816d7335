"""What an image says of itself: its labels, and the manifest that lies in it. Both follow from the lock alone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from musllinux_build import __version__
from musllinux_build.arch import Arch
from musllinux_build.images.lock import Lock, SourceRow, WheelRow
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, POLICY_LABEL, PYTHONS_LABEL

MANIFEST_VERSION = 1
HOME = "https://github.com/musllinux-build/musllinux-build"
OURS = LABEL.rpartition(".")[0]
VARIANT_LABEL = f"{OURS}.variant"
LICENSES = "MIT AND PSF-2.0 AND Apache-2.0 AND GPL-2.0-only AND GPL-3.0-or-later WITH GCC-exception-3.1"
"""Of the parts that every image has: musl and this tool, CPython, OpenSSL, busybox and git, the compiler. The bill of
materials has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The rows of the lock that one image is made from. ``pythons`` are ``3.13.5`` or ``3.14.1t``, in order."""

    policy: Policy
    arch: Arch
    variant: Variant
    lock: Lock
    lock_digest: str
    pythons: tuple[str, ...]
    sources: tuple[SourceRow, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of wheels."""
        return ("python", *tool_groups(self.variant))

    @property
    def wheels(self) -> tuple[WheelRow, ...]:
        """The wheels, those of the interpreters first."""
        return tuple(row for group in self.groups for row in self.lock.wheel_group(group, self.arch))

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that are asked for, as ``/etc/apk/world`` names them."""
        row = self.lock.apk(self.policy, self.arch)
        extra = row.extra if self.variant is Variant.FULL else ()
        return (f"musl={self.policy.row.musl_package}", *row.image, *extra)


def tool_groups(variant: Variant) -> tuple[str, ...]:
    """The groups of wheels that the image's own commands come from."""
    return ("tools", "extra") if variant is Variant.FULL else ("tools",)


def labels(image: Composition) -> dict[str, str]:
    """Ours, which the tool reads, and those of the OCI image specification (annotations.md), which registries show."""
    policy, arch = image.policy, image.arch
    base = image.lock.base(policy.row.base, arch)
    clock = time.gmtime(image.lock.clock)
    slim = "" if image.variant is Variant.FULL else f", {image.variant.value}"
    oci = {
        "title": policy.platform_tag(arch),
        "description": f"Builds {policy.value} wheels for {arch.value}: CPython {', '.join(image.pythons)}{slim}",
        "source": HOME,
        "url": HOME,
        "documentation": f"{HOME}/blob/v{__version__}/docs/images.md",
        "vendor": "musllinux-build",
        "licenses": LICENSES,
        "version": time.strftime("%Y.%m.%d", clock),
        "revision": f"v{__version__}",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", clock),
        "base.name": f"docker.io/library/alpine:{policy.row.base}",
    }
    if base.digest is not None:
        oci["base.digest"] = base.digest
    return {
        LABEL: "image",
        POLICY_LABEL: policy.value,
        f"{OURS}.arch": arch.value,
        f"{OURS}.musl": policy.row.musl_package,
        f"{OURS}.alpine": policy.row.base,
        PYTHONS_LABEL: ",".join(image.pythons),
        f"{OURS}.lock": image.lock_digest,
        VARIANT_LABEL: image.variant.value,
        **{f"org.opencontainers.image.{name}": value for name, value in oci.items()},
    }


def manifest(image: Composition) -> str:
    """The JSON of ``/opt/_internal/musllinux-build/manifest.json``."""
    base = image.lock.base(image.policy.row.base, image.arch)
    document = {
        "version": MANIFEST_VERSION,
        "tool": __version__,
        "policy": image.policy.value,
        "arch": image.arch.value,
        "variant": image.variant.value,
        "musl": image.policy.row.musl_package,
        "alpine": image.policy.row.base,
        "lock": image.lock_digest,
        "base": {"filename": base.filename, "sha256": base.sha256, "digest": base.digest},
        "pythons": list(image.pythons),
        "sources": _files(image.sources),
        "wheels": _files(image.wheels),
        "packages": list(image.packages),
    }
    return json.dumps(document, indent=1) + "\n"


def _files(rows: Sequence[SourceRow | WheelRow]) -> list[dict[str, str]]:
    return [{"name": row.name, "version": row.version, "filename": row.filename, "sha256": row.sha256} for row in rows]
