"""What the workflows, the Action and the documentation of CI promise, as far as text says it; zizmor does the rest."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from musllinux_build.cli.main import main
from musllinux_build.images.absent import read_absent

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = [ROOT / "action.yml", *sorted((ROOT / ".github" / "actions").glob("*/action.yml"))]
PAGES = ("README.md", "docs/ci.md", "docs/images.md", "docs/matrices.md")
DOCUMENTS = [ROOT / name for name in PAGES if (ROOT / name).exists()]
PINNED = re.compile(r"uses: (?P<action>[\w./-]+)@(?P<commit>[0-9a-f]{40}) # (?P<version>v\d+\.\d+\.\d+)")
INDEX_HOST = re.compile(r"\b(?:files\.|test\.)?py(?:pi|thonhosted)\.org", re.IGNORECASE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with_uses(path: Path) -> list[str]:
    found = [line.strip().removeprefix("- ") for line in path.read_text().splitlines()]
    return [line for line in found if line.startswith("uses:")]


def blocks(text: str, key: str) -> Iterator[str]:
    """What stands under each ``key:`` (deeper indented), or on its line."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = re.match(rf"( *)(?:- )?{key}: ?(.*)", line)
        if match is None:
            continue
        margin = " " * (len(match[1]) + 1)
        under = _deeper(lines[number + 1 :], margin)
        yield "\n".join([match[2], *under])


def _deeper(lines: list[str], margin: str) -> Iterator[str]:
    return itertools.takewhile(lambda line: not line.strip() or line.startswith(margin), lines)


def jobs(path: Path) -> dict[str, str]:
    _, _, text = path.read_text().partition("\njobs:\n")
    parts = re.split(r"^  ([\w-]+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_other_peoples_actions_are_pinned_by_commit(path: Path) -> None:
    for line in lines_with_uses(path):
        assert line.startswith("uses: ./") or PINNED.fullmatch(line), line


def test_one_action_is_one_commit_everywhere() -> None:
    found: dict[str, set[tuple[str, str]]] = {}
    for path in [*WORKFLOWS, *ACTIONS, *DOCUMENTS]:
        for line in lines_with_uses(path):
            if match := PINNED.fullmatch(line):
                found.setdefault(match["action"], set()).add((match["commit"], match["version"]))
    assert found
    assert {action: pins for action, pins in found.items() if len(pins) > 1} == {}


def test_examples_pin_what_is_not_ours() -> None:
    lines = [line for path in DOCUMENTS for line in lines_with_uses(path)]
    assert lines
    for line in lines:
        assert line.startswith("uses: musllinux-build/musllinux-build@v") or PINNED.fullmatch(line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_nothing_is_granted_but_by_job(path: Path) -> None:
    assert "\npermissions: {}\n" in path.read_text()
    found = jobs(path)
    assert found
    for job, text in found.items():
        assert "\n    permissions:\n" in text, job
        assert re.search(r"^    timeout-minutes: \d+$", text, re.MULTILINE), job
        assert "write-all" not in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_no_checkout_leaves_its_token_behind(path: Path) -> None:
    text = path.read_text()
    assert text.count("uses: actions/checkout@") == text.count("persist-credentials: false")


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_scripts_get_what_they_need_through_their_environment(path: Path) -> None:
    for script in blocks(path.read_text(), "run"):
        assert "${{" not in script


def test_packages_are_written_by_no_job_of_a_pull_request() -> None:
    text = (ROOT / ".github" / "workflows" / "images.yml").read_text()
    for job, body in jobs(ROOT / ".github" / "workflows" / "images.yml").items():
        if "packages: write" in body:
            assert "github.event_name != 'pull_request'" in body or "needs: push" in body, job
    assert "pull_request_target" not in text


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS, *DOCUMENTS], ids=name)
def test_the_package_index_is_not_named_by_its_host(path: Path) -> None:
    assert INDEX_HOST.search(path.read_text()) is None


