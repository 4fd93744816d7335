"""Publishing as data first: which blobs, manifests and tags go where, in an order that is right when it is cut short.

Per registry: blobs, then manifests by digest, then what describes them (SBOM, provenance), then the index of a policy
by digest, and tags last. A tag never names what is not wholly there, a step that was done is skipped when it is done
again, and two publications of the same images cannot mix (OCI distribution specification 1.1).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TypeVar

from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.oci import INDEX, MANIFEST, Descriptor, Layout, canonical, index_document
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy
from musllinux_build.ports import Progress, Registry

EMPTY = "application/vnd.oci.empty.v1+json"
ATTEMPTS = 4
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A document about an image, by its media type (``application/vnd.cyclonedx+json``)."""

    media_type: str
    content: bytes
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of a layout, ready to be published."""

    policy: Policy
    arch: Arch
    layout: Layout
    manifest: Descriptor
    attachments: tuple[Attachment, ...] = ()


class Kind(Enum):
    """What a step does."""

    BLOB = "blob"
    MANIFEST = "manifest"
    TAG = "tag"
    REFERRER_TAG = "referrer tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request that changes a registry; ``reference`` is a digest or a tag, ``content`` makes the bytes."""

    kind: Kind
    repository: str
    reference: str
    media_type: str
    content: Callable[[], bytes]
    size: int
    about: str
    subject: Descriptor | None = None
    signed: bool = False
    """Whether it is of those that are signed: images and indexes, not what describes them."""

    def line(self) -> str:
        """For people: ``blob sha256:… 42.4 MB → host/name``."""
        return f"{self.kind.value} {self.reference} ({self.size:,} bytes) to {self.repository}: {self.about}"


def plan_publication(images: Sequence[Image], registry: str, tags: Sequence[str]) -> tuple[Step, ...]:
    """All steps for one registry prefix (``ghcr.io/name``).

    Each image gets its own repository (``…/musllinux_1_2_aarch64``), each policy one for its index
    (``…/musllinux_1_2``) that holds the images too, because an index may only name what its repository has.
    """
    steps: list[Step] = []
    for policy in sorted({image.policy for image in images}, key=lambda policy: policy.value):
        own = [image for image in images if image.policy is policy]
        steps += plan_images(own, registry)
        manifests = {
            image.arch: (image.manifest, image.layout.blob(image.manifest.digest).read_bytes()) for image in own
        }
        steps += plan_index(policy, manifests, registry, tags)
    return tuple(steps)


def plan_images(images: Sequence[Image], registry: str) -> tuple[Step, ...]:
    """Images and what describes them, by digest: no index names them and no tag moves."""
    steps: list[Step] = []
    for image in sorted(images, key=lambda image: (image.policy.value, image.arch.value)):
        for repository in repositories(registry, image.policy, image.arch):
            steps += _image_steps(image, repository)
    return tuple(steps)


def plan_index(
    policy: Policy, manifests: Mapping[Arch, tuple[Descriptor, bytes]], registry: str, tags: Sequence[str]
) -> tuple[Step, ...]:
    """The index of a policy by digest, then the tags of its images, its own last; the images are there already."""
    content = canonical(index_document((one for one, _ in manifests.values()), _index_annotations(policy)))
    steps: list[Step] = []
    for arch in sorted(manifests, key=lambda arch: arch.value):
        own, _ = repositories(registry, policy, arch)
        steps += _tag_steps(manifests[arch][1], MANIFEST, own, tags)
    whole = f"{registry}/{policy.value}"
    index = _step(Kind.MANIFEST, content, INDEX, repository=whole, about=f"the index of {policy.value}")
    return (replace(index, signed=True), *steps, *_tag_steps(content, INDEX, whole, tags))


