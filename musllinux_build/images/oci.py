"""A built image as an OCI layout whose digest depends on the image's files and configuration alone.

What an engine saves is read (the archive of ``docker save``), its layers become one normalised layer, and the
configuration is written anew: no history of the build, one clock. The layout is what is published and, with the
``manifest.json`` that engines load, what is loaded back (OCI image specification 1.1, "Image Layout").
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musllinux_build.errors import ImageError
from musllinux_build.images.layers import Written, apply_layers, write_layer
from musllinux_build.tarstream import Content, file_entry, tar_stream

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYOUT_VERSION = "1.0.0"
KEPT_CONFIG = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")
"""The configuration's fields that the specification names; what else an engine writes is its own."""
LARGEST_JSON = 4 << 20
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob by type, digest and size; ``platform`` and ``annotations`` as an index writes them."""

    media_type: str
    digest: str
    size: int
    platform: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    artifact_type: str = ""

    def to_json(self) -> dict[str, Any]:
        """As manifests and indexes write it."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.platform:
            found["platform"] = dict(sorted(self.platform.items()))
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A directory in the OCI image layout."""

    root: Path

    def blob(self, digest: str) -> Path:
        """Where a blob lies, whether it does or not."""
        algorithm, _, name = digest.partition(":")
        return self.root / "blobs" / algorithm / name

    def add(self, content: bytes, media_type: str, **more: Any) -> Descriptor:
        """Store a blob."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Descriptor(media_type=media_type, digest=digest, size=len(content), **more)

    def add_json(self, document: Mapping[str, Any], media_type: str, **more: Any) -> Descriptor:
        """Store a document in its one canonical form."""
        return self.add(canonical(document), media_type, **more)

    def read_json(self, digest: str) -> dict[str, Any]:
        """A stored document.

        Raises:
            ImageError: it is not there, or is not what its digest says.
        """
        try:
            content = self.blob(digest).read_bytes()
        except OSError as error:
            raise ImageError(f"{self.root} lacks {digest}", details=str(error)) from error
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise ImageError(f"{self.blob(digest)} is not what its name says", resolution="Write the layout again.")
        document: dict[str, Any] = json.loads(content)
        return document

    def write_index(self, manifests: Sequence[Descriptor]) -> None:
        """The entry point of the layout."""
        (self.root / "oci-layout").write_bytes(canonical({"imageLayoutVersion": LAYOUT_VERSION}))
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [one.to_json() for one in manifests]}
        (self.root / "index.json").write_bytes(canonical(document))


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document: keys sorted, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def timestamp(clock: int) -> str:
    """RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock))


def write_image(saved: Path, layout: Layout, clock: int, scratch: Path) -> Descriptor:
    """Store the image of a ``docker save`` archive; the descriptor of its manifest, with its platform.

    Raises:
        ImageError: the archive is not one image, or its files are not those of one.
    """
    with open_saved(saved, scratch) as (config, layers):
        files = apply_layers(layers)
        target = scratch / "layer.tar.gz"
        layer = write_layer(files, layers, target, clock)
    place = layout.blob(layer.digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    target.replace(place)
    stored = layout.add_json(_config(config, layer, clock), CONFIG)
    blob = Descriptor(media_type=LAYER, digest=layer.digest, size=layer.size)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": stored.to_json(),
        "layers": [blob.to_json()],
        "annotations": {"org.opencontainers.image.created": timestamp(clock)},
    }
    platform = {"architecture": str(config["architecture"]), "os": str(config["os"])}
    if config.get("variant"):
        platform["variant"] = str(config["variant"])
    return layout.add_json(manifest, MANIFEST, platform=platform)


def _config(found: Mapping[str, Any], layer: Written, clock: int) -> dict[str, Any]:
    inner = found.get("config") or {}
    kept = {key: inner[key] for key in KEPT_CONFIG if inner.get(key)}
    written: dict[str, Any] = {
        "architecture": found["architecture"],
        "os": found["os"],
        "created": timestamp(clock),
        "config": kept,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": timestamp(clock), "created_by": "musllinux-build images build"}],
    }
    if found.get("variant"):
        written["variant"] = found["variant"]
    return written


@contextmanager
def open_saved(saved: Path, scratch: Path) -> Iterator[tuple[dict[str, Any], list[tarfile.TarFile]]]:
    """The configuration and the opened layers of a ``docker save`` archive of one image.

    Raises:
        ImageError: it is none.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(saved, mode="r:"))
            listed = _json(archive, "manifest.json")
            if not isinstance(listed, list) or len(listed) != 1:
                raise ImageError(f"{saved} does not hold exactly one image")
            config = _json(archive, listed[0]["Config"])
            layers = []
            for number, name in enumerate(listed[0]["Layers"]):
                # Newer engines save layers compressed; a plain copy can be read at any place.
                stream = archive.extractfile(name)
                if stream is None:
                    raise ImageError(f"{saved}: {name} is no file")
                layers.append(stack.enter_context(_opened(stream, scratch / f"layer-{number}.tar")))
        except (KeyError, TypeError, OSError, ValueError, tarfile.TarError) as error:
            raise ImageError(f"{saved} is not what docker save writes", details=str(error)) from error
        yield config, layers


def _opened(stream: Any, copy: Path) -> tarfile.TarFile:
    start = stream.read(2)
    stream.seek(0)
    if start != GZIP_MAGIC:
        return tarfile.open(fileobj=stream, mode="r:")
    with gzip.open(stream) as plain, copy.open("wb") as target:
        while chunk := plain.read(1 << 20):
            target.write(chunk)
    return tarfile.open(copy, mode="r:")


def _json(archive: tarfile.TarFile, name: str) -> Any:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return json.loads(stream.read(LARGEST_JSON))


def load_archive(layout: Layout, manifest: Descriptor, reference: str) -> Iterator[bytes]:
    """The tar that ``docker load`` takes, of one image of the layout, called ``reference``.

    It names the very blobs of the layout, so that the image's id is the digest of its configuration.
    """
    document = layout.read_json(manifest.digest)
    blobs = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
    names = {digest: f"blobs/{digest.replace(':', '/')}" for digest in blobs}
    listed = [{"Config": names[blobs[0]], "RepoTags": [reference], "Layers": [names[digest] for digest in blobs[1:]]}]

    def entries() -> Iterator[tuple[tarfile.TarInfo, Content]]:
        for digest in blobs:
            path = layout.blob(digest)
            with path.open("rb") as stream:
                yield file_entry(names[digest], path.stat().st_size), stream
        content = json.dumps(listed).encode()
        yield file_entry("manifest.json", len(content)), content

    return tar_stream(entries())


def index_document(manifests: Iterable[Descriptor], annotations: Mapping[str, str]) -> dict[str, Any]:
    """An image index: one manifest per platform, in a fixed order (OCI image specification 1.1, "Image Index")."""
    ordered = sorted(manifests, key=lambda one: json.dumps(one.platform or {}, sort_keys=True))
    return {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [one.to_json() for one in ordered],
        "annotations": dict(sorted(annotations.items())),
    }