ACTION = ROOT / "action.yml"
NOTHING = '{"targets": []}'
PROJECT = '[project]\nname = "x"\nversion = "1"\n[tool.musllinux-build]\narchs = ["ppc64le", "armv7l"]\n'
TOOL = """#!/bin/sh
case "$*" in
"build --dry-run --json "*) if test -e plan; then cat plan; else exec {tool} "$@"; fi ;;
"doctor "*) echo "$@" >>doctor; exit 3 ;;
*) printf '%s\\n' "$@" >arguments; echo the table; exit {status} ;;
esac
"""
SUDO = """#!/bin/sh
printf 'sudo ' >>doctor
exec "$@"
"""


def run_action(directory: Path, inputs: Mapping[str, str], *, status: int = 0) -> int:
    """The status of the Action's script, where builds end with ``status`` and no architecture can be executed."""
    (directory / "bin").mkdir()
    tool = shlex.join([sys.executable, "-m", "musllinux_build"])
    for file, text in (("musllinux-build", TOOL.format(tool=tool, status=status)), ("sudo", SUDO)):
        (directory / "bin" / file).write_text(text)
        (directory / "bin" / file).chmod(0o755)
    (directory / "bin" / "python").symlink_to(sys.executable)
    (directory / "out").mkdir()
    (directory / "out" / "a b.whl").touch()
    (script,) = [one for one in blocks(ACTION.read_text(), "run") if " build " in one]
    given = {"TOOL": ".", "SOURCE": ".", "OUTPUT": "out", "EMULATION": "true"}
    places = {
        "RUNNER_TEMP": ".",
        "GITHUB_OUTPUT": "outputs",
        "GITHUB_STEP_SUMMARY": "summary",
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", textwrap.dedent(script.partition("\n")[2])],
        cwd=directory,
        env={**given, **dict.fromkeys(("ARCH", "POLICY", "PYTHONS", "ARGS"), ""), **places, **inputs},
        check=False,
        stdout=subprocess.DEVNULL,
    ).returncode


@pytest.mark.parametrize(
    ("inputs", "arguments"),
    [
        ({}, []),
        (
            {"ARCH": " x86_64  aarch64\ns390x\n", "PYTHONS": "3.13 *", "POLICY": "musllinux_1_1\nmusllinux_1_2"},
            [
                *("--arch", "x86_64", "--arch", "aarch64", "--arch", "s390x"),
                *("--policy", "musllinux_1_1", "--policy", "musllinux_1_2"),
                *("--python", "3.13", "--python", "*"),
            ],
        ),
        (
            {"ARGS": '--before-all "apk add yaml-dev; $(id)" -v'},
            ["--before-all", "apk add yaml-dev; $(id)", "-v"],
        ),
    ],
)
def test_the_action_builds_with_what_it_was_given(
    tmp_path: Path, inputs: Mapping[str, str], arguments: list[str]
) -> None:
    (tmp_path / "plan").write_text(NOTHING)
    assert run_action(tmp_path, inputs) == 0
    assert (tmp_path / "arguments").read_text().splitlines() == ["build", ".", "--output", "out", *arguments]
    assert (tmp_path / "outputs").read_text() == f'wheels-dir={tmp_path}/out\nwheels=["a b.whl"]\n'
    assert "the table" in (tmp_path / "summary").read_text()
    assert not (tmp_path / "doctor").exists()


