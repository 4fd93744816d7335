"""``musllinux-build images``: the lock commands, and what is refused before an engine is asked."""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import musllinux_build
from musllinux_build.adapters.host_fetch import HostFetch
from musllinux_build.arch import Arch
from musllinux_build.cli.images import images, listed, state
from musllinux_build.cli.publish import refuse_unmeasured
from musllinux_build.errors import FetchError, ImageError, UsageError
from musllinux_build.images.lock import MEASURE, BaseRow, Lock, SourceRow, format_lock
from musllinux_build.images.measure import unmeasured
from musllinux_build.images.package import LOCK_LABEL
from musllinux_build.images.recipe import lock_digest
from musllinux_build.images.supplies import read_lock
from musllinux_build.policy import Policy
from musllinux_build.ports import PYTHONS_LABEL
from musllinux_build.shipped import shipped
from tests.fakes import FakeEngine

SHIPPED = read_lock(shipped("dockerfiles") / "lock.toml").apk(Policy.MUSLLINUX_1_2, Arch.X86_64)
NAMES = sorted({*SHIPPED.sysroot, *SHIPPED.image, *SHIPPED.extra})


NOWHERE: dict[str, str | None] = {"MUSLLINUX_BUILD_OFFLINE": None, "MUSLLINUX_BUILD_LOCK": None}
"""Without the supplies that the tests may be run with."""


def run(*args: str, **environment: str) -> Result:
    result = CliRunner().invoke(images, args, env={**NOWHERE, **environment}, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def invoke(*args: str, **environment: str) -> str:
    return run(*args, **environment).output


def write_index(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("APKINDEX")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))


def test_the_list_says_what_is_built() -> None:
    lock, engine = Lock(apks=(SHIPPED,)), FakeEngine()
    target = (Policy.MUSLLINUX_1_2, Arch.X86_64)
    there = {PYTHONS_LABEL: "3.13.5", LOCK_LABEL: lock_digest(lock)}
    row = listed(engine, "r", target, lock)
    assert (state(row), row["built"], row["current"]) == ("not built", None, False)
    engine.add_image("r/musllinux_1_2_x86_64", Arch.X86_64, there)
    row = listed(engine, "r", target, lock)
    assert (state(row), row["pythons"], row["current"]) == ("built", "3.13.5", True)
    assert state(listed(engine, "r", target, Lock())) == "built from another lock"


