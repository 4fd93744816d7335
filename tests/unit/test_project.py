from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from musllinux_build.errors import NotAProjectError, UsageError
from musllinux_build.project import Project, Warn, read_project, say_nothing, source_tar

PYPROJECT = b'[project]\nname = "x"\nrequires-python = ">=3.11"\n[tool.musllinux-build]\nskip = "cp312-*"\n'


def names(project: Project, listing: Sequence[str] | None = None, leave_out: Sequence[Path] = ()) -> dict[str, str]:
    data = b"".join(source_tar(project, lambda _: listing, leave_out=leave_out))
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        assert all(member.uid == member.gid == 0 for member in tar)
        return {member.name: member.linkname for member in tar if not member.isdir()}


def contents(path: Path, warn: Warn = say_nothing) -> dict[str, bytes | None]:
    """Name → content in the tar of an sdist, or of a directory without version control; None for what is no file."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(source_tar(read_project(path), lambda _: None, warn=warn)))) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {member.name: stream.read() if (stream := files.get(member.name)) else None for member in tar}


def sdist_of(path: Path, *members: tuple[str, bytes, str]) -> Path:
    """An sdist of files (type REGTYPE, content) and links (their type, target), in this order."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, text in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
            else:
                entry.linkname = text
                tar.addfile(entry)
    return path


