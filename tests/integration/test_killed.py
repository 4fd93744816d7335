"""The tool, a container of its or its engine is killed at random times: the next run ends right, and nothing is left.

MUSLLINUX_KILLS=50 does so many rounds (3 by default, 50 at night), MUSLLINUX_KILLS_SEED another schedule. Engines are
killed at night only: that one is the test's own, and is given all that it needs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.builds.session import RUN_LABEL
from musllinux_build.cli.options import cache_directory
from musllinux_build.errors import EngineError
from musllinux_build.ports import LABEL
from tests.integration.conftest import BESIDE, Tool
from tests.integration.own_engine import OwnEngine, own_engine

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("docker", "images", "no_leftovers")]

SEED = int(os.environ.get("MUSLLINUX_KILLS_SEED", "14"))
ROUNDS = int(os.environ.get("MUSLLINUX_KILLS", "3"))
NIGHTLY, NIGHTLY_ENGINE = 50, 10
NATIVE, FOREIGN = "x86_64", "aarch64"
ENDING_SECONDS = 60
"""So long a tool may clean up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One round: what is killed, and at which part of the time that the build takes when nobody disturbs it."""

    number: int
    victim: str
    arch: str
    part: float
    choice: float

    def __str__(self) -> str:
        return f"{self.number}-{self.victim}-{self.arch}-{self.part:.3f}"


def schedule(seed: int, rounds: int) -> list[Kill]:
    """Every third kills the same kind of victim, so that a few rounds have all; the rest is chance."""
    chance = random.Random(seed)
    return [
        Kill(
            number=number,
            victim=("TERM", "KILL", "container")[number % 3],
            arch=chance.choice((NATIVE, NATIVE, FOREIGN)),
            part=chance.random(),
            choice=chance.random(),
        )
        for number in range(rounds)
    ]


KILLS = [
    pytest.param(kill, id=str(kill), marks=() if kill.number < ROUNDS else pytest.mark.nightly)
    for kill in schedule(SEED, max(ROUNDS, NIGHTLY))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """A build that ended by itself: how long it took, and its wheel by name and hash."""

    seconds: float
    wheel: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The same small project for every round; each has an output directory and a directory for temporary files.

    ``environment`` is what runs have besides ours.
    """

    source: Path
    tool: Tool
    place: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, arch: str, output: Path) -> list[str]:
        words = [str(self.source), "--python", "3.13", "--arch", arch, "--output", str(output)]
        return [str(BESIDE / "musllinux-build"), *words, "--rebuild", "--json"]

    def build(self, arch: str, output: Path, temporary: Path) -> Undisturbed:
        begin = time.monotonic()
        ran = self.tool(*self.command(arch, output)[1:], TMPDIR=str(temporary), **self.environment)
        seconds = time.monotonic() - begin
        assert ran.status == 0, ran.everything
        (row,) = json.loads(ran.out)["wheels"]
        path = Path(row["wheel"])
        assert path.parent == output
        assert row["proven"]
        return Undisturbed(seconds=seconds, wheel=path.name, sha256=row["sha256"])

    def warm(self, arch: str, name: str) -> Undisturbed:
        """The second build of an architecture, when images, volumes and environments are there."""
        first, second = (self.place / f"{name}-{arch}-{word}" for word in ("first", "second"))
        for place in (first, second):
            (place / "tmp").mkdir(parents=True)
        self.build(arch, first / "out", first / "tmp")
        return self.build(arch, second / "out", second / "tmp")

    @contextmanager
    def disturbed(self, arch: str, round_: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A build that does not outlive the block; what it says goes to a file."""
        environment = {**os.environ, "TMPDIR": str(round_ / "tmp"), **self.environment}
        with (round_ / "said").open("wb") as said:
            process = subprocess.Popen(
                self.command(arch, round_ / "out"), env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def bench(tool: Tool, sdist: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(source=sdist("markupsafe==3.0.3"), tool=tool, place=tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed(bench: Bench, images: Mapping[str, str]) -> Callable[[str], Undisturbed]:
    """What a build of an architecture is without us."""
    found: dict[str, Undisturbed] = {}

    def get(arch: str) -> Undisturbed:
        if arch not in found:
            found[arch] = bench.warm(arch, "here")
        return found[arch]

    return get


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a run must leave as it was: all of ours on the engine, and hidden names and runs in the cache."""

    containers: frozenset[str]
    volumes: frozenset[str]
    files: frozenset[str]

    @classmethod
    def of(cls, docker: DockerEngine) -> State:
        cache = cache_directory()
        return cls(
            containers=frozenset((*docker.containers(LABEL), *docker.containers(RUN_LABEL))),
            volumes=frozenset(docker.volumes(LABEL)),
            files=frozenset(str(path) for pattern in ("*/.*", "runs/*") for path in cache.glob(pattern)),
        )


@pytest.mark.parametrize("kill", KILLS)
def test_the_next_run_ends_right(
    kill: Kill, bench: Bench, undisturbed: Callable[[str], Undisturbed], docker: DockerEngine, tmp_path: Path
) -> None:
    wanted = undisturbed(kill.arch)
    output, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    before = State.of(docker)

    with bench.disturbed(kill.arch, tmp_path) as process:
        wait(process, kill.part * wanted.seconds)
        strike(kill, process, docker, before.containers)
        status = process.wait(ENDING_SECONDS + 2 * wanted.seconds)
    check_killed(kill, status, (tmp_path / "said").read_text(errors="replace"))
    # A file with the name of a wheel is a whole wheel, whatever was killed.
    assert visible(output) in ([], [wanted.wheel])
    if kill.victim != "KILL":  # who can clean up has done so
        assert State.of(docker) == before
        assert names(output) == visible(output)
        assert names(temporary) == []

    after = bench.build(kill.arch, output, temporary)
    assert (after.wheel, after.sha256) == (wanted.wheel, wanted.sha256)
    assert names(output) == [wanted.wheel]
    assert names(temporary) == []
    assert State.of(docker) == before


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def strike(kill: Kill, process: subprocess.Popen[bytes], docker: DockerEngine, before: frozenset[str]) -> None:
    """Kill the victim; a tool that has ended already is no victim any more."""
    if kill.victim != "container":
        process.send_signal(signal.SIGTERM if kill.victim == "TERM" else signal.SIGKILL)
        return
    while process.poll() is None:
        found = sorted(set(docker.containers(RUN_LABEL)) - before)
        if found:
            with suppress(EngineError):  # the tool may remove it at the same time
                docker.stop(found[int(kill.choice * len(found))])
            return
        time.sleep(0.05)


def check_killed(kill: Kill, status: int, said: str) -> None:
    """How the tool ends; a build that was over before, or did not need the container any more, ends well."""
    told = f"exit status {status}\n{said}"
    assert "Traceback" not in said, told
    if kill.victim == "TERM":
        # Before its handlers are there, and when it has nothing left to clean up, the signal itself ends it.
        assert status in (0, 143, -signal.SIGTERM), told
    elif kill.victim == "KILL":
        assert status in (0, -signal.SIGKILL), told
    else:
        assert status >= 0, told
        assert status != 70, told


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def visible(directory: Path) -> list[str]:
    return [name for name in names(directory) if not name.startswith(".")]


@pytest.fixture(scope="module")
def own(docker: DockerEngine, images: Mapping[str, str]) -> Iterator[OwnEngine]:
    """An engine that may be killed, with the image that wheels are built in."""
    with own_engine(docker) as engine:
        engine.up().load(docker.save(images[f"musllinux_1_2_{NATIVE}"]))
        yield engine


@pytest.fixture(scope="module")
def there(bench: Bench, own: OwnEngine) -> Bench:
    """The same on that engine."""
    return replace(bench, environment={"DOCKER_HOST": own.url})


@pytest.fixture(scope="module")
def undisturbed_there(there: Bench, undisturbed: Callable[[str], Undisturbed]) -> Undisturbed:
    """A build there; what it needs of an index is in the cache from one here."""
    expected = undisturbed(NATIVE)
    found = there.warm(NATIVE, "there")
    assert found.sha256 == expected.sha256
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(NIGHTLY_ENGINE))
def test_the_next_run_after_its_engine_was_killed_ends_right(
    number: int, there: Bench, own: OwnEngine, undisturbed_there: Undisturbed, tmp_path: Path
) -> None:
    chance, wanted = random.Random(f"{SEED}-{number}"), undisturbed_there
    output, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    before = State.of(own.up())

    with there.disturbed(NATIVE, tmp_path) as process:
        wait(process, chance.random() * wanted.seconds)
        own.end(chance.choice((signal.SIGKILL, signal.SIGTERM)))
        status = process.wait(ENDING_SECONDS + 2 * wanted.seconds)
    said = (tmp_path / "said").read_text(errors="replace")
    assert "Traceback" not in said, said
    assert 0 <= status != 70, said
    assert visible(output) in ([], [wanted.wheel])
    assert names(output) == visible(output)
    assert names(temporary) == []

    engine = own.up()
    after = there.build(NATIVE, output, temporary)
    assert (after.wheel, after.sha256) == (wanted.wheel, wanted.sha256)
    assert names(output) == [wanted.wheel]
    assert names(temporary) == []
    assert State.of(engine) == before
