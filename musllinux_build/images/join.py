"""What several machines pushed by digest, joined into one index per policy.

Each machine notes what it pushed in a file; whoever has all the files makes the indexes and moves the tags. Nothing is
taken from the file but digests: the bytes behind them come from the registry and are held to them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError, UsageError
from musllinux_build.images.oci import MANIFEST, Descriptor
from musllinux_build.images.publish import Image, Step, image_manifest_step, plan_index, repositories
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy
from musllinux_build.ports import Registry

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image that a registry has by digest, in its own repository and in that of its policy."""

    policy: Policy
    arch: Arch
    digest: str
    variant: Variant = Variant.FULL

    def descriptor(self, content: bytes) -> Descriptor:
        """As an index names it (OCI image specification 1.1, "Image Index")."""
        os, architecture, *variant = self.arch.oci_platform.split("/")
        platform = {"os": os, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        return Descriptor(media_type=MANIFEST, digest=self.digest, size=len(content), platform=platform)


def pushed(images: Iterable[Image], variant: Variant = Variant.FULL) -> list[Pushed]:
    """What is noted of images that were pushed."""
    return [
        Pushed(policy=image.policy, arch=image.arch, digest=image.manifest.digest, variant=variant) for image in images
    ]


def format_pushed(images: Iterable[Pushed]) -> str:
    """The file's text."""
    rows = [
        {"policy": one.policy.value, "arch": one.arch.value, "variant": one.variant.value, "digest": one.digest}
        for one in images
    ]
    return json.dumps({"version": VERSION, "images": rows}, indent=2) + "\n"


def parse_pushed(text: str, name: str) -> list[Pushed]:
    """The images of a file called ``name``.

    Raises:
        UsageError: it is no such file.
    """
    try:
        document: Any = json.loads(text)
        if document["version"] != VERSION:
            raise UsageError(f"{name} is of version {document['version']}, not {VERSION}")
        return [
            Pushed(
                policy=Policy(row["policy"]),
                arch=Arch(row["arch"]),
                digest=str(row["digest"]),
                variant=Variant(row["variant"]),
            )
            for row in document["images"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{name} does not say what was pushed",
            details=repr(error),
            resolution="It is written by: musllinux-build images publish --digests FILE",
        ) from error


def plan_join(images: Iterable[Pushed], registry: Registry, where: str, tags: Sequence[str]) -> tuple[Step, ...]:
    """The steps that make one index per policy, and move the tags; the manifests are read from the registry.

    Raises:
        UsageError: two images are for one platform.
        RegistryError: the registry lacks an image, or has other bytes under its digest.
    """
    found: dict[Policy, dict[Arch, tuple[Descriptor, bytes]]] = {}
    for image in images:
        mine = found.setdefault(image.policy, {})
        known = mine.get(image.arch)
        if known is not None and known[0].digest != image.digest:
            raise UsageError(
                f"two images are for {image.policy.platform_tag(image.arch)}",
                details=f"{known[0].digest}\n{image.digest}",
            )
        content = _content(image, registry, where)
        mine[image.arch] = (image.descriptor(content), content)
    steps: list[Step] = []
    for policy in sorted(found, key=lambda policy: policy.value):
        for arch, (_, content) in sorted(found[policy].items(), key=lambda item: item[0].value):
            # They are there; the step is for whoever signs.
            name = policy.platform_tag(arch)
            steps += [image_manifest_step(content, place, name) for place in repositories(where, policy, arch)]
        steps += plan_index(policy, found[policy], where, tags)
    return tuple(steps)


def _content(image: Pushed, registry: Registry, where: str) -> bytes:
    """The image's manifest, which both repositories have."""
    content = b""
    for repository in repositories(where, image.policy, image.arch):
        there = registry.manifest(repository, image.digest)
        if there is None:
            raise RegistryError(
                f"{repository} has no {image.digest}",
                resolution="Push it: musllinux-build images publish --digests FILE",
            )
        if f"sha256:{hashlib.sha256(there).hexdigest()}" != image.digest:
            raise RegistryError(f"{repository} has other bytes under {image.digest}")
        content = there
    return content


def references(steps: Iterable[Step]) -> Mapping[str, str]:
    """``registry/name`` to the digest its tags name, once the steps are done: what there is to sign."""
    return {step.repository: step.about for step in steps if step.kind.value == "tag"}
