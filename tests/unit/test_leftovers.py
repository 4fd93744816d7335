"""What a run that was killed has left, and who removes it: on an engine in memory, with killed processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.leftovers import RUNS, accounted
from musllinux_build.builds.session import RUN_LABEL, Session
from musllinux_build.errors import EngineError
from musllinux_build.ports import ContainerSpec
from musllinux_build.staging import STAGING, claimed, remove_abandoned, taken_over
from tests.fakes import FakeEngine, ListProgress

SPEC = ContainerSpec(image="stock:fake", platform=Arch.X86_64.oci_platform, purpose="test")
HERE = "unix:///here.sock"
ROOT = Path(__file__).parents[2]


class Engine(FakeEngine):
    """One that may be gone."""

    def __init__(self) -> None:
        super().__init__()
        self.add_image("stock:fake", Arch.X86_64)
        self.gone = False

    def containers(self, label: str) -> Sequence[str]:
        self._answer()
        return super().containers(label)

    def remove(self, container: str) -> None:
        self._answer()
        super().remove(container)

    def _answer(self) -> None:
        if self.gone:
            raise EngineError("the engine is gone")


@pytest.fixture
def engine() -> Engine:
    return Engine()


class Machine:
    """Runs of the tool on one machine."""

    def __init__(self, engine: Engine, tmp_path: Path) -> None:
        self.engine, self.cache, self.output = engine, tmp_path / "cache", tmp_path / "out"
        self.progress = ListProgress()

    @contextmanager
    def run(self, address: str = HERE) -> Iterator[Session]:
        session = Session(self.engine, self.progress)
        left = accounted(session, engine=address, cache=self.cache, output=self.output)
        with left, closing(session):
            yield session

    def killed(self, address: str = HERE) -> str:
        """The container of a run that was killed."""
        session = Session(self.engine, ListProgress())
        word = self.cache / RUNS / f"run-{session.run}"
        word.mkdir(parents=True)
        told = {"run": session.run, "engine": address, "output": str(self.output)}
        (word / "run.json").write_text(json.dumps(told))
        return self.engine.create(replace(SPEC, labels={RUN_LABEL: session.run}))

    @property
    def words(self) -> list[str]:
        return [path.name for path in (self.cache / RUNS).iterdir()]


@pytest.fixture
def machine(engine: Engine, tmp_path: Path) -> Machine:
    return Machine(engine, tmp_path)


def test_a_run_that_ends_leaves_no_word(machine: Machine) -> None:
    with machine.run() as session, session.container(SPEC):
        (name,) = machine.words
        word = json.loads((machine.cache / RUNS / name / "run.json").read_text())
        assert word == {"run": session.run, "engine": HERE, "output": str(machine.output)}
    assert machine.words == []
    assert machine.progress.lines == []


def test_containers_of_a_killed_run_are_removed_and_those_of_one_that_goes_on_are_not(machine: Machine) -> None:
    with machine.run() as alive, alive.container(SPEC) as kept:
        machine.killed()
        with machine.run():
            assert list(machine.engine.boxes) == [kept]
        assert len(machine.words) == 1
    assert machine.progress.lines == ["1 containers of a run that was killed are removed"]


def test_a_container_that_the_engine_makes_after_the_death_of_who_wanted_it_is_removed_at_the_end(
    machine: Machine,
) -> None:
    first = machine.killed()
    run = machine.engine.boxes[first].spec.labels[RUN_LABEL]
    with machine.run():
        machine.engine.create(replace(SPEC, labels={RUN_LABEL: run}))
    assert not machine.engine.boxes
    assert machine.words == []


def test_another_engine_is_another_matter(machine: Machine) -> None:
    other = machine.killed("tcp://there:2376")
    with machine.run():
        pass
    assert list(machine.engine.boxes) == [other]
    assert len(machine.words) == 1
    with machine.run("tcp://there:2376"):
        assert not machine.engine.boxes
    assert machine.words == []


def test_an_engine_that_is_killed_is_cleaned_when_it_is_back(machine: Machine) -> None:
    with machine.run() as session:
        stray = machine.engine.create(replace(SPEC, labels={RUN_LABEL: session.run}))
        machine.engine.gone = True
    assert len(machine.words) == 1
    with machine.run():
        pass
    assert "containers of a run that was killed are left: the engine is gone" in machine.progress.lines
    assert list(machine.engine.boxes) == [stray]
    machine.engine.gone = False
    with machine.run():
        pass
    assert not machine.engine.boxes
    assert machine.words == []


def test_a_run_killed_before_it_said_anything_had_nothing(machine: Machine) -> None:
    for number, text in enumerate(("", "[]", "{}")):
        word = machine.cache / RUNS / f"run-{number}"
        word.mkdir(parents=True)
        (word / "run.json").write_text(text)
    (machine.cache / RUNS / "run-none").mkdir()
    with machine.run():
        pass
    assert machine.words == []


def test_files_that_were_begun_go_with_their_run(machine: Machine, tmp_path: Path) -> None:
    container = machine.killed()
    run = machine.engine.boxes[container].spec.labels[RUN_LABEL]
    places = [machine.output, machine.cache / "wheels", machine.cache / "downloads", machine.cache / "environments"]
    for place in places:
        (place / f"{STAGING}left").mkdir(parents=True)
        (place / f"{STAGING}left" / "half.whl").touch()
        (place / "whole.whl").touch()
    begun = machine.cache / "environments" / ".0123.tar"
    for suffix in (run, "another"):
        begun.with_name(f"{begun.name}.{suffix}").touch()
    machine.output, old = tmp_path / "elsewhere", machine.output
    with machine.run():
        pass
    assert [path.name for place in places[:3] for path in place.iterdir()] == ["whole.whl"] * 3
    assert sorted(path.name for path in places[3].iterdir()) == [f"{begun.name}.another", "whole.whl"]
    assert old in places


def test_a_cache_that_cannot_be_written_stops_no_build(machine: Machine, tmp_path: Path) -> None:
    machine.cache = tmp_path / "file"
    machine.cache.touch()
    with machine.run() as session, session.container(SPEC):
        pass
    (line,) = machine.progress.lines
    assert "nothing will clean up after it" in line


def test_a_directory_is_its_process_s_until_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from musllinux_build.staging import claimed\n"
        "with claimed(Path(sys.argv[1])) as mine:\n"
        "    (mine / 'half.whl').touch(); print('ready', flush=True); time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        remove_abandoned(tmp_path)
        assert len(list(tmp_path.glob("*/half.whl"))) == 1
        process.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_has_got_another_name_stays(tmp_path: Path) -> None:
    with claimed(tmp_path) as mine:
        (mine / "file").touch()
        mine.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


def test_only_one_has_what_is_left(tmp_path: Path) -> None:
    (tmp_path / f"{STAGING}left").mkdir()
    (tmp_path / f"{STAGING}file").touch()
    (tmp_path / f"{STAGING}link").symlink_to(tmp_path)
    with taken_over(tmp_path) as first, taken_over(tmp_path) as second:
        assert [path.name for path in first] == [f"{STAGING}left"]
        assert second == []
    with taken_over(tmp_path / "none") as found:
        assert found == []
