"""No work twice: what is used again, what is not, and that a kept wheel is never worth more than it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.adapters.wheel_store import RECORD, WheelStore
from musllinux_build.arch import Arch
from musllinux_build.builds.finished import Reuse, common_facts
from musllinux_build.builds.workshop import Host
from musllinux_build.cli.closing import show_report
from musllinux_build.cli.reuse import make_reuse
from musllinux_build.cli.selection import record_times
from musllinux_build.config import Config
from musllinux_build.errors import BuildError, EngineError, TerminatedError
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.parts import Part, format_part, parse_part, seconds_of
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.ports import ImageInfo
from musllinux_build.report import Report, table_rows
from musllinux_build.shipped import program_digest
from musllinux_build.staging import STAGING, claimed
from musllinux_build.tarstream import tar_of
from musllinux_build.toolchain import toolchain_image_tag
from tests.fakes import ListProgress
from tests.unit.test_pipeline import EXTENSION, IMAGE, Bench, target
from tests.wheelgen import WheelSpec, build_wheel

ABI3 = "demo-1.0-cp311-abi3-linux_x86_64.whl"


class Machine(Bench):
    """A machine that keeps its wheels; each run has an engine of its own kind, so that all it does is counted."""

    def __init__(self, tmp_path: Path, config: Config | None = None, **host: bool) -> None:
        super().__init__(tmp_path, config, **host)
        self.root = tmp_path / "cache" / "wheels"
        self.asked: list[Arch] = []
        self.ground = "compilers"
        self.remember()

    def remember(self, *, rebuild: bool = False, program: str = "1") -> None:
        """What is there at the beginning of a run."""
        run = self.run
        common = common_facts(run.config, source=run.host.source, index=run.host.index, program=program)
        reuse = Reuse(
            store=WheelStore(self.root),
            common=common,
            image=self._local,
            ground=lambda _policy, _arch: [self.ground],
            rebuild=rebuild,
        )
        self.run = replace(run, supply=replace(run.supply, reuse=reuse))

    def _local(self, _policy: Policy, arch: Arch) -> ImageInfo | None:
        self.asked.append(arch)
        return self.engine.image(f"{IMAGE}-{arch.value}")

    def again(self, *targets: Target, rebuild: bool = False, program: str = "1", **host: object) -> Report:
        """Another run, on what the last one left."""
        self.engine.created.clear()
        self.project.seen.clear()
        self.run = replace(self.run, host=replace(self.run.host, **host))  # type: ignore[arg-type] # fields of Host
        self.remember(rebuild=rebuild, program=program)
        return self.build(*targets)

    @property
    def kept(self) -> list[Path]:
        return sorted(self.root.iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def abi3(machine: Machine, body: bytes = b"") -> None:
    files = {"x.abi3.so": EXTENSION, "y.py": body}
    data = build_wheel(WheelSpec(files=files, tag="cp311-abi3-linux_x86_64"))
    machine.project.wheels = lambda _: {ABI3: data}


def test_a_second_run_makes_no_container_and_gives_the_same_bytes(machine: Machine, tmp_path: Path) -> None:
    first = machine.build(target(minor=11), target(minor=13))
    second = machine.again(target(minor=11), target(minor=13), output=tmp_path / "elsewhere")
    assert machine.engine.created == []
    assert machine.project.seen == []
    assert second.exit_code == 0
    for before, after in zip(first.outcomes, second.outcomes, strict=True):
        assert before.wheel is not None
        assert after.wheel is not None
        assert after.wheel == replace(before.wheel, path=tmp_path / "elsewhere" / before.wheel.path.name)
        assert after.wheel.path.read_bytes() == before.wheel.path.read_bytes()
        assert (before.reused, after.reused) == (False, True)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == machine.written


def test_an_interrupted_run_goes_on_where_it_was(machine: Machine) -> None:
    def stop() -> None:
        if machine.kept:
            raise TerminatedError("terminated")

    machine.root.mkdir(parents=True)
    machine.project.during_build = stop
    with pytest.raises(TerminatedError):
        machine.build(target(minor=11), target(minor=13))
    machine.project.during_build = lambda: None
    report = machine.again(target(minor=11), target(minor=13))
    assert [outcome.reused for outcome in report.outcomes] == [True, False]
    assert machine.project.seen.count("build") == 1


CHANGES: dict[str, Callable[[Machine], object]] = {
    "source": lambda machine: machine.again(target(), source=tar_of({"setup.py": b"#"})),
    "index": lambda machine: machine.again(target(), index={"PIP_INDEX_URL": "https://index.invalid"}),
    "rebuild": lambda machine: machine.again(target(), rebuild=True),
    "program": lambda machine: machine.again(target(), program="2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_built(machine: Machine, change: str) -> None:
    machine.build(target())
    CHANGES[change](machine)
    assert machine.project.seen.count("build") == 1
    kept = len(machine.kept)
    assert kept == (1 if change == "rebuild" else 2)


def test_another_image_or_other_compilers_build_again(machine: Machine) -> None:
    machine.build(target())
    machine.engine.add_image(f"{IMAGE}-x86_64", Arch.X86_64, files=machine.engine._images[f"{IMAGE}-x86_64"][1])
    assert not machine.again(target()).outcomes[0].reused
    assert machine.again(target()).outcomes[0].reused
    machine.ground = "others"
    assert not machine.again(target()).outcomes[0].reused


def test_what_cannot_make_a_difference_makes_none(machine: Machine, tmp_path: Path) -> None:
    machine.build(target())
    report = machine.again(target(), ca_bundle=b"other", logs=tmp_path / "other")
    assert report.outcomes[0].reused


def cut(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1])


def flip(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    wheel.write_bytes(bytes(reversed(wheel.read_bytes())))


def lose(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    wheel.unlink()


def say(text: str) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        (entry / RECORD).write_text(text)

    return write


def rename(name: object) -> Callable[[Path], None]:
    def write(entry: Path) -> None:
        record = entry / RECORD
        record.write_text(json.dumps({**json.loads(record.read_text()), "name": name}))

    return write


def replace_by_a_file(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    entry.write_text("")


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        lose,
        say(""),
        say("[]"),
        say("{}"),
        say('{"version": 99}'),
        rename("../x.whl"),
        rename("x"),
        rename(None),
        replace_by_a_file,
    ],
)
def test_what_is_damaged_is_built_again_and_kept_anew(machine: Machine, damage: Callable[[Path], None]) -> None:
    before = machine.build(target()).outcomes[0].wheel
    (entry,) = machine.kept
    damage(entry)
    (outcome,) = machine.again(target()).outcomes
    assert not outcome.reused
    assert outcome.wheel == before
    assert machine.again(target()).outcomes[0].reused
    assert machine.kept == [entry]


def test_one_wheel_for_many_pythons_is_kept_once_and_reused_for_all(machine: Machine) -> None:
    abi3(machine)
    first = machine.build(target(minor=11), target(minor=13))
    second = machine.again(target(minor=11), target(minor=13))
    assert machine.engine.created == []
    assert [outcome.same_as for outcome in second.outcomes] == [outcome.same_as for outcome in first.outcomes]
    assert [outcome.wheel for outcome in second.outcomes] == [outcome.wheel for outcome in first.outcomes]
    files = [path for entry in machine.kept for path in entry.glob("*.whl")]
    assert len(files) == 2
    assert len({path.stat().st_ino for path in files}) == 1
    store = WheelStore(machine.root)
    assert sum(entry.size for entry in store.entries()) < 2 * files[0].stat().st_size


def test_a_later_python_alone_gets_the_wheel_that_was_proven_with_it(machine: Machine) -> None:
    abi3(machine)
    machine.build(target(minor=11), target(minor=13))
    (outcome,) = machine.again(target(minor=13)).outcomes
    assert outcome.reused
    assert outcome.same_as == ""


def test_a_reused_wheel_serves_a_python_that_is_new(machine: Machine) -> None:
    abi3(machine)
    machine.build(target(minor=11))
    first, second = machine.again(target(minor=11), target(minor=13)).outcomes
    assert (first.reused, second.reused) == (True, False)
    assert second.same_as == machine.written[0]
    assert machine.project.seen.count("build") == 0
    assert machine.project.seen.count("-c") == 2


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_two_wheels_of_one_name_never_come_out_of_one_run(machine: Machine, jobs: int) -> None:
    """3.13 alone made other bytes under the name that 3.11 gives its wheel."""
    abi3(machine, b"# 3.13")
    machine.build(target(minor=13))
    abi3(machine, b"# 3.11")
    first, second = machine.again(target(minor=11), target(minor=13), jobs=jobs).outcomes
    assert not first.reused
    assert not second.reused
    assert first.wheel is not None
    assert second.wheel is not None
    assert first.wheel.sha256 == second.wheel.sha256
    assert first.wheel.sha256 == hashlib.sha256(first.wheel.path.read_bytes()).hexdigest()
    assert second.same_as == first.wheel.path.name
    assert machine.project.seen.count("build") == 1


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_wheel_that_waited_for_an_earlier_python_is_reused_when_that_fails(machine: Machine, jobs: int) -> None:
    abi3(machine)
    machine.build(target(minor=13))
    machine.project.wheels = lambda _: {}
    first, second = machine.again(target(minor=11), target(minor=13), jobs=jobs).outcomes
    assert first.error is not None
    assert second.reused


def test_a_failure_is_not_kept(machine: Machine) -> None:
    machine.project.status = {"-c": 1}
    machine.build(target())
    assert not machine.root.exists()
    machine.project.status = {}
    assert not machine.again(target()).outcomes[0].reused


def test_an_image_that_is_not_local_is_had_first(machine: Machine) -> None:
    machine.build(target())
    reuse = machine.run.supply.reuse
    assert reuse is not None
    machine.run = replace(machine.run, supply=replace(machine.run.supply, reuse=replace(reuse, image=lambda *_: None)))
    report = machine.build(target())
    assert report.outcomes[0].reused
    assert machine.project.seen.count("build") == 1


def failing(error: Exception) -> Callable[..., ImageInfo]:
    def fail(*_: object) -> ImageInfo:
        raise error

    return fail


@pytest.mark.parametrize("field", ["image", "ground"])
def test_what_goes_wrong_in_looking_is_no_failure(machine: Machine, field: str) -> None:
    machine.build(target())
    reuse = machine.run.supply.reuse
    assert reuse is not None
    for error in (EngineError("gone"), TerminatedError("terminated")):
        changed = replace(reuse, **{field: failing(error)})  # type: ignore[arg-type] # both are callables
        machine.run = replace(machine.run, supply=replace(machine.run.supply, reuse=changed))
        if isinstance(error, TerminatedError):
            with pytest.raises(TerminatedError):
                machine.build(target())
        else:
            assert machine.build(target()).exit_code == 0


def test_a_store_that_cannot_be_written_costs_a_warning(machine: Machine) -> None:
    machine.root.parent.mkdir(parents=True)
    machine.root.write_text("a file where the directory should be")
    assert machine.build(target()).exit_code == 0
    assert any("is not kept for later runs" in line for line in machine.progress.lines)


def test_the_report_says_reused_and_the_times_do_not(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.build(target(minor=11))
    report = machine.again(target(minor=11), target(minor=13))
    assert [row.time == "reused" for row in table_rows(report)] == [True, False]
    document = json.loads(json.dumps(report.to_json()))
    assert [row["reused"] for row in document["wheels"]] == [True, False]
    show_report(report, as_json=False)
    assert "for 2 of 2 targets; 1 reused" in capsys.readouterr().out
    lines, path = ListProgress(), tmp_path / "times.json"
    record_times(path, report, lines)
    assert list(json.loads(path.read_text())["seconds"]) == [target(minor=13).identifier]
    planned = tuple(each.identifier for each in report.plan.targets)
    part = parse_part(format_part(Part(plan=report.plan, planned=planned), report), "x")
    assert list(seconds_of([part])) == [target(minor=13).identifier]


def test_the_least_recently_used_goes_first(machine: Machine) -> None:
    machine.build(target(minor=11), target(minor=13))
    store = WheelStore(machine.root)
    for seconds, entry in enumerate(machine.kept):
        os.utime(entry / RECORD, (seconds, seconds))
    newest, oldest = store.entries()
    assert [newest.name, oldest.name] == [path.name for path in reversed(machine.kept)]
    assert store.find(oldest.name) is not None  # now it is the one used last
    assert [entry.name for entry in store.entries()] == [oldest.name, newest.name]
    assert store.limit(newest.size + oldest.size) == []
    assert [entry.name for entry in store.limit(oldest.size, dry_run=True)] == [newest.name]
    assert len(machine.kept) == 2
    assert [entry.name for entry in store.limit(oldest.size)] == [newest.name]
    assert [path.name for path in machine.kept] == [oldest.name]
    store.limit(0)
    assert machine.kept == []


def test_what_a_killed_run_left_goes_and_what_another_is_about_to_keep_does_not(machine: Machine) -> None:
    machine.build(target())
    left = machine.root / f"{STAGING}left"
    left.mkdir()
    with claimed(machine.root) as alive:
        WheelStore(machine.root).limit(1 << 30)
        assert alive.exists()
    assert not left.exists()
    assert len(machine.kept) == 1


def test_no_store_has_nothing(tmp_path: Path) -> None:
    store = WheelStore(tmp_path / "none")
    assert store.entries() == []
    assert store.limit(0) == []
    assert store.find("x") is None


def test_a_wheel_that_was_changed_since_is_not_kept(machine: Machine) -> None:
    wheel = machine.build(target()).outcomes[0].wheel
    assert wheel is not None
    wheel.path.write_bytes(b"changed")
    with pytest.raises(OSError, match="was changed"):
        WheelStore(machine.root).keep("other", wheel)
    assert len(machine.kept) == 1


def test_fail_fast_tells_what_was_reused_in_the_order_of_the_plan(tmp_path: Path) -> None:
    machine = Machine(tmp_path, fail_fast=True)
    machine.build(target(minor=13))
    machine.project.status = {"build": 1}
    first, second = machine.again(target(minor=11), target(minor=13)).outcomes
    assert isinstance(first.error, BuildError)
    assert second.reused


def test_what_a_run_with_an_engine_knows_its_wheels_by(machine: Machine, tmp_path: Path) -> None:
    supplies = Supplies.chosen()
    policy, arch = Policy.MUSLLINUX_1_2, Arch.X86_64
    reference = image_reference(DEFAULT_REGISTRY, policy, arch)

    def made(config: Config) -> Reuse:
        host, cache = machine.run.host, tmp_path / "cache"
        return make_reuse(machine.engine, supplies, cache, config=config, host=host, rebuild=False)

    assert made(Config()).image(policy, arch) is None
    machine.engine.add_image(reference, arch)
    assert made(Config()).image(policy, arch) == machine.engine.image(reference)
    assert made(Config(pull="always")).image(policy, arch) is None
    compilers, packages, lock = made(Config()).ground(policy, arch)
    assert compilers == toolchain_image_tag(arch, supplies.toolchain_wheel(arch).sha256)
    assert (packages, len(lock)) == ("", 16)
    index = tmp_path / "apk" / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz"
    index.parent.mkdir(parents=True)
    index.write_bytes(b"index")
    supplies = replace(supplies, apk_mirror=str(tmp_path / "apk"))
    assert made(Config()).ground(policy, arch)[1] == ""
    assert made(Config(before_all="apk add x")).ground(policy, arch)[1] != ""
    assert machine.engine.created == []


def test_the_use_of_a_kept_image_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Config(before_all="apk add x"))
    told: list[str] = []
    machine.run = replace(machine.run, supply=replace(machine.run.supply, used=told.append))
    machine.build(target())
    machine.again(target(), rebuild=True)
    assert len(told) == 2
    assert len(set(told)) == 1
    assert machine.engine.image(told[0]) is not None


def test_the_tool_is_another_one_when_a_file_of_it_is() -> None:
    assert program_digest() == program_digest()
    assert len(program_digest()) == 64


def test_the_host_has_no_field_that_nobody_thought_of() -> None:
    """What of it decides the bytes is in the key: the source, which the build system is read from, and the index."""
    without_effect = {"ca_bundle", "output", "logs", "fail_fast", "jobs", "times"}
    assert set(Host.__slots__) == {"source", "build_system", "index"} | without_effect
