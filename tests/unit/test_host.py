from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from musllinux_build.adapters.host import ca_bundle, forwarded_index, scm_environment, tracked_files
from musllinux_build.errors import UsageError

Git = Callable[..., str]
SCM = '[project]\nname = "x"\n[tool.setuptools_scm]\n'

LISTING = """\
:env:.cert='/etc/ssl/certs/ca-certificates.crt'
:env:.find-links='/opt/wheels'
global.extra-index-url='file:///opt/simple\\nhttps://two.example/simple'
global.index-url='https://user:secret@one.example/simple'
global.trusted-host='one.example'
install.proxy='http://proxy.example:3128'
list.format='json'
"""


def test_what_means_the_same_in_a_container_goes_along() -> None:
    assert forwarded_index(LISTING, with_credentials=False) == {
        "PIP_EXTRA_INDEX_URL": "https://two.example/simple",
        "PIP_TRUSTED_HOST": "one.example",
        "PIP_PROXY": "http://proxy.example:3128",
    }


def test_credentials_go_along_when_asked() -> None:
    found = forwarded_index(LISTING, with_credentials=True)
    assert found["PIP_INDEX_URL"] == "https://user:secret@one.example/simple"


def test_an_index_on_this_machine_stays() -> None:
    assert forwarded_index("global.index-url='http://localhost:3141/root'", with_credentials=True) == {}


def test_the_environment_wins_over_the_command_and_the_command_over_global() -> None:
    # As pip sorts them.
    assert forwarded_index(
        ":env:.index-url='https://env.example/simple'\n"
        "global.index-url='https://global.example/simple'\n"
        "global.timeout='1'\n"
        "install.index-url='https://install.example/simple'\n"
        "install.timeout='2'\n",
        with_credentials=False,
    ) == {"PIP_INDEX_URL": "https://env.example/simple", "PIP_DEFAULT_TIMEOUT": "2"}


def test_what_is_no_url_is_left_out_and_said() -> None:
    warnings: list[str] = []
    assert forwarded_index(":env:.index-url='http://[x'", with_credentials=False, warn=warnings.append) == {}
    assert warnings == ["pip's index-url is no URL and was not passed in"]


def test_a_proxy_needs_no_scheme() -> None:
    for proxy in ("proxy.example:3128", "socks5://proxy.example:1080"):
        assert forwarded_index(f":env:.proxy='{proxy}'", with_credentials=False) == {"PIP_PROXY": proxy}


def test_an_index_with_a_password_is_named_without_it() -> None:
    warnings: list[str] = []
    forwarded_index(LISTING, with_credentials=False, warn=warnings.append)
    forwarded_index(":env:.proxy='user:secret@proxy.example:3128'", with_credentials=False, warn=warnings.append)
    assert ["one.example" in warnings[0], "proxy.example" in warnings[1]] == [True, True]
    assert all("--index-credentials" in warning and "secret" not in warning for warning in warnings)
    forwarded_index(LISTING, with_credentials=True, warn=warnings.append)
    assert len(warnings) == 2


def test_a_line_that_is_not_quoted_as_pip_does() -> None:
    assert forwarded_index("global.timeout=60\nglobal.retries=five", with_credentials=False) == {
        "PIP_DEFAULT_TIMEOUT": "60",
        "PIP_RETRIES": "five",
    }


