from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.cli.build import build
from musllinux_build.config import (
    _READERS,
    CIBUILDWHEEL,
    Config,
    parse_arch,
    parse_config,
    parse_environment,
    parse_policy,
    parse_python,
    parse_requirements,
    parse_settings,
    split_words,
)
from musllinux_build.engines import EngineSpec
from musllinux_build.errors import UsageError
from musllinux_build.policy import MuslVersion, known_policies
from musllinux_build.python import PythonTag


def test_every_key_is_read() -> None:
    config = parse_config(
        {
            "archs": ["x86_64", "aarch64"],
            "policies": "all",
            "pythons": ["3.11", "cp313t"],
            "build": "cp31*",
            "skip": ["*-musllinux_s390x"],
            "config-settings": {"setup-args": ["-Da=1", "-Db=2"], "verbose": "1"},
            "before-all": ["apk add yaml-dev", "true"],
            "before-build": "true",
            "environment": {"A": "1"},
            "test-command": "python -c 'import x'",
            "test-requires": "pytest >= 8",
            "engines": {"aarch64": "ssh://me@arm?slots=2", "default": ["podman", "cloud"]},
            "compiler": "clang",
            "accel": "off",
            "pull": "never",
            "registry": "example.org/x",
            "verify": False,
        }
    )
    assert config == Config(
        archs=(Arch.X86_64, Arch.AARCH64),
        policies=known_policies(),
        pythons=(PythonTag(3, 11), PythonTag(3, 13, free_threaded=True)),
        build=("cp31*",),
        skip=("*-musllinux_s390x",),
        config_settings={"setup-args": ("-Da=1", "-Db=2"), "verbose": ("1",)},
        before_all="apk add yaml-dev && true",
        before_build="true",
        environment={"A": "1"},
        test_command="python -c 'import x'",
        test_requires=("pytest >= 8",),
        engines=(
            EngineSpec(where="ssh://me@arm", arch=Arch.AARCH64, slots=2),
            EngineSpec(where="podman"),
            EngineSpec(where="cloud"),
        ),
        compiler="clang",
        accel="off",
        pull="never",
        registry="example.org/x",
        verify=False,
    )


def test_all_problems_come_together_with_dotted_keys() -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(
            {
                "arch": "x86_64",
                "archs": ["arm64"],
                "pull": "sometimes",
                "compiler": 1,
                "engines": {"arm64": "x"},
                "environment": "1A=2",
                "verify": "no",
            }
        )
    lines = caught.value.details.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"tool.musllinux-build.{key}"
        for key in ("arch", "archs", "pull", "compiler", "engines", "environment", "verify")
    ]
    assert "did you mean 'archs'" in lines[0]


@pytest.mark.parametrize(("text", "hint"), [("aarch65", "aarch64"), ("x86-64", "x86_64"), ("armv7", "armv7l")])
def test_unknown_architecture_names_the_near_miss(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{hint}'"):
        parse_arch(text)


def test_unknown_policy_names_the_near_miss() -> None:
    with pytest.raises(ValueError, match="did you mean 'musllinux_1_2'"):
        parse_policy("musllinux_1_3")


@pytest.mark.parametrize("text", ["3.13", "313", "cp313", "cp313-cp313"])
def test_python_in_all_its_forms(text: str) -> None:
    assert parse_python(text) == PythonTag(3, 13)


@pytest.mark.parametrize("text", ["", "pypy3", "2.7", "cp3", "3.x", "cp313m"])
def test_no_python(text: str) -> None:
    with pytest.raises(ValueError, match="unknown Python"):
        parse_python(text)


@given(st.integers(0, 99), st.booleans())
def test_python_tags_round_trip(minor: int, free_threaded: bool) -> None:
    tag = PythonTag(3, minor, free_threaded)
    assert PythonTag.parse(str(tag)) == tag == PythonTag.parse(tag.directory)


@given(st.tuples(*[st.integers(0, 999)] * 3))
def test_musl_versions_round_trip(parts: tuple[int, int, int]) -> None:
    assert MuslVersion.parse(str(MuslVersion(*parts))) == MuslVersion(*parts)


def test_musl_versions_order_and_drop_the_package_revision() -> None:
    assert MuslVersion.parse("1.2.4_git20230717-r4") == MuslVersion(1, 2, 4)
    assert MuslVersion.parse("1.1.24-r10") < MuslVersion.parse("1.2.0")
    with pytest.raises(ValueError, match="not a musl version"):
        MuslVersion.parse("1.2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), ("A=1 B='x y'", {"A": "1", "B": "x y"}), ("A=", {"A": ""}), ("A=b=c", {"A": "b=c"})],
)
def test_environment(text: str, expected: dict[str, str]) -> None:
    assert parse_environment(text) == expected


@pytest.mark.parametrize("text", ["A", "1A=2", "A='"])
def test_environment_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=VALUE|quotation"):
        parse_environment(text)


@pytest.mark.parametrize("text", ["amd64", "arm64", "i386", "arm/v7", "ppc64el"])
def test_names_of_other_tools_are_known_and_not_taken(text: str) -> None:
    own = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "arm/v7": "armv7l", "ppc64el": "ppc64le"}[text]
    with pytest.raises(ValueError, match=f"did you mean '{own}'"):
        parse_arch(text)


def test_the_engine_s_own_architecture_has_no_name() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        parse_arch("auto")


def test_keys_of_cibuildwheel_say_what_takes_their_place() -> None:
    with pytest.raises(UsageError) as caught:
        parse_config({"test-extras": "test", "test-require": []})
    first, second = caught.value.details.splitlines()
    assert "name what the extra requires in test-requires" in first
    assert "did you mean 'test-requires'" in second


def test_the_page_of_options_has_every_key_and_every_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example
    assert parse_config(tomllib.loads(example[1])["tool"]["musllinux-build"]).config_settings
    table, theirs = text.split("## Coming from cibuildwheel")
    keys = {line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| `")}
    assert keys == {*_READERS}
    options = {option for parameter in build.params for option in parameter.opts if option.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]+", table)) <= {*options, "--no-verify"}
    named = set(re.findall(r"`([a-z0-9_-]+)[` ]", theirs))
    assert {key for key in CIBUILDWHEEL if key != "container-engine"} <= named


def test_names_stand_between_blanks_or_commas() -> None:
    assert split_words("x86_64, aarch64\ni686,") == ["x86_64", "aarch64", "i686"]
    assert parse_config({"archs": "x86_64,aarch64"}).archs == (Arch.X86_64, Arch.AARCH64)


def test_settings_of_one_key_come_together() -> None:
    assert parse_settings(["a=1", "b=", "a=2=3"]) == {"a": ("1", "2=3"), "b": ("",)}
    assert parse_config({"config-settings": "a=1 'b=2 3'"}).config_settings == {"a": ("1",), "b": ("2 3",)}


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_a_setting_without_key_or_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        parse_settings([text])


def test_requirements_are_told_from_lists_of_them() -> None:
    known = ("pytest>=8", "x[y]", "helpers @ file:///project/helpers", "/project/helpers", "a ; python_version > '3'")
    assert parse_requirements(known) == known
    with pytest.raises(ValueError, match=r"""'pytest numpy' is no requirement; write a list: \["pytest", "numpy"\]"""):
        parse_requirements(["pytest numpy"])
    with pytest.raises(ValueError, match="'pytest >' is no requirement: "):
        parse_requirements(["pytest >"])
    with pytest.raises(UsageError, match="pyproject"):
        parse_config({"test-requires": "pytest numpy"})
