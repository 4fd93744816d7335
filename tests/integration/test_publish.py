"""Publishing to a real registry, and what a real client then finds there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import stored_credentials
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.publish import plan_publication, publish
from tests.fakes import ListProgress
from tests.lab.commands import run
from tests.lab.registry import ensure_program, serving
from tests.unit.test_images_publish import SBOM, an_image

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("registry")) as address:
        yield address


def skopeo(*arguments: str) -> bytes:
    return run([ensure_program("skopeo"), *arguments])


def test_an_index_and_its_images_arrive_as_they_were(registry: str, tmp_path: Path) -> None:
    images = [an_image(tmp_path, arch) for arch in (Arch.X86_64, Arch.AARCH64)]
    steps = plan_publication(images, f"{registry}/ours", ["2026.11.22-1", "latest"])
    client = HttpRegistry(stored_credentials, plain=True)
    changed = publish(steps, client, ListProgress())
    assert changed
    assert publish(steps, client, ListProgress()) < changed
    for tag in ("2026.11.22-1", "latest"):
        index = json.loads(
            skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry}/ours/musllinux_1_2:{tag}")
        )
        assert {one["digest"] for one in index["manifests"]} == {image.manifest.digest for image in images}
    for image in images:
        copy = tmp_path / f"copy-{image.arch.value}"
        source = f"docker://{registry}/ours/musllinux_1_2@{image.manifest.digest}"
        skopeo("copy", "--src-tls-verify=false", source, f"dir:{copy}")
        assert (copy / "manifest.json").read_bytes() == image.layout.blob(image.manifest.digest).read_bytes()
        tag = image.manifest.digest.replace(":", "-")
        fallback = json.loads(client.manifest(f"{registry}/ours/musllinux_1_2", tag) or b"{}")
        (about,) = fallback["manifests"]
        described = json.loads(client.manifest(f"{registry}/ours/musllinux_1_2", about["digest"]) or b"{}")
        assert described["subject"]["digest"] == image.manifest.digest
        assert described["layers"][0]["mediaType"] == SBOM.media_type


def test_what_a_registry_refuses_is_told_and_not_tried_again(registry: str, tmp_path: Path) -> None:
    client = HttpRegistry(stored_credentials, plain=True)
    image = an_image(tmp_path, Arch.X86_64)
    content = image.layout.blob(image.manifest.digest).read_bytes()
    # Its blobs are not there.
    with pytest.raises(RegistryError, match="answered 40") as caught:
        client.put_manifest(f"{registry}/ours/x", "latest", content, image.manifest.media_type)
    assert not caught.value.transient
    assert client.manifest(f"{registry}/ours/x", "latest") is None


def test_a_registry_that_is_not_there_is_told() -> None:
    with pytest.raises(RegistryError, match="does not answer") as caught:
        HttpRegistry(stored_credentials, plain=True).has_blob("127.0.0.1:1/x", "sha256:0")
    assert caught.value.transient
