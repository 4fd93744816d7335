from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from musllinux_build.errors import NotAProjectError, UsageError
from musllinux_build.project import Project, read_project, source_tar, tar_of

PYPROJECT = b'[project]\nname = "x"\nrequires-python = ">=3.11"\n[tool.musllinux-build]\nskip = "cp312-*"\n'


def no_version_control(_: Path) -> Sequence[str] | None:
    return None


def names(project: Project, listing: Sequence[str] | None = None, leave_out: Sequence[Path] = ()) -> dict[str, str]:
    data = b"".join(source_tar(project, lambda _: listing, leave_out=leave_out))
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        assert all(member.uid == 0 and member.uname == "root" for member in tar)
        return {member.name: member.linkname for member in tar if not member.isdir()}


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


def test_tar_of_is_uncompressed_and_the_same_every_time() -> None:
    assert tar_of({"a": b"1"}) == tar_of({"a": b"1"})
    assert tar_of({"a": b"1"})[:1] == b"a"