def default_tags(now: float, variant: Variant = Variant.FULL) -> tuple[str, str]:
    """The date, as the reference images write it, and ``latest``; a variant that is not the whole says so."""
    suffix = "" if variant is Variant.FULL else f"-{variant.value}"
    return time.strftime(f"%Y.%m.%d-1{suffix}", time.gmtime(now)), f"latest{suffix}"


def repositories(registry: str, policy: Policy, arch: Arch) -> tuple[str, str]:
    """Where an image goes: its own repository, and that of its policy's index."""
    return f"{registry}/{policy.platform_tag(arch)}", f"{registry}/{policy.value}"


def _index_annotations(policy: Policy) -> Mapping[str, str]:
    return {
        "org.opencontainers.image.title": policy.value,
        "org.opencontainers.image.description": f"Builds {policy.value} wheels",
    }


def _image_steps(image: Image, repository: str) -> Iterator[Step]:
    document = image.layout.read_json(image.manifest.digest)
    name = image.policy.platform_tag(image.arch)
    for blob in (document["config"], *document["layers"]):
        path = image.layout.blob(blob["digest"])
        yield Step(
            kind=Kind.BLOB,
            repository=repository,
            reference=blob["digest"],
            media_type=blob["mediaType"],
            content=path.read_bytes,
            size=blob["size"],
            about=name,
        )
    yield image_manifest_step(image.layout.blob(image.manifest.digest).read_bytes(), repository, name)
    for attachment in image.attachments:
        yield from _attachment_steps(attachment, image.manifest, repository, name)


def image_manifest_step(content: bytes, repository: str, about: str) -> Step:
    """The manifest of an image, once its blobs are there."""
    return replace(_step(Kind.MANIFEST, content, MANIFEST, repository=repository, about=about), signed=True)


def _attachment_steps(attachment: Attachment, subject: Descriptor, repository: str, name: str) -> Iterator[Step]:
    """A document, and the manifest that says which image it is about (image specification 1.1, "subject")."""
    empty = b"{}"
    about = f"{attachment.title} of {name}"
    for content, media_type in ((empty, EMPTY), (attachment.content, attachment.media_type)):
        yield _step(Kind.BLOB, content, media_type, repository=repository, about=about)
    blob = Descriptor(
        media_type=attachment.media_type, digest=_digest(attachment.content), size=len(attachment.content)
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": attachment.media_type,
        "config": Descriptor(media_type=EMPTY, digest=_digest(empty), size=len(empty)).to_json(),
        "layers": [blob.to_json()],
        "subject": Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size).to_json(),
        "annotations": {"org.opencontainers.image.title": attachment.title},
    }
    content = canonical(manifest)
    yield _step(Kind.MANIFEST, content, MANIFEST, repository=repository, about=about)
    # A registry that knows no referrers finds them by this tag ("Referrers Tag Schema").
    found = Descriptor(
        media_type=MANIFEST,
        digest=_digest(content),
        size=len(content),
        artifact_type=attachment.media_type,
        annotations={"org.opencontainers.image.title": attachment.title},
    )
    yield Step(
        kind=Kind.REFERRER_TAG,
        repository=repository,
        reference=subject.digest.replace(":", "-"),
        media_type=INDEX,
        content=_constant(content),
        size=len(content),
        about=about,
        subject=found,
    )


def _step(kind: Kind, content: bytes, media_type: str, *, repository: str, about: str) -> Step:
    """A step for bytes that are at hand, stored under their digest."""
    return Step(
        kind=kind,
        repository=repository,
        reference=_digest(content),
        media_type=media_type,
        content=_constant(content),
        size=len(content),
        about=about,
    )


def _tag_steps(content: bytes, media_type: str, repository: str, tags: Iterable[str]) -> Iterator[Step]:
    for tag in tags:
        yield Step(
            kind=Kind.TAG,
            repository=repository,
            reference=tag,
            media_type=media_type,
            content=_constant(content),
            size=len(content),
            about=_digest(content),
        )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _constant(content: bytes) -> Callable[[], bytes]:
    return lambda: content


