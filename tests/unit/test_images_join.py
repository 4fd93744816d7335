"""Images pushed by digest from several machines become the index that one machine would have made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from musllinux_build.arch import Arch
from musllinux_build.cli.join import join_command
from musllinux_build.errors import RegistryError, UsageError
from musllinux_build.images.join import Pushed, format_pushed, parse_pushed, plan_join, pushed, references
from musllinux_build.images.oci import CONFIG, LAYER, MANIFEST, Layout
from musllinux_build.images.publish import Image, Kind, default_tags, plan_images, plan_publication, publish
from musllinux_build.images.reference import Variant
from musllinux_build.policy import Policy
from tests.fakes import FakeRegistry, ListProgress

REGISTRY = "registry.example/ours"
TAGS = ["2026.11.22-1", "latest"]


def an_image(root: Path, arch: Arch, policy: Policy = Policy.MUSLLINUX_1_2, layer: str = "") -> Image:
    layout = Layout(root=root / f"{policy.value}-{arch.value}")
    config = layout.add_json({"architecture": arch.value}, CONFIG)
    blob = layout.add(f"layer of {policy.value} {arch.value}{layer}".encode(), LAYER)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_json(), "layers": [blob.to_json()]}
    _, architecture, *variant = arch.oci_platform.split("/")
    platform = {"os": "linux", "architecture": architecture} | ({"variant": variant[0]} if variant else {})
    return Image(
        policy=policy, arch=arch, layout=layout, manifest=layout.add_json(document, MANIFEST, platform=platform)
    )


@pytest.fixture
def images(tmp_path: Path) -> list[Image]:
    wanted = [
        (Policy.MUSLLINUX_1_2, Arch.ARMV7L),
        (Policy.MUSLLINUX_1_2, Arch.X86_64),
        (Policy.MUSLLINUX_1_1, Arch.X86_64),
    ]
    return [an_image(tmp_path, arch, policy) for policy, arch in wanted]


def test_by_digest_there_is_no_index_and_no_tag(images: list[Image]) -> None:
    steps = plan_images(images, REGISTRY)
    assert Kind.TAG not in {step.kind for step in steps}
    assert not [step for step in steps if "index" in step.media_type]


def test_joined_is_what_one_machine_publishes(images: list[Image]) -> None:
    whole = FakeRegistry()
    publish(plan_publication(images, REGISTRY, TAGS), whole, ListProgress())
    joined = FakeRegistry()
    notes = []
    for image in images:
        publish(plan_images([image], REGISTRY), joined, ListProgress())
        notes.append(format_pushed(pushed([image])))
    found = [one for text in reversed(notes) for one in parse_pushed(text, "note")]
    steps = plan_join(found, joined, REGISTRY, TAGS)
    signed: list[str] = []
    publish(steps, joined, ListProgress(), signed.append)
    assert len(signed) == len(set(signed)) == 2 * len(images) + 2
    assert (joined.blobs, joined.manifests) == (whole.blobs, whole.manifests)
    index = json.loads(joined.manifests[f"{REGISTRY}/musllinux_1_2", "latest"])
    assert {one["platform"].get("variant") for one in index["manifests"]} == {None, "v7"}
    named = references(steps)
    assert set(named) == {
        f"{REGISTRY}/{name}"
        for name in (
            "musllinux_1_1",
            "musllinux_1_1_x86_64",
            "musllinux_1_2",
            "musllinux_1_2_armv7l",
            "musllinux_1_2_x86_64",
        )
    }
    assert all((repository, digest) in joined.manifests for repository, digest in named.items())


def test_what_the_registry_lacks_moves_no_tag(images: list[Image]) -> None:
    with pytest.raises(RegistryError, match="has no sha256:"):
        plan_join(pushed(images), FakeRegistry(), REGISTRY, TAGS)


def test_other_bytes_under_a_digest(images: list[Image]) -> None:
    registry = FakeRegistry()
    publish(plan_images(images, REGISTRY), registry, ListProgress())
    registry.manifests[f"{REGISTRY}/musllinux_1_2_x86_64", images[1].manifest.digest] = b"{}"
    with pytest.raises(RegistryError, match="other bytes"):
        plan_join(pushed(images), registry, REGISTRY, TAGS)


def test_two_images_for_one_platform(tmp_path: Path) -> None:
    one, other = (an_image(tmp_path, Arch.X86_64, layer=word) for word in ("", " again"))
    registry = FakeRegistry()
    publish(plan_images([one, other], REGISTRY), registry, ListProgress())
    assert plan_join(pushed([one, one]), registry, REGISTRY, TAGS)
    with pytest.raises(UsageError, match="two images are for musllinux_1_2_x86_64"):
        plan_join(pushed([one, other]), registry, REGISTRY, TAGS)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "images": []}', '{"version": 1, "images": [{"policy": "musllinux_9"}]}']
)
def test_files_that_say_something_else(text: str) -> None:
    with pytest.raises(UsageError):
        parse_pushed(text, "note.json")


def test_a_note_is_read_as_it_was_written() -> None:
    noted = [Pushed(policy=Policy.MUSLLINUX_1_1, arch=Arch.S390X, digest="sha256:0", variant=Variant.SLIM)]
    assert parse_pushed(format_pushed(noted), "note.json") == noted


def test_variants_do_not_share_tags() -> None:
    assert default_tags(0) == ("1970.01.01-1", "latest")
    assert default_tags(0, Variant.SLIM) == ("1970.01.01-1-slim", "latest-slim")


def test_one_variant_at_a_time(tmp_path: Path) -> None:
    for variant in Variant:
        one = Pushed(policy=Policy.MUSLLINUX_1_2, arch=Arch.S390X, digest="sha256:0", variant=variant)
        (tmp_path / variant.value).write_text(format_pushed([one]))
    found = CliRunner().invoke(join_command, [str(tmp_path / variant.value) for variant in Variant])
    assert isinstance(found.exception, UsageError)
    assert "one variant" in found.exception.brief