def test_what_is_built_is_unknown_without_an_engine(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no-socket"}
    shown = run("list", **nowhere)
    assert {line.split()[-1] for line in shown.stdout.splitlines()} == {"unknown"}
    assert "it is not known which images are built: no container engine answers" in shown.stderr
    document = json.loads(run("list", "--json", **nowhere).stdout)
    assert document["engine"] is False
    assert {(row["pythons"], row["built"], row["current"]) for row in document["images"]} == {(None, None, None)}


def test_the_summaries_of_commands_are_whole_sentences() -> None:
    assert "..." not in invoke("--help").partition("Commands:")[2]


def test_check_the_shipped_lock() -> None:
    first, *rest = invoke("lock", "--check").splitlines()
    assert first.startswith("valid; ")
    assert first.endswith("; -v lists them")
    assert not rest
    assert "base 3.13.12 x86_64: digest" in invoke("lock", "--check", "-v").splitlines()


def test_check_reads_what_the_other_commands_read_and_lists_a_few_rows(tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    path.write_text(format_lock(Lock(apks=(replace(SHIPPED, sysroot=("gcc",), image=("gcc", "bash=1-r0"), extra=()),))))
    said = "valid; 3 value(s) unmeasured\napk musllinux_1_2_x86_64: gcc, closure\n"
    assert invoke("lock", "--check", MUSLLINUX_BUILD_OFFLINE=str(tmp_path)) == said
    assert invoke("lock", "--check", MUSLLINUX_BUILD_LOCK=str(path)) == said
    assert invoke("lock", "--check", "--offline", str(tmp_path)) == said


def test_an_offline_directory_is_measured(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "zlib-1.3.1.tar.gz").write_bytes(b"z")
    path = tmp_path / "new.toml"
    invoke("lock", "--update", "--lock", str(path), MUSLLINUX_BUILD_OFFLINE=str(tmp_path))
    whole = path.read_text()
    assert [row.name for row in read_lock(path).sources] == ["zlib"]
    for name in ("--source-mirror", "--sources"):
        invoke("lock", "--update", "--lock", str(path), name, str(sources))
        assert path.read_text() == whole


def test_what_an_update_reads_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    path.write_text("mine")
    with pytest.raises(UsageError) as caught:
        invoke("lock", "--update", "--sources", str(tmp_path), MUSLLINUX_BUILD_LOCK=str(path))
    assert caught.value.resolution == f"Name it: {MEASURE}"
    assert path.read_text() == "mine"


def test_nothing_to_measure_and_a_mirror_that_is_no_directory(tmp_path: Path) -> None:
    update = ("lock", "--update", "--lock", str(tmp_path / "new.toml"))
    (tmp_path / "wheels").mkdir()  # an offline directory, and of nothing that a lock is measured by
    with pytest.raises(UsageError, match="none of bases, sources and apk"):
        invoke(*update, "--offline", str(tmp_path))
    for mirror in ("https://mirror.example/alpine", str(tmp_path / "none")):
        with pytest.raises(UsageError, match="is no directory"):
            invoke(*update, "--apk-mirror", mirror)


def test_every_option_of_the_lock_is_explained() -> None:
    (command,) = (one for name, one in images.commands.items() if name == "lock")
    assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []


def test_the_command_that_messages_name_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoke(*MEASURE.split()[2:], "--source-mirror", str(tmp_path))
    assert read_lock(tmp_path / "lock.toml").sources == ()
    with pytest.raises(UsageError) as caught:
        refuse_unmeasured(Lock(apks=(SHIPPED,)))
    assert MEASURE in caught.value.resolution
    texts = {path.name: path.read_text() for path in Path(musllinux_build.__file__).parent.rglob("*.py")}
    assert [name for name, text in texts.items() if re.search(r"resolution=.*images lock --update", text)] == []


def test_measure_directories(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "zlib-1.3.1.tar.gz").write_bytes(b"z")
    index = "".join(f"P:{name}\nV:1-r0\n\n" for name in NAMES)
    write_index(tmp_path / "apk" / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz", index)
    path = tmp_path / "new" / "lock.toml"
    invoke(
        *("lock", "--update", "--lock", str(path)),
        *("--sources", str(tmp_path / "sources"), "--apk-mirror", str(tmp_path / "apk")),
    )
    lock = read_lock(path)
    assert [(row.name, row.version, row.size) for row in lock.sources] == [("zlib", "1.3.1", 1)]
    assert [(row.arch, row.image, row.extra) for row in lock.apks] == [
        (Arch.X86_64, tuple(f"{name}=1-r0" for name in SHIPPED.image), tuple(f"{name}=1-r0" for name in SHIPPED.extra))
    ]


def test_a_mirror_may_lack_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    index = "".join(f"P:{name}\nV:1-r0\n\n" for name in NAMES if name not in ("gfortran", "mesa-dev"))
    write_index(tmp_path / "apk" / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz", index)
    absent, path = tmp_path / "absent.toml", tmp_path / "lock.toml"
    update = ("lock", "--update", "--lock", str(path), "--apk-mirror", str(tmp_path / "apk"), "--absent", str(absent))
    absent.write_text('[absent]\ngfortran = "none here"\n"F8.gl" = "a row"\n')
    with pytest.raises(UsageError) as caught:
        invoke(*update)
    assert caught.value.details == "v3.13/x86_64: mesa-dev"
    absent.write_text('[absent]\ngfortran = "none here"\nmesa-dev = "none here"\nbash = "it is there, though"\n')
    invoke(*update)
    (row,) = read_lock(path).apks
    assert "gfortran" not in " ".join(row.image)
    assert "mesa-dev" not in " ".join(row.extra)
    assert "bash=1-r0" in row.image
    # What those packages bring is measured only where the base is.
    assert unmeasured(replace(read_lock(path), bases=(), builders=(), sources=())) == 1


@pytest.mark.parametrize("args", [(), ("--check", "--update"), ("--update",)])
def test_refused_lock_options(args: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        invoke("lock", *args)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "v3.13" / "main" / "x86_64" / "APKINDEX.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"none")
    with pytest.raises(ImageError, match="is not a package index"):
        invoke("lock", "--update", "--lock", str(tmp_path / "lock.toml"), "--apk-mirror", str(tmp_path))


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        invoke("lock", "--update", "--sources", str(tmp_path), "--lock", str(tmp_path / "file" / "lock.toml"))


def test_the_host_fetches_by_hash(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"content")
    sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    row = SourceRow(
        name="x", version="1", filename="x.tar", urls=((tmp_path / "here").as_uri(),), sha256=sha256, size=None
    )
    found = HostFetch(cache=tmp_path / "cache").source(row, tmp_path / "there")
    assert found.read_bytes() == b"content"


def test_a_root_without_a_hash_is_not_fetched(tmp_path: Path) -> None:
    row = BaseRow(release="3", arch=Arch.X86_64, digest=None, filename="r", urls=(), sha256=None, size=None)
    with pytest.raises(FetchError, match="no hash of r"):
        HostFetch(cache=tmp_path).base(row, tmp_path / "r")
