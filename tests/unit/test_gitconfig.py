"""What of a repository's configuration a build gets to see."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musllinux_build.gitconfig import shared_config
from musllinux_build.project import read_project, source_tar

SECRET = "hunter2"
CHECKOUT = f"""[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tworktree = ../elsewhere
\tsshCommand = ssh -i /home/me/{SECRET}
\thooksPath = /home/me/hooks
[remote "origin"]
\turl = https://me:{SECRET}@example.org/x.git
\tpushurl = https://{SECRET}@example.org/x.git
\tproxy = http://me:{SECRET}@proxy
\tfetch = +refs/heads/*:refs/remotes/origin/*
[branch "main"]
\tremote = origin
\tmerge = refs/heads/main
[http "https://example.org/"]
\textraheader = AUTHORIZATION: basic \\
{SECRET}
[url "https://{SECRET}@example.org/"]
\tinsteadOf = https://example.org/
[credential]
\thelper = store --file={SECRET}
[includeIf "gitdir:/x/"]
\tpath = {SECRET}
[extensions]
\tobjectFormat = sha256
[CORE]
\tautocrlf = input
"""


def listed(path: Path, content: bytes) -> list[str]:
    """As git itself reads it."""
    path.write_bytes(content)
    done = subprocess.run(["git", "config", "-f", path, "--list"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_what_a_checkout_of_a_ci_system_leaves(tmp_path: Path) -> None:
    assert listed(tmp_path / "config", shared_config(CHECKOUT.encode())) == [
        "core.repositoryformatversion=0",
        "core.filemode=true",
        "remote.origin.url=https://example.org/x.git",
        "remote.origin.fetch=+refs/heads/*:refs/remotes/origin/*",
        "branch.main.remote=origin",
        "branch.main.merge=refs/heads/main",
        "extensions.objectformat=sha256",
        "core.autocrlf=input",
    ]


def test_a_submodule_keeps_where_its_files_are(tmp_path: Path) -> None:
    own = listed(tmp_path / "config", shared_config(CHECKOUT.encode(), submodule=True))
    assert "core.worktree=../elsewhere" in own


def test_twice_is_as_once() -> None:
    once = shared_config(CHECKOUT.encode())
    assert shared_config(once) == once


WORDS = st.sampled_from(
    [
        *("[core]", '[http "https://x/"]', "[credential]", '[remote "a"]', "[extensions]", '[url "x"]', "[http.x]"),
        *("\n", "\r\n", "\\\n", "\t", " ", "=", "url", "extraheader", "fetch", "#", ";", '"', "bare", "true", "x"),
        f"https://me:{SECRET}@x",
        f"url = ssh://{SECRET}@x\n",
        f"extraheader = {SECRET}\n",
    ]
)


@given(st.lists(WORDS, max_size=30).map("".join))
@example(f"[core]https://me:{SECRET}@x[core]")
@example(f'[remote "https://me:{SECRET}@x/"]\nurl = https://me:\\\n{SECRET}@x\n')
@example(f"[remote.a]\nurl = ssh://a@{SECRET}@x\n")
def test_whatever_it_looks_like_no_http_header_and_no_user_of_a_url_is_left(text: str) -> None:
    found = shared_config(text.encode())
    assert not any(line.lstrip().startswith(b"extraheader") for line in found.splitlines())
    assert f"://{SECRET}@".encode() not in found
    assert f":{SECRET}@".encode() not in found


@pytest.mark.parametrize("submodule", [False, True])
def test_a_project_s_copy_of_git(tmp_path: Path, *, submodule: bool) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "setup.py").touch()
    place = tmp_path / ".git" / ("modules/inner" if submodule else ".")
    place.mkdir(parents=True, exist_ok=True)
    (place / "objects").mkdir(exist_ok=True)
    (place / "hooks").mkdir(exist_ok=True)
    (place / "hooks" / "pre-commit").write_text(SECRET)
    (place / "config").write_text(CHECKOUT)
    (place / "config.worktree").write_text(CHECKOUT)
    sent = b"".join(source_tar(read_project(tmp_path), lambda _: ["setup.py"]))
    assert SECRET.encode() not in sent
    assert b"refs/remotes/origin" in sent
    assert (b"../elsewhere" in sent) is submodule
