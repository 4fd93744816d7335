"""What is published is signed before a tag names it, by whatever signs; cosign is called in one way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from musllinux_build.adapters.cosign import Cosign
from musllinux_build.arch import Arch
from musllinux_build.cli.signing import ALWAYS, AUTO, NEVER, chosen_signer
from musllinux_build.errors import RegistryError, UsageError
from musllinux_build.images.publish import BUNDLE, Kind, Step, plan_publication, publish
from tests.fakes import FakeRegistry, ListProgress
from tests.unit.test_images_publish import REGISTRY, an_image

REFERENCE = f"{REGISTRY}/x@sha256:0"


@pytest.fixture
def steps(tmp_path: Path) -> tuple[Step, ...]:
    images = [an_image(tmp_path, arch) for arch in (Arch.S390X, Arch.X86_64)]
    return plan_publication(images, REGISTRY, ["latest"])


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, first in PATH, that notes how it is called."""
    directory, record = tmp_path / "bin", tmp_path / "record"
    directory.mkdir()
    program = directory / "cosign"
    program.write_text(f'#!/bin/sh\necho "$@" >>{record}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return record


class Signer:
    """Signs as cosign does: with a manifest under a tag of its own."""

    def __init__(self, registry: FakeRegistry, failures: int = 0) -> None:
        self.registry, self.failures = registry, failures
        self.signed: list[str] = []

    def __call__(self, reference: str) -> None:
        if self.failures:
            self.failures -= 1
            raise RegistryError("no", transient=True)
        repository, _, digest = reference.partition("@")
        assert (repository, digest) in self.registry.manifests
        assert (repository, "latest") not in self.registry.manifests
        self.signed.append(reference)
        self.registry.manifests[repository, f"{digest.replace(':', '-')}.sig"] = b"{}"


def test_images_and_indexes_are_signed_before_tags_and_once(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry()
    signer = Signer(registry, failures=1)
    publish(steps, registry, ListProgress(), signer)
    # Two images in two repositories each, and an index.
    assert len(signer.signed) == len(set(signer.signed)) == 5
    assert {reference.partition("@")[0].rpartition("/")[2] for reference in signer.signed} == {
        "musllinux_1_2",
        "musllinux_1_2_s390x",
        "musllinux_1_2_x86_64",
    }
    again = Signer(registry)
    publish(steps, registry, ListProgress(), again)
    assert again.signed == []


def test_what_a_failed_signature_leaves_is_signed_next_time_and_has_no_tag(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry()
    with pytest.raises(RegistryError):
        publish(steps, registry, ListProgress(), Signer(registry, failures=99))
    assert not [reference for _, reference in registry.manifests if reference == "latest"]
    signer = Signer(registry)
    publish(steps, registry, ListProgress(), signer)
    assert len(signer.signed) == 5
    assert (f"{REGISTRY}/musllinux_1_2", "latest") in registry.manifests


def test_what_is_pushed_by_digest_only_is_signed_too(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry()
    signer = Signer(registry)
    publish([step for step in steps if step.kind is not Kind.TAG], registry, ListProgress(), signer)
    assert len(signer.signed) == 5


def test_a_signature_among_the_referrers_counts(steps: tuple[Step, ...]) -> None:
    registry = FakeRegistry()
    listed = f'{{"manifests":[{{"artifactType":"{BUNDLE}.v0.3+json"}}]}}'.encode()
    for step in steps:
        if step.signed:
            registry.manifests[step.repository, step.reference.replace(":", "-")] = listed
    signer = Signer(registry)
    publish(steps, registry, ListProgress(), signer)
    assert signer.signed == []


def options(sign: str, key: str = "", *, plain_http: bool = False) -> dict[str, object]:
    return {"sign": sign, "sign_key": key, "plain_http": plain_http}


@pytest.mark.parametrize(
    ("given", "environment", "called"),
    [
        (options(ALWAYS), {}, "sign --yes"),
        (options(AUTO), {"SIGSTORE_ID_TOKEN": "x"}, "sign --yes"),
        (options(AUTO, "k.key", plain_http=True), {}, "sign --yes --key k.key --allow-http-registry"),
    ],
)
def test_cosign_is_called(cosign: Path, given: dict[str, object], environment: Mapping[str, str], called: str) -> None:
    sign = chosen_signer(given, environment, ListProgress())
    assert sign is not None
    sign(REFERENCE)
    assert cosign.read_text() == f"{called} {REFERENCE}\n"


@pytest.mark.usefixtures("cosign")
def test_nobody_is_asked_in_a_browser() -> None:
    progress = ListProgress()
    assert chosen_signer(options(AUTO), {}, progress) is None
    assert progress.lines == ["not signed: neither --sign-key nor the identity of a CI job"]
    assert chosen_signer(options(NEVER, "k"), {}, progress) is None


def test_without_cosign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    progress = ListProgress()
    assert chosen_signer(options(AUTO), {"SIGSTORE_ID_TOKEN": "x"}, progress) is None
    assert progress.lines == ["not signed: cosign is not installed"]
    for given in (options(ALWAYS), options(AUTO, "k")):
        with pytest.raises(UsageError, match="cosign is not installed, and images are to be signed"):
            chosen_signer(given, {}, progress)


def test_a_cosign_that_fails(tmp_path: Path) -> None:
    program = tmp_path / "cosign"
    program.write_text("#!/bin/sh\necho no key >&2; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(RegistryError, match="cosign does not sign") as caught:
        Cosign(program=str(program)).sign(REFERENCE)
    assert "no key" in caught.value.details
