from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

from musllinux_build.arch import Arch
from musllinux_build.cli.plan import plan_command
from musllinux_build.config import Config
from musllinux_build.errors import UsageError
from musllinux_build.images.lock import format_lock
from musllinux_build.plan import Plan, Skip, Target, expand_braces, plan
from musllinux_build.policy import Policy, known_policies
from musllinux_build.python import PythonTag
from tests.unit.test_images_supplies import LOCK, python

P311, P313 = PythonTag(3, 11), PythonTag(3, 13)


def planned(config: Config, requires: str = "") -> Plan:
    return plan(config, pythons=[P311, P313], requires_python=SpecifierSet(requires), native=Arch.X86_64)


def target(arch: Arch, python: PythonTag, policy: Policy = Policy.MUSLLINUX_1_2) -> Target:
    return Target(arch=arch, policy=policy, python=python)


def test_default_is_the_engines_architecture_and_the_current_series() -> None:
    assert planned(Config()) == Plan(targets=(target(Arch.X86_64, P311), target(Arch.X86_64, P313)), skipped=())


def test_requires_python_is_a_reason() -> None:
    assert planned(Config(), ">=3.12").skipped == (
        Skip(target=target(Arch.X86_64, P311), reason="requires-python >=3.12"),
    )


@pytest.mark.parametrize("requires", [">=3.11.4", "<3.14", "~=3.11", ">=3.11,!=3.13.0", ""])
def test_a_micro_version_does_not_exclude_a_series(requires: str) -> None:
    assert not planned(Config(), requires).skipped


@pytest.mark.parametrize("pattern", ["cp311-*", "cp311-musllinux_x86_64", "cp31{1,2}-musllinux_*", "*_1_2_x86_64"])
def test_both_identifiers_are_selectors(pattern: str) -> None:
    assert target(Arch.X86_64, P311) in planned(Config(build=(pattern,))).targets


def test_skip_wins_and_says_so() -> None:
    result = planned(Config(skip=("cp313-musllinux_x86_64",)))
    assert result.skipped == (Skip(target=target(Arch.X86_64, P313), reason="skip = cp313-musllinux_x86_64"),)


@pytest.mark.parametrize("identifier", ["cp313-musllinux_1_2_aarch64", "cp313-musllinux_aarch64"])
def test_only_names_one_in_either_form(identifier: str) -> None:
    assert planned(Config(only=(identifier,))).targets == (target(Arch.AARCH64, P313),)


@pytest.mark.parametrize("identifier", ["cp312-musllinux_1_2_aarch64", "nonsense", "cp313-musllinux_1_2_aarch65"])
def test_only_what_there_is(identifier: str) -> None:
    with pytest.raises(UsageError):
        planned(Config(only=(identifier,)))


def test_only_what_the_project_allows() -> None:
    config = Config(only=("cp313-musllinux_1_2_aarch64", "cp311-musllinux_aarch64"))
    assert len(planned(config, ">=3.11.4").targets) == 2
    with pytest.raises(
        UsageError, match=r"--only cp311-musllinux_1_2_aarch64: the project's requires-python is >=3\.12"
    ):
        planned(config, ">=3.12")


def test_a_python_no_image_has() -> None:
    with pytest.raises(UsageError, match="cp39"):
        planned(Config(pythons=(PythonTag(3, 9),)))


def test_order_is_architecture_policy_python() -> None:
    config = Config(archs=(Arch.AARCH64, Arch.X86_64), policies=known_policies())
    found = [item.identifier for item in planned(config).targets]
    assert found[:4] == [
        "cp311-musllinux_1_1_aarch64",
        "cp313-musllinux_1_1_aarch64",
        "cp311-musllinux_1_2_aarch64",
        "cp313-musllinux_1_2_aarch64",
    ]
    assert len(found) == 8


def test_braces() -> None:
    assert expand_braces("cp{311,313}-*_{a,b}") == ("cp311-*_a", "cp311-*_b", "cp313-*_a", "cp313-*_b")


def test_json_has_every_target_and_reason() -> None:
    assert planned(Config(), ">=3.12").to_json() == {
        "version": 1,
        "targets": [
            {"id": "cp313-musllinux_1_2_x86_64", "arch": "x86_64", "policy": "musllinux_1_2", "python": "cp313"}
        ],
        "skipped": [
            {
                "id": "cp311-musllinux_1_2_x86_64",
                "arch": "x86_64",
                "policy": "musllinux_1_2",
                "python": "cp311",
                "reason": "requires-python >=3.12",
            }
        ],
    }


