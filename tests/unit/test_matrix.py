"""Jobs of CI systems out of a plan, and the command that prints them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from musllinux_build.arch import Arch
from musllinux_build.cli.build import build
from musllinux_build.cli.plan import plan_command
from musllinux_build.cli.selection import record_times, recorded_times
from musllinux_build.errors import BuildError, UsageError
from musllinux_build.matrix import ON_GITHUB, Grouping, Job, github_matrix, gitlab_pipeline, plan_jobs
from musllinux_build.parts import parse_part
from musllinux_build.plan import Plan, Target
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag
from musllinux_build.report import BuiltWheel, Outcome, Report
from musllinux_build.shards import Shard
from tests.fakes import ListProgress, answering

PYTHONS = tuple(PythonTag(3, minor) for minor in (11, 13))
PLAN = Plan(
    targets=tuple(
        Target(arch=arch, policy=Policy.MUSLLINUX_1_2, python=python)
        for arch in (Arch.X86_64, Arch.AARCH64, Arch.S390X)
        for python in PYTHONS
    ),
    skipped=(),
)


def jobs(grouping: Grouping, most: int | None = None, times: dict[str, float] | None = None) -> tuple[Job, ...]:
    return plan_jobs(PLAN, grouping=grouping, most=most, times=times or {}, machines=ON_GITHUB, registry="r.example/x")


def test_a_job_for_each_wheel() -> None:
    assert jobs(Grouping.JOB, times={"cp311-musllinux_1_2_aarch64": 12.34})[2].to_json() == {
        "id": "cp311-musllinux_1_2_aarch64",
        "arch": "aarch64",
        "platform": "linux/arm64",
        "policy": "musllinux_1_2",
        "python": "cp311",
        "image": "r.example/x/musllinux_1_2_aarch64",
        "runner": "ubuntu-24.04-arm",
        "emulated": False,
        "only": "cp311-musllinux_1_2_aarch64",
        "est_seconds": 12.3,
    }


@pytest.mark.parametrize(
    ("grouping", "ids"),
    [
        (Grouping.ARCH, ["x86_64", "aarch64", "s390x"]),
        (Grouping.POLICY, ["musllinux_1_2"]),
        (Grouping.ARCH_POLICY, ["musllinux_1_2_x86_64", "musllinux_1_2_aarch64", "musllinux_1_2_s390x"]),
    ],
)
def test_groups(grouping: Grouping, ids: list[str]) -> None:
    assert [job.id for job in jobs(grouping)] == ids


def test_what_there_is_several_of_is_one_text_each_once() -> None:
    job = jobs(Grouping.POLICY)[0].to_json()
    assert job["arch"] == "x86_64 aarch64 s390x"
    assert job["python"] == "cp311 cp313"
    assert job["runner"] == "ubuntu-24.04"
    assert job["emulated"] is True
    assert "est_seconds" not in job


@pytest.mark.parametrize("grouping", list(Grouping))
@pytest.mark.parametrize("most", [None, 1, 2, 3, 4, 5, 6, 7])
def test_every_wheel_is_in_one_job(grouping: Grouping, most: int | None) -> None:
    made = jobs(grouping, most)
    found = [target for job in made for target in job.targets]
    assert len(found) == len(set(found))
    assert set(found) == set(PLAN.targets)
    assert len(made) == min(len(jobs(grouping)), most or 99)
    assert len({job.id for job in made}) == len(made)


def test_packed_jobs_stay_on_their_kind_of_machine() -> None:
    assert [(job.id, job.machine.label, len(job.targets)) for job in jobs(Grouping.JOB, 3)] == [
        ("part-1-of-3", "ubuntu-24.04", 3),  # x86_64 twice and s390x, which counts twice
        ("part-2-of-3", "ubuntu-24.04", 1),
        ("part-3-of-3", "ubuntu-24.04-arm", 2),
    ]
    (alone,) = jobs(Grouping.ARCH, 1)
    assert (alone.machine.label, alone.emulated, len(alone.targets)) == ("ubuntu-24.04", True, 6)


def test_github_takes_256_jobs() -> None:
    job = jobs(Grouping.JOB)[0]
    assert len(github_matrix([job] * 256)["include"]) == 256  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="257 jobs are too many") as caught:
        github_matrix([job] * 257)
    assert "--max-jobs 256" in caught.value.resolution


def test_gitlab_jobs_extend_the_users_own() -> None:
    times = dict.fromkeys((target.identifier for target in PLAN.targets), 2.0)
    made = gitlab_pipeline(jobs(Grouping.ARCH, times=times), ".gitlab/x.yml")
    assert made["include"] == [{"local": ".gitlab/x.yml"}]
    assert made["s390x"] == {
        "extends": ".musllinux-build",
        "tags": ["ubuntu-24.04"],
        "variables": {
            "WHEEL_ID": "s390x",
            "WHEEL_ARCH": "s390x",
            "WHEEL_PLATFORM": "linux/s390x",
            "WHEEL_POLICY": "musllinux_1_2",
            "WHEEL_PYTHON": "cp311 cp313",
            "WHEEL_IMAGE": "r.example/x/musllinux_1_2_s390x",
            "WHEEL_RUNNER": "ubuntu-24.04",
            "WHEEL_EMULATED": "true",
            "MUSLLINUX_BUILD_ONLY": "cp311-musllinux_1_2_s390x cp313-musllinux_1_2_s390x",
            "WHEEL_EST_SECONDS": "4.0",
        },
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "demo"
    directory.mkdir()
    (directory / "pyproject.toml").write_text('[project]\nname = "Demo.X"\nversion = "1"\nrequires-python = ">=3.10"\n')
    return directory


def run_plan(project: Path, *words: str, **environment: str) -> str:
    result = CliRunner().invoke(plan_command, [str(project), *words], env=environment, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


CHOSEN = ("--arch", "x86_64", "--arch", "aarch64", "--python", "3.13", "--python", "3.11")


def test_the_command_prints_a_matrix(project: Path) -> None:
    rows = json.loads(run_plan(project, *CHOSEN, "--format", "github"))["include"]
    assert [row["id"] for row in rows] == [
        f"{python}-musllinux_1_2_{arch}" for arch in ("x86_64", "aarch64") for python in ("cp313", "cp311")
    ]
    only = rows[2]["only"]
    assert json.loads(run_plan(project, "--format", "github", MUSLLINUX_BUILD_ONLY=only))["include"] == [rows[2]]


def test_several_identifiers_come_from_one_variable(project: Path) -> None:
    (row,) = json.loads(run_plan(project, *CHOSEN, "--format", "github", "--max-jobs", "1"))["include"]
    again = json.loads(run_plan(project, "--format", "json", MUSLLINUX_BUILD_ONLY=row["only"]))
    assert [target["id"] for target in again["targets"]] == row["only"].split()


def test_the_shards_of_the_command_are_the_plan(project: Path) -> None:
    whole = json.loads(run_plan(project, *CHOSEN, "--format", "json"))
    parts = [
        json.loads(run_plan(project, *CHOSEN, "--format", "json", "--shard", f"{index}/3"))["targets"]
        for index in (1, 2, 3)
    ]
    assert all(parts)
    assert sorted(target["id"] for part in parts for target in part) == sorted(
        target["id"] for target in whole["targets"]
    )


def test_a_shard_needs_an_architecture_that_is_the_same_everywhere(project: Path) -> None:
    with pytest.raises(UsageError, match="--shard without an architecture"):
        run_plan(project, "--shard", "1/2")


def test_what_the_machine_remembers_is_shown_but_moves_no_cut(project: Path, tmp_path: Path) -> None:
    remembered = tmp_path / "cache" / "musllinux-build" / "times" / "demo-x.json"
    remembered.parent.mkdir(parents=True)
    cut = ("--shard", "1/2", "--format", "json")
    before = run_plan(project, *CHOSEN, *cut)
    remembered.write_text('{"version": 1, "seconds": {"cp313-musllinux_1_2_x86_64": 99}}')
    assert "cp313-musllinux_1_2_x86_64   ubuntu-24.04  native  99 s\n" in run_plan(project, *CHOSEN)
    assert run_plan(project, *CHOSEN, *cut) == before
    assert run_plan(project, *CHOSEN, *cut, "--times", str(remembered)) != before


def test_an_empty_matrix_is_an_error(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.99"\n')
    with pytest.raises(UsageError, match="nothing is selected"):
        run_plan(project, "--python", "3.13", "--arch", "x86_64", "--format", "github")


def test_own_machines(project: Path) -> None:
    rows = json.loads(
        run_plan(
            project,
            "--only",
            "cp313-musllinux_1_2_s390x",
            "--format",
            "github",
            "--runner",
            "s390x=z",
            "--registry",
            "r",
        )
    )["include"]
    assert (rows[0]["runner"], rows[0]["emulated"]) == ("z", False)
    for wrong in ("s390x", "s390x=", "vax=v"):
        with pytest.raises(UsageError, match="ARCH=LABEL"):
            run_plan(project, *CHOSEN, "--runner", wrong)


def test_the_matrix_is_one_line(project: Path) -> None:
    assert run_plan(project, *CHOSEN, "--format", "github").count("\n") == 1


def test_the_child_pipeline_includes_the_template(project: Path) -> None:
    made = json.loads(run_plan(project, *CHOSEN, "--format", "gitlab", "--group-by", "arch+policy"))
    assert list(made) == ["include", "musllinux_1_2_x86_64", "musllinux_1_2_aarch64"]
    assert made["include"] == [{"local": ".gitlab/wheels.yml"}]
    assert made["musllinux_1_2_aarch64"]["tags"] == ["saas-linux-small-arm64"]


def warnings_of(project: Path, *words: str) -> list[str]:
    """What the plan for GitLab says besides; each starts with a mark."""
    said = CliRunner().invoke(plan_command, [str(project), "--format", "gitlab", *words], catch_exceptions=False).stderr
    return [line.removeprefix("! ") for line in said.splitlines()]


ALL = ("--arch", "all", "--python", "3.13", "--python", "3.11")


def test_runners_that_cannot_execute_an_image_are_warned_of_once_for_each_architecture(project: Path) -> None:
    unable = (
        "{}: 2 jobs go to runners tagged saas-linux-small-{}, which {} execute it; name runners that do, by themselves"
        " or with an emulator (binfmt): --runner {}=TAG"
    )
    assert warnings_of(project, *ALL) == [
        unable.format("ppc64le", "amd64", "do not", "ppc64le"),
        unable.format("s390x", "amd64", "do not", "s390x"),
        unable.format("armv7l", "arm64", "may not", "armv7l"),
    ]
    named = [word for arch in ("ppc64le", "s390x", "armv7l") for word in ("--runner", f"{arch}=own")]
    assert warnings_of(project, *ALL, *named) == []
    (warning,) = warnings_of(project, "--only", "cp313-musllinux_1_2_s390x")
    assert warning.startswith("s390x: 1 job goes to runners tagged saas-linux-small-amd64,")


def test_a_job_of_several_images_is_warned_of_on_gitlab(project: Path) -> None:
    (warning,) = warnings_of(project, *ALL, "--max-jobs", "1")
    assert warning == (
        "a job on GitLab runs in one image, and these are for several: part-1-of-1; plan with --group-by arch+policy"
        " and without --max-jobs, or give the template an engine"
    )


def test_the_platform_of_an_image_is_what_engines_call_it(project: Path) -> None:
    made = json.loads(run_plan(project, "--arch", "i686", "--format", "gitlab", "--group-by", "arch+policy"))
    variables = made["musllinux_1_2_i686"]["variables"]
    assert variables["WHEEL_PLATFORM"] == "linux/386"
    page = (Path(__file__).parents[2] / "docs" / "matrices.md").read_text()
    assert {"WHEEL_IMAGE", "WHEEL_PLATFORM"} <= set(re.findall(r"\$(WHEEL_\w+)", page)) <= set(variables)


def test_a_dry_run_of_a_shard_prints_its_part(project: Path) -> None:
    words = [str(project), *CHOSEN, "--dry-run", "--shard"]
    shown = [
        CliRunner().invoke(build, [*words, shard], standalone_mode=False).stdout.split() for shard in ("1/2", "2/2")
    ]
    assert [len(part) for part in shown] == [3, 1]
    assert len({*shown[0], *shown[1]}) == 4


def test_times_are_remembered_and_an_unreadable_memory_is_none(tmp_path: Path) -> None:
    path, lines = tmp_path / "times" / "demo.json", ListProgress()
    wheel = BuiltWheel(path=tmp_path / "x.whl", size=1, sha256="", floor="1.2.2", grafted=(), proven=())
    built, failed = (Outcome(target=target, seconds=2.25, wheel=wheel) for target in PLAN.targets[:2])
    outcomes = (built, replace(failed, error=BuildError("no")))
    record_times(path, Report(plan=PLAN, outcomes=outcomes[1:]), lines)
    assert not path.exists()
    record_times(path, Report(plan=PLAN, outcomes=outcomes), lines)
    assert recorded_times(path) == {built.target.identifier: 2.2}
    path.write_text("torn")
    assert recorded_times(path) == {}
    record_times(path / "below", Report(plan=PLAN, outcomes=outcomes), lines)
    assert "times are not kept" in lines.lines[-1]


def test_a_shard_without_wheels_ends_well_and_leaves_its_report(project: Path, tmp_path: Path) -> None:
    version = {"ApiVersion": "1.45", "Version": "26.1", "Arch": "amd64"}
    words = [str(project), "--only", "cp313-musllinux_1_2_x86_64", "--output", str(tmp_path / "out")]
    with answering(tmp_path / "socket", version) as host:
        result = CliRunner().invoke(
            build, [*words, "--shard", "2/2"], env={"DOCKER_HOST": host}, standalone_mode=False, catch_exceptions=False
        )
        assert result.return_value == 0
        (tmp_path / "file").touch()
        refused = CliRunner().invoke(
            build, [*words[:3], "-o", str(tmp_path / "file"), "--shard", "2/2"], env={"DOCKER_HOST": host}
        )
    report = parse_part((tmp_path / "out" / "musllinux-build-2-of-2.json").read_text(), "x")
    assert (report.shard, report.planned, report.outcomes) == (Shard(2, 2), ("cp313-musllinux_1_2_x86_64",), ())
    assert isinstance(refused.exception, UsageError)
    assert "cannot write" in refused.exception.brief


def test_the_text_has_what_a_packed_job_builds_and_what_is_skipped(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.12"\n')
    result = CliRunner().invoke(plan_command, [str(project), *CHOSEN, "--max-jobs", "1"], standalone_mode=False)
    assert result.stdout.splitlines() == [
        "part-1-of-1  ubuntu-24.04  emulated",
        "  cp313-musllinux_1_2_x86_64",
        "  cp313-musllinux_1_2_aarch64",
    ]
    assert result.stderr.count("skipped: requires-python >=3.12") == 2
