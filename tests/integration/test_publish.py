"""Publishing to a real registry, and what a real client then finds there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine, stored_credentials
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.join import format_pushed, pushed
from musllinux_build.images.oci import INDEX, Layout, canonical
from musllinux_build.images.publish import plan_images, plan_publication, publish
from tests.fakes import ListProgress
from tests.integration.conftest import Tool
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


def test_two_machines_push_and_a_third_joins(registry: str, tool: Tool, tmp_path: Path) -> None:
    where = f"{registry}/joined"
    client = HttpRegistry(stored_credentials, plain=True)
    images = [an_image(tmp_path, arch) for arch in (Arch.X86_64, Arch.S390X)]
    files = []
    for image in images:
        publish(plan_images([image], where), client, ListProgress())
        files.append(tmp_path / f"{image.arch.value}.json")
        files[-1].write_text(format_pushed(pushed([image])))
    options = ["--plain-http", "--registry", where, "--tag", "t1", "--sign", "never", "--json"]
    half = tool("images", "join", *files, *options, "--dry-run")
    assert (half.status, client.manifest(f"{where}/musllinux_1_2", "t1")) == (0, None), half.everything
    joined = tool("images", "join", *files, *options)
    assert joined.status == 0, joined.everything
    index = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{where}/musllinux_1_2:t1")
    assert {one["digest"] for one in json.loads(index)["manifests"]} == {image.manifest.digest for image in images}
    named = json.loads(joined.out)
    assert named[f"{where}/musllinux_1_2"] == f"sha256:{hashlib.sha256(index).hexdigest()}"
    assert named[f"{where}/musllinux_1_2_s390x"] == images[1].manifest.digest
    assert "0 of " in tool("images", "join", *files, *options).err


@pytest.mark.usefixtures("images")
def test_published_images_are_pulled_by_their_index(
    registry: str, tool: Tool, docker: DockerEngine, tmp_path: Path
) -> None:
    where, layout, archs = f"{registry}/pulled", tmp_path / "layout", (Arch.X86_64, Arch.AARCH64)
    options = ["--plain-http", "--allow-unmeasured", "--policy", "musllinux_1_2"]
    options += [word for arch in archs for word in ("--arch", arch.value)]
    options += ["--registry", where, "--tag", "t1", "--layout", str(layout), "--sign", "never"]
    planned = tool("images", "publish", *options, "--dry-run")
    assert (planned.status, planned.out.count("tag t1")) == (0, 3), planned.everything
    sent = tool("images", "publish", *options)
    assert sent.status == 0, sent.everything
    manifests = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert len(manifests) == len(archs)
    configs = {
        arch: Layout(root=layout).read_json(one["digest"])["config"]["digest"]
        for arch in archs
        for one in manifests
        if one["platform"]["architecture"] == arch.row.oci_architecture
    }
    for arch in archs:
        for name in (f"{where}/musllinux_1_2:t1", f"{where}/musllinux_1_2_{arch.value}:t1"):
            try:
                pulled = docker.pull(name, arch.oci_platform)
                assert (pulled.id, pulled.arch, pulled.entrypoint) == (configs[arch], arch, ("manylinux-entrypoint",))
            finally:
                docker.remove_image(name)
    again = tool("images", "publish", *options, "-v")
    assert again.status == 0, again.everything
    assert (layout / "index.json").read_bytes() == canonical(
        {"manifests": manifests, "mediaType": INDEX, "schemaVersion": 2}
    )


def test_a_lock_with_unmeasured_values_is_not_published(tool: Tool) -> None:
    refused = tool("images", "publish", "--dry-run")
    assert refused.status == 2, refused.everything
    assert "nobody has measured" in refused.err


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