def sdist(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "x"
    for name in ("src/x.c", ".git/HEAD", "wheelhouse/old.whl", "src/__pycache__/x.pyc", ".venv/pyvenv.cfg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "pyproject.toml").write_bytes(PYPROJECT)
    (root / "link").symlink_to("src/x.c")
    return root


def test_a_directory_says_its_table_and_its_pythons(tree: Path) -> None:
    project = read_project(tree)
    assert project.table == {"skip": "cp312-*"}
    assert str(project.requires_python) == ">=3.11"
    assert not project.is_sdist


def test_an_sdist_says_the_same(tmp_path: Path) -> None:
    path = sdist(tmp_path / "x-1.tar.gz", {"x-1/pyproject.toml": PYPROJECT, "x-1/PKG-INFO": b"Name: x\n"})
    assert read_project(path).table == {"skip": "cp312-*"}
    assert names(read_project(path)) == {"pyproject.toml": "", "PKG-INFO": ""}


def test_pythons_of_an_sdist_without_a_project_table(tmp_path: Path) -> None:
    path = sdist(tmp_path / "x-1.tar.gz", {"x-1/setup.py": b"", "x-1/PKG-INFO": b"Name: x\nRequires-Python: >=3.9\n"})
    assert str(read_project(path).requires_python) == ">=3.9"


def test_pythons_of_setup_cfg(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("[options]\npython_requires = >=3.12\n")
    assert str(read_project(tmp_path).requires_python) == ">=3.12"


def test_ignored_files_stay_and_git_goes_along(tree: Path) -> None:
    assert names(read_project(tree), ["pyproject.toml", "src/x.c", "link", "deleted.c"]) == {
        ".git/HEAD": "",
        "link": "src/x.c",
        "pyproject.toml": "",
        "src/x.c": "",
    }


def test_without_version_control_environments_caches_and_the_output_stay(tree: Path) -> None:
    found = names(read_project(tree), None, [tree / "wheelhouse"])
    assert set(found) == {".git/HEAD", "link", "pyproject.toml", "src/x.c"}


@pytest.mark.parametrize("name", ["../evil", "/evil", "x/../../evil"])
def test_an_sdist_that_leaves_its_directory(tmp_path: Path, name: str) -> None:
    path = sdist(tmp_path / "x.tar.gz", {"x/setup.py": b"", name: b""})
    with pytest.raises(NotAProjectError, match="not a safe sdist"):
        read_project(path)


def test_what_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path, tmp_path / "text", tmp_path / "nothing", sdist(tmp_path / "e.tar.gz", {"x/readme": b""})):
        with pytest.raises(NotAProjectError) as caught:
            read_project(path)
        assert caught.value.resolution


@pytest.mark.parametrize("text", ["[project", '[project]\nrequires-python = "three"'])
def test_a_pyproject_that_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(UsageError):
        read_project(tmp_path)


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nmusllinux-build = 3"])
def test_a_table_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(UsageError, match="not a table"):
        read_project(tmp_path)


def test_all_of_pyproject_is_kept(tree: Path) -> None:
    assert read_project(tree).pyproject["project"] == {"name": "x", "requires-python": ">=3.11"}


def listing_of(answers: dict[Path, Sequence[str]], path: Path) -> Sequence[str] | None:
    """As git answers: a directory that is no repository's top gives the names of the one above it."""
    return answers.get(path, ["./"])


def test_a_submodule_that_is_not_checked_out_is_empty_and_said(tree: Path) -> None:
    (tree / "vendored").mkdir()
    answers: dict[Path, Sequence[str]] = {tree: ["pyproject.toml", "vendored"]}
    warnings: list[str] = []
    data = source_tar(read_project(tree), lambda path: listing_of(answers, path), warn=warnings.append)
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        assert tar.getmember("vendored").isdir()
    assert warnings == ["submodule vendored is not checked out: git submodule update --init"]


def test_repositories_inside_send_what_they_list(tree: Path) -> None:
    for name in ("sub/.git", "sub/a.c", "sub/a.o", "own/.git/HEAD", "own/b.c", "copied/c.c", "was_a_file/d.c"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    answers: dict[Path, Sequence[str]] = {
        tree: ["pyproject.toml", "sub", "own/", "copied", "was_a_file", "was_a_file/d.c"],
        tree / "sub": ["a.c"],
        tree / "own": ["b.c"],
    }
    data = source_tar(read_project(tree), lambda path: listing_of(answers, path), warn=pytest.fail)
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        found = [member.name for member in tar if not member.isdir() and not member.name.startswith(".git/")]
    assert found == ["copied/c.c", "own/b.c", "pyproject.toml", "sub/a.c", "was_a_file/d.c"]


def test_a_listing_without_the_project_counts_for_nothing(tree: Path) -> None:
    warnings: list[str] = []
    data = b"".join(source_tar(read_project(tree), lambda _: ["src/x.c"], warn=warnings.append))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {"pyproject.toml", "src/x.c", "link"} <= set(tar.getnames())
    assert "git ignores pyproject.toml" in warnings[0]


def test_the_output_stays_also_when_git_lists_it(tree: Path) -> None:
    listing = ["pyproject.toml", "wheelhouse/old.whl", "wheelhouse2"]
    (tree / "wheelhouse2").touch()
    assert set(names(read_project(tree), listing, [tree / "wheelhouse"])) == {
        ".git/HEAD",
        "pyproject.toml",
        "wheelhouse2",
    }
    assert "pyproject.toml" in names(read_project(tree), listing, [tree])


def test_git_works_in_the_copy_of_a_linked_work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def git(directory: str, *arguments: str) -> str:
        command = ["git", "-C", str(tmp_path / directory), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "main").mkdir()
    (tmp_path / "main/setup.py").touch()
    git("main", "init", "-q")
    git("main", "add", ".")
    git("main", "commit", "-qm", "1")
    git("main", "tag", "v1")
    git("main", "worktree", "add", "-q", "../linked")
    git("main", "commit", "-q", "--allow-empty", "-m", "2")
    git("main", "tag", "v2")
    git("main", "config", "core.bare", "true")
    data = b"".join(source_tar(read_project(tmp_path / "linked"), lambda _: ["setup.py"]))
    (tmp_path / "copy").mkdir()
    subprocess.run(["tar", "-x", "--no-same-owner", "-C", str(tmp_path / "copy")], check=True, input=data)
    git("main", "config", "core.bare", "false")
    (tmp_path / "main").rename(tmp_path / "moved")
    assert git("copy", "describe", "--tags", "--dirty") == "v1"
    assert git("copy", "rev-parse", "--abbrev-ref", "HEAD") == "linked"


def test_what_is_neither_file_directory_nor_link_stays(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert "pipe" not in names(read_project(tree))


def test_a_setup_cfg_that_is_wrong_says_no_pythons(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("python_requires")
    assert str(read_project(tmp_path).requires_python) == ""


@contextmanager
def someone_else() -> Iterator[None]:
    """Root reads everything, so root steps down."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", ["secret.c", "folder", "pyproject.toml"])
def test_what_cannot_be_read_is_named(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        (root / "setup.py").touch()
        (root / name).mkdir() if name == "folder" else (root / name).touch()
        (root / name).chmod(0o111 if name == "folder" else 0)
        with someone_else(), pytest.raises(UsageError, match=rf"{name} cannot be read: Permission denied"):
            contents(root)
        (root / name).chmod(0o700)


def test_links_inside_an_sdist(tmp_path: Path) -> None:
    path = sdist_of(
        tmp_path / "p.tar.gz",
        ("p-1/build/real.py", tarfile.REGTYPE, "# setup"),
        ("p-1/setup.py", tarfile.SYMTYPE, "build/real.py"),
        ("p-1/pyproject.toml", tarfile.SYMTYPE, "pyproject.toml"),
        ("p-1/docs/README", tarfile.SYMTYPE, "../setup.py"),
        ("p-1/hard.py", tarfile.LNKTYPE, "p-1/build/real.py"),
        ("p-1/harder.py", tarfile.LNKTYPE, "./p-1/hard.py"),
        ("._p-1", tarfile.REGTYPE, "left by a Mac"),
    )
    with tarfile.open(fileobj=io.BytesIO(b"".join(source_tar(read_project(path), lambda _: None)))) as tar:
        assert tar.getmember("docs/README").linkname == "../setup.py"
    found = contents(path)
    assert found.keys() == {"build/real.py", "setup.py", "pyproject.toml", "docs/README", "hard.py", "harder.py"}
    assert found["hard.py"] == found["harder.py"] == b"# setup"


@pytest.mark.parametrize(
    "member",
    [
        ("p-1/link", tarfile.SYMTYPE, "../other"),
        ("p-1/a/link", tarfile.SYMTYPE, "../../p-1/setup.py"),
        ("p-1/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("p-1/link", tarfile.LNKTYPE, "p-1/missing"),
        ("p-1/link", tarfile.LNKTYPE, "../p-1/setup.py"),
        ("p-1/device", tarfile.CHRTYPE, ""),
        ("q-1/second.py", tarfile.REGTYPE, ""),
    ],
)
def test_an_sdist_with_a_member_that_is_refused(tmp_path: Path, member: tuple[str, bytes, str]) -> None:
    path = sdist_of(tmp_path / "p.tar.gz", ("p-1/setup.py", tarfile.REGTYPE, ""), member)
    with pytest.raises(NotAProjectError, match=f"not a safe sdist: '{member[0]}'"):
        read_project(path)


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_sdist_is_none_in_both_readings(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / f"p.tar.{kind}"
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=f"w:{kind}") as tar:  # type: ignore[call-overload]  # mode is no literal
        for name in ("p-1/setup.py", "p-1/data"):
            entry = tarfile.TarInfo(name)
            entry.size = 50_000
            tar.addfile(entry, io.BytesIO(random.Random(name).randbytes(entry.size)))
    data = whole.getvalue()
    path.write_bytes(data)
    project = read_project(path)
    middle = len(data) // 2
    path.write_bytes(data[:middle] if damage == "cut" else data[:middle] + bytes(2000) + data[middle + 2000 :])
    with pytest.raises(NotAProjectError, match="is not an sdist"):
        read_project(path)
    with pytest.raises(NotAProjectError, match="is not an sdist"):
        list(source_tar(project, lambda _: None))


@pytest.mark.parametrize("data", [gzip.compress(b"x" * 2000)[:30], lzma.compress(b"x" * 2000)[:50], b"", b"\x1f\x8b"])
def test_what_only_begins_like_an_sdist(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.tar.gz").write_bytes(data)
    with pytest.raises(NotAProjectError, match="is not an sdist"):
        read_project(tmp_path / "p.tar.gz")