def test_what_there_is_no_image_for_is_skipped_with_its_reason() -> None:
    images = {(Policy.MUSLLINUX_1_2, Arch.X86_64): ""}
    config = Config(archs=(Arch.X86_64, Arch.S390X), pythons=(P313,))
    result = plan(config, pythons=[P313], requires_python=SpecifierSet(), native=Arch.X86_64, images=images)
    assert result.targets == (target(Arch.X86_64, P313),)
    assert "no image musllinux_1_2_s390x" in result.skipped[0].reason
    with pytest.raises(UsageError, match="no such image"):
        plan(
            Config(only=("cp313-musllinux_s390x",)),
            pythons=[P313],
            requires_python=SpecifierSet(),
            native=Arch.X86_64,
            images=images,
        )


def test_an_image_that_cannot_be_made_is_skipped_unless_it_is_named() -> None:
    images = {(Policy.MUSLLINUX_1_1, Arch.I686): "no headers", (Policy.MUSLLINUX_1_2, Arch.I686): ""}
    given: dict[str, Any] = {
        "pythons": [P313],
        "requires_python": SpecifierSet(),
        "native": Arch.X86_64,
        "images": images,
    }
    result = plan(Config(archs=(Arch.I686,), policies=known_policies(), pythons=(P313,)), **given)
    assert [one.identifier for one in result.targets] == ["cp313-musllinux_1_2_i686"]
    assert [one.reason for one in result.skipped] == ["no image musllinux_1_1_i686 can be made here: no headers"]
    (only,) = plan(Config(only=("cp313-musllinux_1_1_i686",)), **given).targets
    assert only.policy is Policy.MUSLLINUX_1_1


def test_what_the_image_that_is_here_lacks_is_left_out_unless_it_is_asked_for() -> None:
    here = {(Policy.MUSLLINUX_1_2, Arch.X86_64): (P313,)}

    def result(config: Config) -> Plan:
        return plan(config, pythons=[P311, P313], requires_python=SpecifierSet(), native=Arch.X86_64, here=here)

    both = result(Config(archs=(Arch.X86_64, Arch.AARCH64)))
    assert both.targets == (target(Arch.X86_64, P313), target(Arch.AARCH64, P311), target(Arch.AARCH64, P313))
    (skip,) = both.skipped
    assert skip.reason == "the image that is here has no Python 3.11; --pull always asks for another one"
    assert result(Config(pythons=(P311,))).targets == (target(Arch.X86_64, P311),)


def test_a_prerelease_is_built_for_where_it_is_named_only() -> None:
    threads = PythonTag(3, 13, free_threaded=True)
    prereleases = dict.fromkeys((P313, threads), "3.13.0b3")

    def result(config: Config) -> Plan:
        pythons = [P311, P313, threads]
        return plan(
            config, pythons=pythons, requires_python=SpecifierSet(), native=Arch.X86_64, prereleases=prereleases
        )

    default = result(Config())
    assert default.targets == (target(Arch.X86_64, P311),)
    assert [skip.reason for skip in default.skipped] == [
        "3.13.0b3 is a prerelease: name it with --python 3.13",
        "3.13.0b3 is a prerelease: name it with --python 3.13t",
    ]
    assert result(Config(pythons=(P313,))).targets == (target(Arch.X86_64, P313),)
    assert result(Config(only=("cp313t-musllinux_x86_64",))).targets == (target(Arch.X86_64, threads),)


def test_the_command_leaves_the_prereleases_of_the_lock_out(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    sources = tuple(python(version) for version in ("3.13.5", "3.15.0b3"))
    lock = tmp_path / "lock.toml"
    lock.write_text(format_lock(replace(LOCK, sources=sources)))

    def planned_by_command(*words: str) -> list[str]:
        command = [str(tmp_path), "--arch", "x86_64", "--lock", str(lock), "--format", "json", *words]
        result = CliRunner().invoke(plan_command, command, standalone_mode=False, catch_exceptions=False)
        return [one["python"] for one in json.loads(result.stdout)["targets"]]

    assert planned_by_command() == ["cp313"]
    assert planned_by_command("--python", "3.15t") == ["cp315t"]