def test_a_build_that_fails_leaves_its_table_and_fails_the_action(tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(NOTHING)
    assert run_action(tmp_path, {}, status=4) == 4
    assert "the table" in (tmp_path / "summary").read_text()
    assert "a b.whl" in (tmp_path / "outputs").read_text()


@pytest.mark.parametrize(
    ("inputs", "archs"),
    [
        ({}, "--arch ppc64le --arch armv7l"),
        ({"ARCH": "s390x\ni686"}, "--arch s390x --arch i686"),
        ({"MUSLLINUX_BUILD_ARCH": "aarch64"}, "--arch aarch64"),
        ({"ARGS": "--only cp313-musllinux_1_2_s390x --test-command 'true'"}, "--arch s390x"),
    ],
)
def test_the_action_prepares_the_runner_for_what_is_planned(
    tmp_path: Path, inputs: Mapping[str, str], archs: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert run_action(tmp_path, inputs) == 0
    assert (tmp_path / "doctor").read_text() == f"doctor {archs}\nsudo doctor --fix {archs}\n"


def test_no_emulator_is_installed_where_that_is_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "plan").write_text('{"targets": [{"arch": "s390x"}, {"arch": "s390x"}]}')
    assert run_action(tmp_path, {"EMULATION": "false"}) == 0
    assert (tmp_path / "doctor").read_text() == "doctor --arch s390x\n"


def test_arguments_with_a_quote_too_few_are_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(NOTHING)
    assert run_action(tmp_path, {"ARGS": "--before-all 'apk add yaml-dev"}) == 1
    assert not (tmp_path / "arguments").exists()


def test_what_cannot_be_planned_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert run_action(tmp_path, {"ARCH": "vax"}) == 2
    assert not (tmp_path / "arguments").exists()


def commands(text: str) -> Iterator[list[str]]:
    """Every command line of ours in ``text``, its continuation lines joined, cut where the shell would."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        match = re.match(
            r'(?:\s*(?:- )?(?:run: |script: )?|.*(?:\|\| |\| |sudo ))(?:"[^"]*/)?musllinux-build"? (.+)', line
        )
        if match is None or "=" in match[1].split(" ", 1)[0]:
            continue
        lexer = shlex.shlex(match[1], posix=True, punctuation_chars="|&;()>")
        lexer.whitespace_split = True
        yield list(itertools.takewhile(lambda word: not set(word) <= set("|&;()>"), lexer))


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS, *DOCUMENTS], ids=name)
def test_every_command_and_option_is_one_of_the_tool(path: Path) -> None:
    for words in commands(path.read_text()):
        known_options(main, words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_examples_install_the_test_runner_that_they_call(path: Path) -> None:
    for words in commands(path.read_text()):
        options = dict(itertools.pairwise(words))
        if options.get("--test-command", "").startswith("pytest "):
            assert options.get("--test-requires") == "pytest", words


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_pages_that_name_a_release_say_so_while_there_is_none(path: Path) -> None:
    text = path.read_text()
    released = re.search(r"^## \[\d", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE) is not None
    if re.search(r"musllinux-build(?:==|@v)\d", text):
        assert ("install from a clone (`pip install .`)" in text.partition("\n## ")[0]) is not released


def test_what_our_images_lack_is_told_where_they_are_verified() -> None:
    action = (ROOT / ".github" / "actions" / "image" / "action.yml").read_text()
    (path,) = re.findall(r"--absent (\S+)", action)
    assert list(read_absent(ROOT / path)) == ["module.tkinter"]


def test_the_workflows_use_these() -> None:
    found = {" ".join(words[:2]) for path in [*WORKFLOWS, *ACTIONS] for words in commands(path.read_text())}
    assert {"images build", "images verify", "images publish", "images join", "images lock", "doctor --fix"} <= found


def known_options(command: click.Command, words: list[str]) -> None:
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        if found is None:
            break
        command, words = found, words[1:]
    if isinstance(command, click.Group):
        default = command.get_command(context, "build")
        assert default is not None, words
        command = default
    options = {word for one in command.params for word in (*one.opts, *one.secondary_opts)} | {
        "-h",
        "--help",
        "--version",
    }
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options, (command.name, used - options)


def test_a_command_that_the_tool_does_not_know_is_found() -> None:
    text = '    - run: "$RUNNER_TEMP/tool/bin/musllinux-build" images build --no-such "$A" | tee x\n'
    (words,) = commands(text)
    assert words == ["images", "build", "--no-such", "$A"]
    with pytest.raises(AssertionError):
        known_options(main, words)
