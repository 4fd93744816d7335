"""Publishing: the order of its steps, what is left after a cut, and a registry that never holds half an index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.errors import RegistryError
from musllinux_build.images.oci import CONFIG, LAYER, MANIFEST, Layout
from musllinux_build.images.publish import ATTEMPTS, Attachment, Image, Kind, Step, plan_publication, publish
from musllinux_build.policy import Policy
from tests.fakes import FakeRegistry, ListProgress

SBOM = Attachment(media_type="application/vnd.cyclonedx+json", content=b'{"bom":1}', title="SBOM")
REGISTRY = "registry.example/ours"


def an_image(root: Path, arch: Arch, policy: Policy = Policy.MUSLLINUX_1_2) -> Image:
    layout = Layout(root=root / arch.value)
    config = layout.add_json({"architecture": arch.value}, CONFIG)
    layer = layout.add(f"layer of {arch.value}".encode(), LAYER)
    document = {"schemaVersion": 2, "config": config.to_json(), "layers": [layer.to_json()]}
    platform = {"os": "linux", "architecture": arch.row.oci_architecture}
    manifest = layout.add_json(document, MANIFEST, platform=platform)
    return Image(policy=policy, arch=arch, layout=layout, manifest=manifest, attachments=(SBOM,))


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Step, ...]:
    root = tmp_path_factory.mktemp("layouts")
    images = [an_image(root, arch) for arch in (Arch.S390X, Arch.X86_64)]
    return plan_publication(images, REGISTRY, ["2026.11.22-1", "latest"])


def test_tags_come_last_and_the_index_after_what_it_names(steps: tuple[Step, ...]) -> None:
    kinds = [step.kind for step in steps]
    assert kinds.index(Kind.TAG) > max(number for number, kind in enumerate(kinds) if kind is not Kind.TAG)
    index = next(
        number for number, step in enumerate(steps) if "index" in step.media_type and step.kind is Kind.MANIFEST
    )
    named = {one["digest"] for one in json.loads(steps[index].content())["manifests"]}
    assert len(named) == 2
    assert named <= {step.reference for step in steps[:index]}


def test_it_is_all_there_and_a_second_time_nothing_is_sent(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry()
    publish(steps, registry, ListProgress())
    index = json.loads(registry.manifests[f"{REGISTRY}/musllinux_1_2", "latest"])
    for one in index["manifests"]:
        assert (f"{REGISTRY}/musllinux_1_2", one["digest"]) in registry.manifests
    assert registry.manifests[f"{REGISTRY}/musllinux_1_2_s390x", "latest"]
    sent = registry.blobs.copy()
    publish(steps, registry, ListProgress())
    assert registry.blobs == sent
    assert len(registry.sent_blobs) == len(set(registry.sent_blobs))


@pytest.mark.parametrize("knows_referrers", [False, True])
def test_the_referrers_tag_is_written_only_where_it_is_needed(steps: tuple[Step, ...], knows_referrers: bool) -> None:
    registry = FakeRegistry(knows_referrers=knows_referrers)
    publish(steps, registry, ListProgress())
    tagged = [
        json.loads(found) for (_, reference), found in registry.manifests.items() if reference.startswith("sha256-")
    ]
    assert bool(tagged) is not knows_referrers
    for index in tagged:
        assert [one["artifactType"] for one in index["manifests"]] == [SBOM.media_type]


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(min_value=0, max_value=60), knows_referrers=st.booleans())
def test_whenever_it_is_cut_a_second_publication_ends_right(
    steps: tuple[Step, ...], cut: int, knows_referrers: bool
) -> None:
    whole = FakeRegistry(knows_referrers=knows_referrers)
    publish(steps, whole, ListProgress())
    registry = FakeRegistry(knows_referrers=knows_referrers, dies_after=cut)
    try:
        publish(steps, registry, ListProgress())
    except RegistryError:
        registry.check_no_dangling_index()
    registry.dies_after = None
    publish(steps, registry, ListProgress())
    assert (registry.blobs, registry.manifests) == (whole.blobs, whole.manifests)


def test_what_is_transient_is_tried_again_and_what_is_not_is_told(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry(failures=[True] * (ATTEMPTS - 1))
    progress = ListProgress()
    publish(steps, registry, progress)
    assert len(registry.waits) == ATTEMPTS - 1
    with pytest.raises(RegistryError):
        publish(steps, FakeRegistry(failures=[True] * ATTEMPTS), progress)
    refused = FakeRegistry(failures=[False])
    with pytest.raises(RegistryError):
        publish(steps, refused, progress)
    assert refused.waits == []


def test_a_newer_document_of_one_kind_replaces_the_older(tmp_path: Path) -> None:
    registry = FakeRegistry(knows_referrers=False)
    image = an_image(tmp_path, Arch.X86_64)
    publish(plan_publication([image], REGISTRY, []), registry, ListProgress())
    newer = Attachment(media_type=SBOM.media_type, content=b'{"bom":2}', title="SBOM")
    again = Image(
        policy=image.policy, arch=image.arch, layout=image.layout, manifest=image.manifest, attachments=(newer,)
    )
    publish(plan_publication([again], REGISTRY, []), registry, ListProgress())
    index = json.loads(registry.manifests[f"{REGISTRY}/musllinux_1_2", image.manifest.digest.replace(":", "-")])
    assert len(index["manifests"]) == 1