def test_the_chosen_bundle_must_hold_a_certificate(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(UsageError, match="holds no certificate"):
        ca_bundle(path, {})
    path.write_text("-----BEGIN CERTIFICATE-----")
    assert ca_bundle(path, {}) == path.read_bytes()
    assert ca_bundle(None, {"SSL_CERT_FILE": str(path)}) == path.read_bytes()


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git in the repository ``tmp_path / "repo"``, which has one commit."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    repo = tmp_path / "repo"
    repo.mkdir()
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(repo), *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (repo / "pyproject.toml").write_text(SCM)
    git("add", ".")
    git("commit", "-qm", "1")
    return git


def test_a_directory_outside_version_control(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert tracked_files(tmp_path, warnings.append) is None
    assert scm_environment(tmp_path, tomllib.loads(SCM), warnings.append) == {}
    assert warnings == []


def test_what_git_ignores_stays(tmp_path: Path, git: Git) -> None:
    for name in ("new.c", "x.o", ".gitignore"):
        (tmp_path / "repo" / name).write_text("*.o")
    assert tracked_files(tmp_path / "repo") == [".gitignore", "new.c", "pyproject.toml"]


def test_a_directory_that_a_repository_above_ignores_is_in_none(tmp_path: Path, git: Git) -> None:
    (tmp_path / "repo/.gitignore").write_text("*")
    project = tmp_path / "repo/src/project"
    project.mkdir(parents=True)
    (project / "setup.py").touch()
    assert tracked_files(project) is None
    git("add", "-f", "src/project/setup.py")
    assert tracked_files(project) == ["setup.py"]


def test_variables_of_another_repository_do_not_reach_git(
    tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert tracked_files(tmp_path / "repo") == ["pyproject.toml"]


def test_a_git_that_fails_in_a_repository_is_said(tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    repo = tmp_path / "repo"
    (repo / "inside").mkdir()
    (repo / ".git/index").write_bytes(b"not an index")
    assert tracked_files(repo / "inside", warnings.append) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tracked_files(repo, warnings.append) is None
    assert scm_environment(repo, tomllib.loads(SCM), warnings.append) == {}
    assert ["index" in warnings[0], "not found" in warnings[1], "not found" in warnings[2]] == [True] * 3


def test_setuptools_scm_is_told_the_version(tmp_path: Path, git: Git) -> None:
    repo, table, warnings = tmp_path / "repo", tomllib.loads(SCM), list[str]()

    def version() -> str:
        return scm_environment(repo, table, warnings.append, clock=lambda: 0.0)["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_X"]

    short = f"g{git('rev-parse', 'HEAD')[:9]}"
    assert version() == f"0.1.dev1+{short}"
    (repo / "pyproject.toml").write_text("#")
    assert version() == f"0.1.dev1+{short}.d19700101"
    git("tag", "v1.2.3")
    assert version() == f"1.2.4.dev0+{short}.d19700101"
    git("checkout", "-q", ".")
    assert version() == "1.2.3"
    assert warnings == []


def test_a_work_tree_has_the_version_of_its_own_commit(tmp_path: Path, git: Git) -> None:
    git("tag", "v1.0")
    git("worktree", "add", "-q", "../linked")
    git("commit", "-q", "--allow-empty", "-m", "2")
    found = scm_environment(tmp_path / "linked", tomllib.loads(SCM))
    assert found == {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_X": "1.0"}


def test_a_project_below_the_top_needs_its_root(tmp_path: Path, git: Git) -> None:
    git("tag", "v1.0")
    below = tmp_path / "repo/python"
    below.mkdir()
    assert scm_environment(below, tomllib.loads(SCM)) == {}
    assert scm_environment(below, tomllib.loads(f'{SCM}root = ".."')) == {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_X": "1.0"}


def test_a_version_that_only_git_in_the_image_can_say(tmp_path: Path, git: Git) -> None:
    warnings: list[str] = []
    table = tomllib.loads(f'{SCM}version_scheme = "post-release"')
    assert scm_environment(tmp_path / "repo", table, warnings.append) == {}
    assert 'setuptools-scm with version_scheme): before-all = "apk add git"' in warnings[0]


def test_a_repository_without_a_commit_has_no_version(tmp_path: Path, git: Git) -> None:
    warnings: list[str] = []
    git("checkout", "-q", "--orphan", "empty")
    assert scm_environment(tmp_path / "repo", tomllib.loads(SCM), warnings.append) == {}
    assert "HEAD" in warnings[0]


def test_a_shallow_clone_may_count_too_few(tmp_path: Path, git: Git) -> None:
    git("commit", "-q", "--allow-empty", "-m", "2")
    git("clone", "-q", "--depth=1", f"file://{tmp_path}/repo", str(tmp_path / "shallow"))
    warnings: list[str] = []
    assert scm_environment(tmp_path / "shallow", tomllib.loads(SCM), warnings.append)
    assert "--unshallow" in warnings[0]
    assert scm_environment(tmp_path / "repo/pyproject.toml", {}) == {}
