"""What makes a whole of several directories, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from musllinux_build.adapters.files import place_whole, write_whole
from musllinux_build.arch import Arch
from musllinux_build.cli.merge import merge_command
from musllinux_build.errors import BuildError, MergeError, UsageError
from musllinux_build.parts import Part, format_part, parse_part
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag
from musllinux_build.report import BuiltWheel, Outcome, Report
from musllinux_build.shards import Shard, shard_of
from musllinux_build.staging import STAGING, claimed

TARGETS = tuple(
    Target(arch=Arch.X86_64, policy=Policy.MUSLLINUX_1_2, python=PythonTag(3, minor)) for minor in (11, 12, 13)
)
PLAN = Plan(targets=TARGETS, skipped=())


def wheel_name(target: Target, version: str = "1.0", tag: str = "") -> str:
    return f"demo-{version}-{tag or f'{target.python}-{target.python}'}-{target.policy.platform_tag(target.arch)}.whl"


class Shards:
    """Directories as builds with ``--shard`` leave them."""

    def __init__(self, tmp_path: Path, count: int = 2) -> None:
        self.path, self.count = tmp_path, count
        self.output = tmp_path / "whole"

    def directory(self, index: int) -> Path:
        path = self.path / str(index)
        path.mkdir(exist_ok=True)
        return path

    def build(self, index: int, *, fail: frozenset[Target] = frozenset(), abi3: bytes = b"") -> Path:
        directory = self.directory(index)
        plan = shard_of(PLAN, Shard(index, self.count), {})
        outcomes = tuple(
            Outcome(target=target, seconds=1.5, error=BuildError("no compiler"))
            if target in fail
            else self.built(directory, target, abi3)
            for target in plan.targets
        )
        part = Part(plan=plan, planned=tuple(t.identifier for t in TARGETS), shard=Shard(index, self.count))
        write_whole(directory / part.filename, format_part(part, Report(plan=plan, outcomes=outcomes)))
        return directory

    @staticmethod
    def built(directory: Path, target: Target, abi3: bytes) -> Outcome:
        content = abi3 or target.identifier.encode()
        path = directory / wheel_name(target, tag="cp311-abi3" if abi3 else "")
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        wheel = BuiltWheel(path=path, size=len(content), sha256=digest, floor="1.2.2", grafted=(), proven=())
        return Outcome(target=target, seconds=1.5, wheel=wheel)

    def merge(self, *words: object, status: int = 0) -> Result:
        directories = [str(self.path / str(index)) for index in range(1, self.count + 1)]
        arguments = [*(path for path in directories if Path(path).is_dir()), "-o", str(self.output), *map(str, words)]
        result = CliRunner().invoke(merge_command, arguments, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        assert result.return_value == status
        return result

    @property
    def written(self) -> list[str]:
        return sorted(path.name for path in self.output.iterdir()) if self.output.exists() else []

    def refused(self, *words: object) -> str:
        """The details of a refusal that leaves nothing: no output, and nothing beside it."""
        before = sorted(self.path.iterdir())
        with pytest.raises(MergeError) as caught:
            self.merge(*words)
        assert sorted(self.path.iterdir()) == before
        return f"{caught.value.brief}\n{caught.value.details}"


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path)


def test_shards_make_a_whole(shards: Shards) -> None:
    shards.build(1)
    shards.build(2)
    table = shards.merge().stdout
    assert shards.written == [wheel_name(target) for target in TARGETS]
    assert hashlib.sha256(TARGETS[0].identifier.encode()).hexdigest() in table
    assert table.endswith("3 wheels, 78 B, for 3 targets\n")
    assert [path.name for path in shards.path.iterdir() if path.name.startswith(".")] == []


def test_a_second_time_it_is_there_already_and_else_nothing_is_overwritten(shards: Shards) -> None:
    shards.build(1)
    shards.build(2)
    shards.merge()
    assert "has them already" in shards.merge().stderr
    (shards.output / "other").touch()
    with pytest.raises(UsageError, match="is not empty"):
        shards.merge()


def test_json_and_times(shards: Shards) -> None:
    shards.build(1)
    shards.build(2)
    document = json.loads(shards.merge("--json", "--times", shards.path / "times.json").stdout)
    assert [target["id"] for target in document["targets"]] == [target.identifier for target in TARGETS]
    assert {wheel["wheel"] for wheel in document["wheels"]} == set(shards.written)
    times = json.loads((shards.path / "times.json").read_text())
    assert times["seconds"] == {target.identifier: 1.5 for target in TARGETS}


def test_a_shard_is_missing(shards: Shards) -> None:
    shards.build(1)
    told = shards.refused()
    assert "shard 2/2 has left no report" in told
    assert "cp313-musllinux_1_2_x86_64 has no wheel" in told


def test_a_shard_failed(shards: Shards) -> None:
    shards.build(1)
    shards.build(2, fail=frozenset(TARGETS))
    assert "cp313-musllinux_1_2_x86_64 failed: no compiler" in shards.refused()


def test_shards_of_two_plans(shards: Shards) -> None:
    shards.build(1)
    other = shards.build(2) / "musllinux-build-2-of-2.json"
    other.write_text(other.read_text().replace('"2/2"', '"2/3"'))
    assert "shard 2/3 of another plan" in shards.refused()


def test_a_wheel_that_changed_on_its_way(shards: Shards) -> None:
    shards.build(1)
    changed = shards.build(2) / wheel_name(TARGETS[2])
    changed.write_bytes(b"torn")
    assert "is not what was built" in shards.refused()
    changed.unlink()
    assert "is not there, though" in shards.refused()


def test_one_wheel_twice_is_noted_and_two_of_one_name_are_refused(shards: Shards) -> None:
    shards.build(1, abi3=b"same")
    shards.build(2, abi3=b"same")
    result = shards.merge()
    assert "is the same as" in result.stderr
    assert len(shards.written) == 1
    assert result.stdout.count("served by demo-1.0-cp311-abi3") == 2
    other = Shards(shards.path / "other")
    other.path.mkdir()
    other.build(1, abi3=b"one")
    other.build(2, abi3=b"two")
    told = other.refused()
    assert "demo-1.0-cp311-abi3-musllinux_1_2_x86_64.whl differs" in told
    assert "--group-by arch+policy" in told


def test_what_nobody_planned(shards: Shards) -> None:
    directory = shards.build(1)
    shards.build(2)
    (directory / "demo-1.0-cp39-cp39-musllinux_1_2_x86_64.whl").touch()
    (directory / "demo-2.0-cp313-cp313-musllinux_1_2_x86_64.whl").touch()
    (directory / "odd.whl").touch()
    told = shards.refused()
    assert "cp39-cp39-musllinux_1_2_x86_64.whl is for nothing that was planned" in told
    assert "several projects or versions: demo-1.0, demo-2.0" in told
    assert "'odd.whl' is not the file name of a wheel" in told


def test_without_reports_names_and_a_plan_tell(shards: Shards) -> None:
    for index, target in ((1, TARGETS[0]), (2, TARGETS[1])):
        (shards.directory(index) / wheel_name(target)).write_bytes(b"x")
    plan = shards.path / "plan.json"
    plan.write_text(json.dumps(PLAN.to_json()))
    assert "cp313-musllinux_1_2_x86_64 has no wheel" in shards.refused("--plan", plan)
    assert "whether all is there is not known" in shards.merge().stderr
    plan.write_text("[]")
    with pytest.raises(UsageError, match="is no plan"):
        shards.merge("--plan", plan)


def test_no_wheel_at_all(shards: Shards) -> None:
    shards.directory(1)
    assert "there is no wheel" in shards.refused()


def test_a_report_is_its_parts_own() -> None:
    part = Part(plan=PLAN, planned=tuple(target.identifier for target in TARGETS))
    assert part.filename != Part(plan=PLAN, planned=("x",)).filename
    assert part.filename == Part(plan=PLAN, planned=part.planned).filename


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"version": 9}', '{"version": 1, "shard": "3/2", "planned": [], "report": {"wheels": []}}']
    + ['{"version": 1, "shard": null, "planned": [1], "report": {"wheels": []}}'],
)
def test_what_is_no_report(text: str) -> None:
    with pytest.raises(UsageError, match="x is no report of a part"):
        parse_part(text, "x")


def test_a_file_that_changes_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    with pytest.raises(MergeError, match="changed while it was read"):
        place_whole({tmp_path / "a.whl": "0" * 64}, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        place_whole({}, tmp_path / "file" / "out")
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "name", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "name"]


def test_what_a_killed_merge_left_is_removed_and_what_goes_on_is_not(tmp_path: Path) -> None:
    left = tmp_path / f"{STAGING}left"
    left.mkdir()
    with claimed(tmp_path) as alive:
        for path in (left, alive):
            (path / "half.whl").touch()
        assert place_whole({}, tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "out"]


def test_wheels_of_another_image_and_words_that_are_no_identifier_fit_nothing(shards: Shards) -> None:
    (shards.directory(1) / wheel_name(TARGETS[0]).replace("1_2_x86_64", "1_2_s390x")).touch()
    plan = shards.path / "plan.json"
    plan.write_text('{"targets": [{"id": "cp311-musllinux_1_2_x86_64"}, {"id": "nonsense"}]}')
    told = shards.refused("--plan", plan)
    assert "cp311-cp311-musllinux_1_2_s390x.whl is for nothing that was planned" in told
    assert "cp311-musllinux_1_2_x86_64 has no wheel" in told
    assert "nonsense has no wheel" in told


def test_a_refusal_as_json(shards: Shards) -> None:
    shards.build(1)
    words = [str(shards.directory(1)), "-o", str(shards.output), "--json"]
    result = CliRunner().invoke(merge_command, words)
    assert isinstance(result.exception, MergeError)
    assert json.loads(result.stdout)["exit_code"] == 16


def test_times_that_cannot_be_written_are_a_mistake_of_the_option(shards: Shards) -> None:
    shards.build(1)
    shards.build(2)
    with pytest.raises(UsageError, match="cannot write"):
        shards.merge("--times", shards.directory(1) / wheel_name(TARGETS[0]) / "x")
