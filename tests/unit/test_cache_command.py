"""What is kept for later runs: said, held to its limits, and removed; published images and bases never are."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from musllinux_build.adapters.cache_files import TAG, TAG_TEXT, Uses, listed, remove, tag_cache
from musllinux_build.arch import Arch
from musllinux_build.cli.build import build
from musllinux_build.cli.cache import Cleaning, cache_command, holdings, table
from musllinux_build.cli.options import cache_directory
from musllinux_build.cli.reuse import tidy, uses_of_images
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.images.local import local_images, surplus_images
from musllinux_build.kept import KEPT_BEFORE_ALL, Entry, Holding, Kind
from musllinux_build.plan import Plan
from musllinux_build.ports import LABEL
from musllinux_build.report import Outcome, Report
from tests.fakes import FakeEngine, ListProgress
from tests.unit.test_pipeline import target


def before_all(number: int) -> str:
    return f"musllinux-build/before-all:{number:016x}"


def engine_with(count: int) -> FakeEngine:
    engine = FakeEngine()
    for number in range(count):
        engine.add_image(before_all(number), Arch.X86_64, {LABEL: "before-all"})
    engine.add_image("musllinux-build/stock:1", Arch.X86_64, {LABEL: "stock"})
    engine.add_image("musllinux-build/base:alpine", Arch.X86_64, {LABEL: "base"})
    engine.add_image("r/musllinux_1_2_x86_64:latest", Arch.X86_64, {LABEL: "image"})
    engine.add_image("theirs:1", Arch.X86_64, {LABEL: "stock"})
    engine.volume("musllinux-build-toolchain-1", {LABEL: "toolchain"})
    engine.volume("musllinux-build-toolchain-1-seal", {LABEL: "toolchain-seal"})
    engine.volume("theirs", {})
    return engine


def fill(cache: Path) -> None:
    for name in ("wheels/a/x.whl", "wheels/b/y.whl", "downloads/z", f"logs/20260101-000000-{os.getpid()}-x/log"):
        path = cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (cache / "logs" / "20260101-000000-999999999-x").mkdir()
    (cache / "logs" / "stray").write_text("")


def cleaning(engine: FakeEngine | None, cache: Path, *, dry_run: bool = False) -> Cleaning:
    return Cleaning(engine=engine, cache=cache, lines=ListProgress(), dry_run=dry_run)


def test_what_there_is(tmp_path: Path) -> None:
    fill(tmp_path)
    found = {(holding.kind.value, holding.what): holding for holding in holdings(engine_with(2), tmp_path)}
    counts = {key: holding.count for key, holding in found.items() if holding.count}
    assert counts == {
        ("wheels", "files"): 2,
        ("downloads", "files"): 1,
        ("logs", "files"): 3,
        ("before-all", "images"): 2,
        ("stock", "images"): 1,
        ("toolchain", "volumes"): 2,
    }
    assert found["wheels", "files"].size == 10
    assert found["toolchain", "volumes"].size is None
    lines = list(table(list(found.values())))
    assert len(lines) == len(counts) + 1
    assert lines[1] == f"wheels      files        2  10 B  {tmp_path / 'wheels'}"
    assert not any(holding.what != "files" for holding in holdings(None, tmp_path))


def test_everything_of_ours_goes_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path)
    engine = engine_with(2)
    kept = {name for name in engine._images if "base" in name or not name.startswith("musllinux-build/")}
    uses_of_images(tmp_path, ListProgress()).note(before_all(0))
    said = [item.line(dry_run=True) for kind in Kind for item in cleaning(engine, tmp_path, dry_run=True).clear(kind)]
    assert "wheels: 2 files, 10 B to be removed" in said
    assert len(engine._images) == 6
    said = [item.line(dry_run=False) for kind in Kind for item in cleaning(engine, tmp_path).clear(kind)]
    assert "wheels: 2 files, 10 B removed" in said
    assert "logs: 2 files, 0 B removed; 1 in use" in said
    assert "before-all: 2 images removed" in said
    assert "toolchain: 2 volumes removed" in said
    assert set(engine._images) == kept
    assert set(engine._volumes) == {"theirs"}
    assert [len(list((tmp_path / name).iterdir())) for name in ("wheels", "downloads", "logs", "before-all")] == [
        0,
        0,
        1,
        0,
    ]


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    class Mounted(FakeEngine):
        def remove_volume(self, name: str) -> None:
            raise EngineError("volume is in use")

    engine = Mounted()
    engine.volume("v", {LABEL: "toolchain"})
    *_, item = cleaning(engine, tmp_path).clear(Kind.TOOLCHAIN)
    assert item.line(dry_run=False) == "toolchain: 0 volumes removed; 1 in use"


def test_an_image_that_somebody_named_is_theirs() -> None:
    engine = engine_with(1)
    engine.tag(before_all(0), "mine:1")
    assert local_images(engine, Kind.BEFORE_ALL) == []


def test_images_of_before_all_are_held_to_their_number_by_their_last_use(tmp_path: Path) -> None:
    engine, lines = engine_with(KEPT_BEFORE_ALL + 2), ListProgress()
    uses = uses_of_images(tmp_path, lines)
    for number in range(KEPT_BEFORE_ALL + 1):  # of the last nobody knows: it is new here
        uses.note(before_all(number))
        os.utime(tmp_path / "before-all" / f"{number:016x}", (1000 - number, 1000 - number))
    last = [before_all(KEPT_BEFORE_ALL - 1), before_all(KEPT_BEFORE_ALL)]
    surplus = surplus_images(engine, uses.last, KEPT_BEFORE_ALL)
    assert [info.tags for info in surplus] == [(name,) for name in last]
    report = Report(plan=Plan(targets=(target(),), skipped=()), outcomes=(Outcome(target=target(), seconds=1),))
    tidy(engine, tmp_path, lines, most=0, report=report)
    assert lines.lines == ["2 images of before-all are removed: more than 20"]
    assert not any(engine.image(name) for name in last)
    assert len(list((tmp_path / "before-all").iterdir())) == KEPT_BEFORE_ALL
    assert surplus_images(engine, uses.last, KEPT_BEFORE_ALL) == []


def test_the_end_of_a_run_survives_what_cannot_be_removed(tmp_path: Path) -> None:
    class Dead(FakeEngine):
        def images(self, label: str) -> list[str]:
            raise EngineError("gone")

    lines = ListProgress()
    done = Outcome(target=target(), seconds=1)
    plan = Plan(targets=(target(),), skipped=())
    tidy(Dead(), tmp_path, lines, most=0, report=Report(plan=plan, outcomes=(done,)))
    assert lines.lines == ["images of before-all are not held to their limit: gone"]


def test_limits_without_an_engine_and_with_one(tmp_path: Path) -> None:
    fill(tmp_path)
    (only,) = cleaning(None, tmp_path).limit(5)
    assert (only.gone, only.size) == (1, 5)
    wheels, images = cleaning(engine_with(KEPT_BEFORE_ALL + 1), tmp_path).limit(0)
    assert (wheels.gone, images.gone) == (1, 1)


def test_uses_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    uses = Uses(tmp_path / "file", warn=said.append)
    uses.note("a:b")
    assert "cannot be remembered" in said[0]
    assert uses.last("a:b") == 0.0


def test_sizes_count_each_file_once_and_follow_no_link(tmp_path: Path) -> None:
    place = tmp_path / "wheels"
    (place / "a").mkdir(parents=True)
    (place / "a" / "x").write_bytes(b"12345")
    (place / "b").hardlink_to(place / "a" / "x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (place / "link").symlink_to(outside)
    entries = listed(place)
    assert [(entry.name, entry.size) for entry in entries[:2]] == [("a", 5), ("b", 0)]
    assert remove(place, entries) == entries
    assert outside.is_dir()
    assert listed(tmp_path / "none") == []
    assert remove(place, [Entry(name="none", size=0)])


def test_the_cache_says_that_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "musllinux-build"
    assert (tmp_path / "musllinux-build" / TAG).read_text() == TAG_TEXT
    assert TAG_TEXT.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    (tmp_path / "file").write_text("")
    tag_cache(tmp_path / "file")
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)


def run(tmp_path: Path, *words: str) -> Result:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/no-socket"}
    return CliRunner().invoke(cache_command, words, env=environment, standalone_mode=False)


def test_without_an_engine_the_files_are_shown_and_removed(tmp_path: Path) -> None:
    fill(tmp_path / "musllinux-build")
    shown = run(tmp_path, "show")
    assert shown.return_value == 0
    assert "images and volumes are left out" in shown.stderr
    assert shown.stdout.splitlines()[1].split()[:3] == ["wheels", "files", "2"]
    document = json.loads(run(tmp_path, "show", "--json", "--cache-limit", "2GB").stdout)
    assert (document["version"], document["engine"], document["limits"]["wheels_bytes"]) == (1, False, 2_000_000_000)
    assert {row["kind"] for row in document["kept"]} <= {kind.value for kind in Kind}
    assert document["kept"][0] == {
        "kind": "wheels",
        "what": "files",
        "where": str(tmp_path / "musllinux-build" / "wheels"),
        "count": 2,
        "bytes": 10,
    }
    assert run(tmp_path, "clean", "downloads").stdout == "downloads: 1 file, 5 B removed\n"
    assert run(tmp_path, "clean", "--cache-limit", "5").stdout == "wheels: 1 file, 5 B removed\n"
    assert "wheels: 1 file, 5 B removed" in run(tmp_path, "clean", "--all").stdout


def test_kinds_and_all_of_them_contradict_each_other(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path, "clean", "--all", "wheels").exception, UsageError)
    assert run(tmp_path, "clean", "images").exception is not None


@pytest.mark.parametrize("size", ["5 GBB", "-1", "much", ""])
def test_a_size_that_is_none(tmp_path: Path, size: str) -> None:
    result = CliRunner().invoke(build, [str(tmp_path), "--cache-limit", size])
    assert result.exit_code == 2


def test_rows_of_every_kind_have_one_shape() -> None:
    holding = Holding(kind=Kind.TOOLCHAIN, what="volumes", where="engine", count=1, size=None)
    assert holding.to_json() == {
        "kind": "toolchain",
        "what": "volumes",
        "where": "engine",
        "count": 1,
        "bytes": None,
    }


def test_the_help_names_every_kind_and_ends_its_sentences(tmp_path: Path) -> None:
    text = " ".join(run(tmp_path, "clean", "--help").output.split())
    assert f"Kinds: {', '.join(kind.value for kind in Kind)}." in text
    assert "..." not in run(tmp_path, "--help").output.partition("Commands:")[2]