Sign = Callable[[str], None]
"""Signs ``repository@digest``; raises RegistryError."""
BUNDLE = "application/vnd.dev.sigstore.bundle"


def publish(steps: Iterable[Step], registry: Registry, progress: Progress, sign: Sign | None = None) -> int:
    """Do the steps in order; how many of them changed something. What is new is signed before a tag names it.

    Raises:
        RegistryError: a step failed in every attempt; what was done stays and is skipped next time.
    """
    referrers: set[str] = set()
    unsigned: dict[tuple[str, str], None] = {}
    changed = 0
    for step in steps:
        if step.kind is Kind.REFERRER_TAG and step.repository in referrers:
            continue
        if step.kind is Kind.TAG and sign is not None:
            changed += _sign(unsigned, registry, progress, sign)
        done = _persist(partial(_do, step, registry), registry, progress)
        if step.kind is Kind.MANIFEST and done is _Outcome.LISTED:
            referrers.add(step.repository)
        if step.signed:
            unsigned[step.repository, step.reference] = None
        changed += done is not _Outcome.THERE
    return changed + (_sign(unsigned, registry, progress, sign) if sign is not None else 0)


def _sign(unsigned: dict[tuple[str, str], None], registry: Registry, progress: Progress, sign: Sign) -> int:
    """Sign what has no signature yet, as far as its registry tells; how many."""
    count = 0
    for repository, digest in unsigned:
        if not _is_signed(repository, digest, registry):
            _persist(partial(sign, f"{repository}@{digest}"), registry, progress)
            count += 1
    unsigned.clear()
    return count


def _is_signed(repository: str, digest: str, registry: Registry) -> bool:
    """Whether cosign left a signature: under a tag of its own, or (3.0) in the index of referrers."""
    tag = digest.replace(":", "-")
    if registry.manifest(repository, f"{tag}.sig") is not None:
        return True
    listed = json.loads(registry.manifest(repository, tag) or b"{}").get("manifests", [])
    return any(str(one.get("artifactType", "")).startswith(BUNDLE) for one in listed)


class _Outcome(Enum):
    THERE = "there"
    DONE = "done"
    LISTED = "listed"
    """Stored, and the registry lists it among the referrers of its subject."""


def _persist(work: Callable[[], T], registry: Registry, progress: Progress) -> T:
    """What ``work`` returns; tried again while its failures are transient."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except RegistryError as error:
            if attempt == ATTEMPTS or not error.transient:
                raise
            progress.warn(f"{error.brief}; attempt {attempt + 1} of {ATTEMPTS}")
            registry.wait(attempt)
    raise AssertionError


def _do(step: Step, registry: Registry) -> _Outcome:
    if step.kind is Kind.BLOB:
        if registry.has_blob(step.repository, step.reference):
            return _Outcome.THERE
        registry.put_blob(step.repository, step.reference, step.content())
        return _Outcome.DONE
    if step.kind is Kind.REFERRER_TAG:
        return _add_referrer(step, registry)
    content = step.content()
    there = registry.manifest(step.repository, step.reference)
    if there == content and "subject" not in json.loads(content):
        return _Outcome.THERE
    listed = registry.put_manifest(step.repository, step.reference, content, step.media_type)
    return _Outcome.LISTED if listed else _Outcome.DONE


def _add_referrer(step: Step, registry: Registry) -> _Outcome:
    """Add the step's manifest to the index under the tag of its subject, once."""
    assert step.subject is not None
    there = registry.manifest(step.repository, step.reference)
    listed = json.loads(there)["manifests"] if there is not None else []
    mine = step.subject.to_json()
    if mine in listed:
        return _Outcome.THERE
    # A newer document of one kind replaces the older one.
    kept = [one for one in listed if one.get("artifactType") != mine["artifactType"]]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, mine]}
    registry.put_manifest(step.repository, step.reference, canonical(document), INDEX)
    return _Outcome.DONE
