"""The command line before any engine is asked: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from musllinux_build.builds.environment import FRESH_SECONDS, expire
from musllinux_build.cli.main import main
from musllinux_build.errors import NotAProjectError, UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    return tmp_path


def run(*words: object) -> int:
    return int(main.main([str(word) for word in words], prog_name="musllinux-build", standalone_mode=False) or 0)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("polciy", "policy"),
        ("show", "audit show"),
        ("repair", "audit repair"),
        ("doctr", "doctor"),
        ("imges", "images"),
    ],
)
def test_a_misspelt_command_is_no_source(word: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(word, "x.whl")
    assert caught.value.resolution == f"Did you mean musllinux-build {meant}?"


def test_a_directory_may_be_called_like_a_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.rename(project.with_name("polciy"))
    monkeypatch.chdir(project.parent)
    assert run("polciy", "--dry-run", "--python", "3.13") == 0
    assert capsys.readouterr().out.startswith("cp313-musllinux_1_2_")


@pytest.mark.parametrize("words", [("build", "--dry-run"), ("plan",)])
def test_a_plan_of_nothing_is_refused_as_a_build_would(project: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="nothing is selected") as caught:
        run(*words, project, "--build", "cp399-*")
    assert "not selected by build = cp399-*" in caught.value.details


def test_selectors_of_the_command_line_win(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.musllinux-build]\nbuild = ["cp313-*"]\nskip = ["*"]\n')
    selectors = ("--build", "cp3{11,13}-*", "--skip", "cp311-*", "--arch", "x86_64,s390x")
    assert run(project, "--dry-run", *selectors) == 0
    assert capsys.readouterr().out.split() == ["cp313-musllinux_1_2_x86_64", "cp313-musllinux_1_2_s390x"]


def test_a_variable_that_no_shell_would_split(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSLLINUX_BUILD_CONFIG_SETTING", "a='1")
    with pytest.raises(click.BadParameter, match="No closing quotation"):
        run(project, "--dry-run")


def test_an_engine_that_is_none_is_refused_without_asking_it(project: Path) -> None:
    with pytest.raises(UsageError, match="no name of a docker context"):
        run(project, "--dry-run", "--engine", "foo bar")


def test_an_offline_directory_of_something_else(project: Path) -> None:
    (project / "empty").mkdir()
    with pytest.raises(UsageError, match="has none of bases, sources, apk, wheels, lock") as caught:
        run(project, "--dry-run", "--offline", project / "empty")
    assert "images mirror" in caught.value.resolution


@pytest.mark.parametrize(("name", "hint"), [("x.whl", "audit show"), ("x.zip", "PEP 625"), ("x.tar.gz", "pyproject")])
def test_what_is_no_sdist_says_what_it_may_be(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(NotAProjectError) as caught:
        run(tmp_path / name, "--dry-run")
    assert caught.value.brief == f"{tmp_path / name} is not an sdist"
    assert hint in caught.value.resolution
    assert caught.value.details


def test_old_environments_go_and_those_of_today_stay(tmp_path: Path) -> None:
    for name in ("a.tar", "a.json"):
        (tmp_path / name).touch()
    now = (tmp_path / "a.tar").stat().st_mtime
    assert expire(tmp_path, now + 1.9 * FRESH_SECONDS) == []
    assert len(expire(tmp_path, now + 2.1 * FRESH_SECONDS)) == 2
    assert expire(tmp_path / "nowhere", now) == []
    assert not list(tmp_path.iterdir())
