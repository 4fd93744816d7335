"""Building on a real engine: several at once, an end that leaves nothing, and all of it from a mirrored directory."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine, connect
from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError
from musllinux_build.images.bases import ensure_base
from musllinux_build.images.cleaning import remove_stages
from musllinux_build.images.foundry import Foundry, Job, State
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from musllinux_build.ports import LABEL, BuildSpec
from musllinux_build.tarstream import tar_of
from tests.fakes import ListProgress
from tests.integration.conftest import BESIDE, Tool
from tests.lab.commands import run

pytestmark = pytest.mark.engine

PLATFORM = Arch.X86_64.oci_platform
GONE_SECONDS = 20


@pytest.fixture
def base(docker: DockerEngine, offline: Path | None) -> str:
    supplies = Supplies.chosen(offline=offline)
    return ensure_base(docker, Policy.MUSLLINUX_1_2.row.base, Arch.X86_64, supplies, ListProgress())


@pytest.fixture
def names(docker: DockerEngine) -> Iterator[list[str]]:
    """Names of images that are removed at the end."""
    made: list[str] = []
    yield made
    for name in made:
        docker.remove_image(name)


def spec(base: str, name: str, command: str) -> BuildSpec:
    dockerfile = f"FROM {base}\nRUN {command}\n".encode()
    labels = {LABEL: "stage"}
    return BuildSpec(context=[tar_of({"Dockerfile": dockerfile})], tag=name, platform=PLATFORM, labels=labels)


def test_several_are_built_at_once_by_one_client(docker: DockerEngine, base: str, names: list[str]) -> None:
    word = uuid.uuid4().hex
    first = f"musllinux-build/test:{word}-first"
    others = [f"musllinux-build/test:{word}-{number}" for number in range(3)]
    names += [*others, first]
    jobs = [Job(key=first, title=""), *(Job(key=name, title="", needs=(first,)) for name in others)]
    at_once: list[int] = []
    inside: set[str] = set()

    def make(job: Job) -> None:
        inside.add(job.key)
        at_once.append(len(inside))
        docker.build(spec(first if job.needs else base, job.key, f"sleep 1; echo {job.key} >/word"), lambda _: None)
        inside.remove(job.key)

    entries = Foundry(make=make, abandon=docker.abandon_builds, limit=3).run(jobs)
    assert {entry.state for entry in entries.values()} == {State.BUILT}
    assert max(at_once) > 1
    built = [info for name in (first, *others) if (info := docker.image(name)) is not None]
    assert len({info.id for info in built}) == 4
    assert all(entries[first].ended <= entries[name].started for name in others)
    # What others are made from goes after them.
    assert len(remove_stages(docker, built)) == 4


def test_an_abandoned_build_leaves_no_container_and_no_image(base: str, docker: DockerEngine) -> None:
    ours, name, marker = connect(), f"musllinux-build/test:{uuid.uuid4().hex}", str(uuid.uuid4().int)
    running, errors = threading.Event(), list[EngineError]()

    def tell(line: str) -> None:
        if "Running in" in line:
            running.set()

    def build() -> None:
        try:
            ours.build(spec(base, name, f"sleep 300 # {marker}"), tell)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    assert running.wait(60)
    ours.abandon_builds()
    thread.join(20)
    assert not thread.is_alive()
    assert "nothing is built any more" in errors[0].brief
    with pytest.raises(EngineError, match="nothing is built any more"):
        ours.build(spec(base, name, "true"), tell)
    assert docker.image(name) is None
    deadline = time.monotonic() + GONE_SECONDS
    while (left := containers_with(marker)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def containers_with(marker: str) -> list[str]:
    listed = run(["docker", "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}"]).decode()
    return [line for line in listed.splitlines() if marker in line]


@pytest.mark.slow
def test_an_image_from_a_mirrored_directory_without_a_network(
    tool: Tool, offline: Path | None, tmp_path: Path, docker: DockerEngine
) -> None:
    if offline is None:
        pytest.fail("an offline directory is mirrored: run `make test`, which makes one")
    directory, chosen = tmp_path / "mirror", ["--policy", "musllinux_1_2", "--arch", "x86_64", "--python", "3.13"]
    first = tool("images", "mirror", directory, "--from", offline, *chosen)
    assert first.status == 0, first.everything
    again = tool("images", "mirror", directory, "--from", offline, *chosen)
    assert again.status == 0, again.everything
    assert "0 files added" in again.err
    build = ["images", "build", "--offline", str(directory), *chosen, "--registry", "mirrored.example", "--json"]
    # A namespace of its own has no interface that is up; the engine is a socket.
    alone = [shutil.which("unshare") or "unshare", "--net", str(BESIDE / "musllinux-build")]
    built = tool(*alone[1:], *build, program=Path(alone[0]), MUSLLINUX_BUILD_OFFLINE="")
    try:
        assert built.status == 0, built.everything
        found = docker.image("mirrored.example/musllinux_1_2_x86_64")
        assert found is not None
        assert found.arch is Arch.X86_64
    finally:
        docker.remove_image("mirrored.example/musllinux_1_2_x86_64")
