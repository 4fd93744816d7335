"""Publishing that is cut short, by a kill or by a registry that dies: no tag lies, and a second time ends right.

And what is published is pulled by its index on each platform, from every registry, with the digests that were sent.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine, stored_credentials
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.bases import ensure_base
from musllinux_build.images.oci import CONFIG, LAYER, MANIFEST, Layout
from musllinux_build.images.publish import Image, Step, plan_publication, publish
from musllinux_build.images.recipe import lock_digest
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec
from musllinux_build.tarstream import tar_of
from tests.fakes import ListProgress
from tests.integration.conftest import Tool
from tests.lab.registry import serving, started
from tests.unit.test_images_publish import SBOM

pytestmark = pytest.mark.engine

KILLS = 8
LAYERS, LAYER_BYTES = 6, 400_000
TAGS = ["2026.11.22-1", "latest"]
ARCHS = (Arch.X86_64, Arch.AARCH64)
PUBLISHER = """
import sys
from pathlib import Path
from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.images.publish import publish
from tests.fakes import ListProgress
from tests.integration.test_publish_cut import planned
publish(planned(Path(sys.argv[1]), sys.argv[2]), HttpRegistry(lambda _: None, plain=True), ListProgress())
"""


def planned(root: Path, registry: str) -> tuple[Step, ...]:
    """The publication of two images of some layers; the same for the same arguments."""
    images = []
    for arch in ARCHS:
        layout = Layout(root=root / arch.value)
        dice = random.Random(arch.value)
        config = layout.add_json({"architecture": arch.row.oci_architecture, "os": "linux"}, CONFIG)
        layers = [layout.add(dice.randbytes(LAYER_BYTES), LAYER) for _ in range(LAYERS)]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        platform = {"os": "linux", "architecture": arch.row.oci_architecture}
        manifest = layout.add_json(document, MANIFEST, platform=platform)
        images.append(
            Image(policy=Policy.MUSLLINUX_1_2, arch=arch, layout=layout, manifest=manifest, attachments=(SBOM,))
        )
    return plan_publication(images, registry, TAGS)


def check_tags(client: HttpRegistry, registry: str) -> int:
    """Whatever a tag names is there as a whole; how many tags there are."""
    found = 0
    names = ("musllinux_1_2", *(f"musllinux_1_2_{arch.value}" for arch in ARCHS))
    for repository in (f"{registry}/{name}" for name in names):
        for tag in TAGS:
            content = client.manifest(repository, tag)
            if content is None:
                continue
            found += 1
            waiting = [json.loads(content)]
            while waiting:
                document = waiting.pop()
                for one in document.get("manifests", []):
                    inner = client.manifest(repository, one["digest"])
                    assert inner is not None, f"{repository}:{tag} names {one['digest']}"
                    waiting.append(json.loads(inner))
                for blob in (document["config"], *document["layers"]) if "config" in document else ():
                    assert client.has_blob(repository, blob["digest"]), f"{repository}:{tag} lacks {blob['digest']}"
    return found


def content_of(steps: tuple[Step, ...], client: HttpRegistry) -> dict[tuple[str, str], bytes | None]:
    """What the registry has under every name that the steps give."""
    named = {
        (step.repository, step.reference)
        for step in steps
        if "manifest" in step.media_type or "index" in step.media_type
    }
    return {name: client.manifest(*name) for name in named}


def test_a_publisher_that_is_killed_anywhere(tmp_path: Path) -> None:
    client = HttpRegistry(stored_credentials, plain=True)
    layouts = tmp_path / "layouts"
    dice = random.Random(1)
    with serving(tmp_path) as address:
        steps = planned(layouts, f"{address}/whole")
        began = time.monotonic()
        run_publisher(layouts, f"{address}/timed").wait()
        whole = time.monotonic() - began
        publish(steps, client, ListProgress())
        assert check_tags(client, f"{address}/whole") == 6
        cut = 0
        for number in range(KILLS):
            registry = f"{address}/cut{number}"
            process = run_publisher(layouts, registry)
            time.sleep(dice.uniform(0.2, 1.0) * whole)
            process.kill()
            cut += process.wait() != 0
            check_tags(client, registry)
            publish(planned(layouts, registry), client, ListProgress())
            assert check_tags(client, registry) == 6
            names = {
                (name.replace("/whole/", f"/cut{number}/"), reference): content
                for (name, reference), content in content_of(steps, client).items()
            }
            assert content_of(planned(layouts, registry), client) == names
        assert cut


def run_publisher(layouts: Path, registry: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, str(layouts), registry], cwd=root, env=env)


class Impatient(HttpRegistry):
    """Does not wait between attempts, and stops the registry at one of its requests."""

    def __init__(self, dies_at: int, kill: subprocess.Popen[bytes] | None = None) -> None:
        super().__init__(stored_credentials, plain=True)
        self.left = dies_at
        self.kill = kill

    def wait(self, attempt: int) -> None:
        """At once."""

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        self._count()
        super().put_blob(repository, digest, content)

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        self._count()
        return super().put_manifest(repository, reference, content, media_type)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0 and self.kill is not None:
            self.kill.kill()
            self.kill.wait()


@pytest.mark.parametrize("dies_at", [1, 9, 17, 30, 41])
def test_a_registry_that_dies(tmp_path: Path, dies_at: int) -> None:
    layouts = tmp_path / "layouts"
    with started(tmp_path) as (address, server):
        client, steps = Impatient(dies_at, kill=server), planned(layouts, f"{address}/ours")
        with pytest.raises(RegistryError, match="does not answer"):
            publish(steps, client, ListProgress())
    with serving(tmp_path) as address:
        client = Impatient(0)
        check_tags(client, f"{address}/ours")
        publish(planned(layouts, f"{address}/ours"), client, ListProgress())
        assert check_tags(client, f"{address}/ours") == 6


BUILT_AS = "publish-test.example"


@pytest.fixture(scope="module")
def built(docker: DockerEngine, offline: Path | None) -> Iterator[str]:
    """A small image for each platform that says it was built from the lock; what they are called after."""
    supplies = Supplies.chosen(offline=offline)
    names = []
    for arch in ARCHS:
        base = ensure_base(docker, Policy.MUSLLINUX_1_2.row.base, arch, supplies, ListProgress())
        dockerfile = f'FROM {base}\nRUN echo {arch.value} >/word\nENTRYPOINT ["/bin/cat"]\n'.encode()
        labels = {LABEL: "image", f"{LABEL.rpartition('.')[0]}.lock": lock_digest(supplies.lock)}
        name = f"{BUILT_AS}/musllinux_1_2_{arch.value}"
        spec = BuildSpec(
            context=[tar_of({"Dockerfile": dockerfile})], tag=name, platform=arch.oci_platform, labels=labels
        )
        docker.build(spec, lambda _: None)
        names.append(name)
    yield BUILT_AS
    for name in names:
        docker.remove_image(name)


def test_an_index_of_two_platforms_from_two_registries(
    docker: DockerEngine, tool: Tool, built: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "a") as first, serving(tmp_path / "b") as second:
        options = [
            "--plain-http",
            "--allow-unmeasured",
            "--policy",
            "musllinux_1_2",
            "--built-as",
            built,
            "--tag",
            "t1",
        ]
        options += [word for arch in ARCHS for word in ("--arch", arch.value)]
        options += ["--registry", f"{first}/one", "--registry", f"{second}/two", "--sign", "never"]
        options += ["--layout", str(tmp_path / "layout")]
        sent = tool("images", "publish", *options)
        assert sent.status == 0, sent.everything
        layout = Layout(root=tmp_path / "layout")
        sent_manifests = json.loads((tmp_path / "layout" / "index.json").read_bytes())["manifests"]
        configs = {layout.read_json(one["digest"])["config"]["digest"] for one in sent_manifests}
        client = HttpRegistry(stored_credentials, plain=True)
        for where in (f"{first}/one", f"{second}/two"):
            index = json.loads(client.manifest(f"{where}/musllinux_1_2", "t1") or b"{}")
            assert {one["digest"] for one in index["manifests"]} == {one["digest"] for one in sent_manifests}
            pulled = {pull_and_run(docker, f"{where}/musllinux_1_2:t1", arch) for arch in ARCHS}
            assert pulled == configs
        again = tool("images", "publish", *options)
        assert again.status == 0, again.everything
        assert sent.out == again.out


def pull_and_run(docker: DockerEngine, reference: str, arch: Arch) -> str:
    """The id of the image that an index has for a platform, after a command in it showed that it is that platform's."""
    try:
        found = docker.pull(reference, arch.oci_platform)
        assert found.arch is arch
        container = docker.create(ContainerSpec(image=reference, platform=arch.oci_platform, purpose="publish-test"))
        try:
            said = bytearray()
            assert docker.run(container, ["/bin/sh", "-c", "cat /word; uname -m"], on_output=said.extend) == 0
            assert said.decode().split() == [arch.value, arch.value]
        finally:
            docker.remove(container)
        return found.id
    finally:
        docker.remove_image(reference)
