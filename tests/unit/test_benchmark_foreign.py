"""Foreign builds beside native ones: what the page says follows from the list and the file of measurements alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.foreign import LIST, TOOL, append, command, read, write_page
from benchmarks.foreign_chart import WIDTH, Axis, Box, Label, draw, html, write_png
from benchmarks.foreign_page import page
from benchmarks.foreign_rows import (
    ARCHS,
    NATIVE,
    Cell,
    Measurement,
    Mode,
    Row,
    Step,
    parse_measurements,
    parse_projects,
    rows_of,
    schedule,
)

PROJECTS = parse_projects(LIST.read_text())
SQLEAN, PYCRYPTODOME, PYSAM, CYTOOLZ, KIWI = PROJECTS


def measured(project: str, arch: str, mode: Mode, *seconds: float, status: int = 0) -> list[Measurement]:
    version = next(one.version for one in PROJECTS if one.name == project)
    common = {"begun": "2026-11-24T10:00+00:00", "machine": "2 cores", "tool": "musllinux-build 0", "python": "3.13"}
    return [
        Measurement(project=project, version=version, arch=arch, mode=mode.value, seconds=each, status=status, **common)
        for each in seconds
    ]


FOUND = [
    *measured("sqlean.py", NATIVE, Mode.NATIVE, 20.0, 22.0, 90.0),
    *measured("sqlean.py", "s390x", Mode.FULL, 33.0, 10.0, 40.0),
    *measured("sqlean.py", "s390x", Mode.COMPILER, 50.0),
    *measured("sqlean.py", "s390x", Mode.PLAIN, 330.0),
    *measured("sqlean.py", "aarch64", Mode.FULL, 55.0),
    *measured("cytoolz", NATIVE, Mode.NATIVE, 10.0),
    *measured("cytoolz", "armv7l", Mode.FULL, 20.0),
    *measured("cytoolz", "armv7l", Mode.FULL, 1.0, status=4),
    *measured("cytoolz", "armv7l", Mode.PLAIN, 70.0),
]
ROWS = rows_of(PROJECTS, FOUND, "3.13")


def test_the_list() -> None:
    assert [one.kind for one in PROJECTS] == ["C", "many files", "autoconf", "Cython", "C++"]
    assert [one.limit for one in PROJECTS] == [2.0, 2.0, 2.0, 2.5, 2.5]
    assert all(len(bytes.fromhex(one.sha256)) == 32 for one in PROJECTS)
    assert all(one.version in one.sdist for one in PROJECTS)
    assert [one.name for one in PROJECTS if one.before_all] == ["pysam"]


@pytest.mark.parametrize("wrong", ["0" * 63, "g" * 64, "A" * 64])
def test_a_list_with_what_is_no_hash(wrong: str) -> None:
    text = LIST.read_text()
    with pytest.raises(ValueError, match=r"sqlean\.py"):
        parse_projects(text.replace(SQLEAN.sha256, wrong))


def test_a_list_with_a_project_twice_or_a_key_that_is_none() -> None:
    text = LIST.read_text()
    with pytest.raises(ValueError, match="twice"):
        parse_projects(text + text)
    with pytest.raises(TypeError):
        parse_projects(text.replace("limit", "limits"))


def test_the_process_that_is_measured(tmp_path: Path) -> None:
    words = command(Step(project=SQLEAN, arch="s390x", mode=Mode.PLAIN), Path("a.tar.gz"), tmp_path, "3.13")
    assert words[:2] == [str(TOOL), "a.tar.gz"]
    assert words[2:] == [
        *("--python", "3.13", "--arch", "s390x", "--output", str(tmp_path), "--rebuild", "--json", "--accel", "off"),
    ]
    words = command(Step(project=PYSAM, arch=NATIVE, mode=Mode.NATIVE), Path("a.tar.gz"), tmp_path, "3.13")
    assert "--accel" not in words
    assert words[-4::2] == ["--before-all", "--environment"]


def test_cells_come_in_turn_and_each_architecture_is_warmed_once() -> None:
    steps = schedule([SQLEAN, KIWI], ["aarch64", "s390x"], [Mode.NATIVE, Mode.FULL, Mode.PLAIN], 2)
    first = [(step.arch, step.mode, step.measured) for step in steps[: len(steps) // 2]]
    once = [
        (NATIVE, Mode.NATIVE, True),
        ("aarch64", Mode.FULL, True),
        ("aarch64", Mode.PLAIN, True),
        ("s390x", Mode.FULL, True),
        ("s390x", Mode.PLAIN, True),
    ]
    warm = [(NATIVE, Mode.NATIVE, False), ("aarch64", Mode.FULL, False), ("s390x", Mode.FULL, False)]
    assert first == [*warm, *once, *once]
    assert {step.project.name for step in steps[len(steps) // 2 :]} == {"kiwisolver"}
    resumed = schedule([SQLEAN, KIWI], ["aarch64", "s390x"], [Mode.NATIVE, Mode.FULL, Mode.PLAIN], 2, warm=True)
    assert resumed == [step for step in steps if step.measured]
    assert [step.arch for step in schedule([KIWI], ["s390x"], [Mode.PLAIN], 1)] == ["s390x", "s390x"]


def test_a_native_interpreter_is_tried_where_it_can_answer() -> None:
    steps = [step for step in schedule([KIWI], ARCHS, [Mode.PYTHON], 1) if step.measured]
    assert [step.arch for step in steps] == ["aarch64", "ppc64le"]


def test_ratios_are_of_medians() -> None:
    aarch64, s390x, armv7l = ROWS
    assert (s390x.arch, s390x.ratio, s390x.gain) == ("s390x", 1.5, 10.0)
    assert (s390x.within, s390x.gained) == (True, True)
    assert (aarch64.ratio, aarch64.within, aarch64.gain, aarch64.gained) == (2.5, False, None, None)
    assert armv7l.project is CYTOOLZ


def test_a_build_that_fails_has_no_median_and_keeps_no_limit() -> None:
    armv7l = ROWS[2]
    assert armv7l.cells[Mode.FULL].text == "exit status 4 (1 of 2 runs)"
    assert (armv7l.ratio, armv7l.within, armv7l.gain, armv7l.gained) == (None, False, None, None)


def test_what_is_not_measured_is_neither_kept_nor_broken() -> None:
    row = Row(project=SQLEAN, arch="s390x", cells={mode: Cell() for mode in Mode})
    assert (row.ratio, row.gain, row.within, row.gained) == (None, None, None, None)
    assert rows_of(PROJECTS, FOUND, "3.9") == []


def test_the_page() -> None:
    text = page(PROJECTS, ROWS, FOUND, "foreign")
    assert "measured at 2026-11-24T10:00+00:00 in 1 run of the benchmark" in text
    assert "Medians of each cell: native 1 to 3, full 1 to 3, compiler 1, plain 1" in text
    assert "1 of 3 limits hold" in text
    assert "1 of 1 promised gains" in text
    assert "Below the 15 s that each should take natively: cytoolz." in text
    assert "Builds that failed are in: cytoolz on armv7l." in text
    assert "(foreign.png)" in text
    assert [line for line in text.splitlines() if line.startswith("| ")][2:] == [
        "| sqlean.py | aarch64 | 22.0 | - | - | 55.0 | - | 2.50 | 2.0 | **no** | - | 5.0 | - |",
        "| sqlean.py | s390x | 22.0 | 330.0 | 50.0 | 33.0 | - | 1.50 | 2.0 | yes | 10.00 | 5.0 | yes |",
        "| cytoolz | armv7l | 10.0 | 70.0 | - | exit status 4 (1 of 2 runs) | - | - | 2.5 | **no** | - | - | - |",
    ]
    assert "*python* is" not in text
    refused = [replace(one, emulated="armv7l has another word size") for one in FOUND if one.arch == "armv7l"]
    assert "- *python* is *full* for cytoolz on armv7l: armv7l has" in page(PROJECTS, ROWS, refused, "foreign")
    empty = page(PROJECTS, [], [], "foreign")
    assert "0 of 0 limits hold" in empty
    assert "qemu**: not measured" in empty
    assert f"**Not measured**: {', '.join(one.name for one in PROJECTS)}." in empty


def test_the_scale_is_logarithmic() -> None:
    axis = Axis.around([22.0, 330.0])
    assert (axis.least, axis.most, axis.ticks) == (20.0, 500.0, [20.0, 50.0, 100.0, 200.0, 500.0])
    assert axis.at(200.0) - axis.at(20.0) == pytest.approx(axis.at(500.0) - axis.at(50.0))
    assert Axis.around([]).ticks == [1.0, 2.0, 5.0, 10.0]


def test_the_chart_shows_every_cell_once() -> None:
    drawing = draw(ROWS)
    labels = [shape.text for shape in drawing.shapes if isinstance(shape, Label)]
    assert [mode for mode in Mode if mode.title not in labels] == [Mode.PYTHON]
    assert labels.count("x86_64 native") == 2
    assert [text for text in labels if text.startswith("s390x ")] == ["s390x full", "s390x compiler", "s390x plain"]
    assert "exit status 4 (1 of 2 runs)" in labels
    assert all(shape.x + shape.width <= WIDTH for shape in drawing.shapes if isinstance(shape, Box))
    text = html(drawing)
    assert "<svg" in text
    assert all(f">{label}<" in text for label in ("330.0", "50.0", "33.0", "sqlean.py 3.50.4.5 (C)"))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_picture(tmp_path: Path) -> None:
    write_png(draw(ROWS), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.width == 2 * WIDTH
        assert len(image.getcolors(1 << 16) or []) > 6


def test_measurements_are_appended_and_the_page_is_made_of_them(tmp_path: Path) -> None:
    results, target = tmp_path / "build" / "foreign.json", tmp_path / "docs" / "foreign.md"
    assert read(results) == []
    for one in FOUND:
        append(results, one)
    assert read(results) == FOUND
    write_page(PROJECTS, results, "3.13", target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["foreign.html", "foreign.md", "foreign.png"]
    with pytest.raises(ValueError, match="schema"):
        parse_measurements({"version": 2, "measurements": []})


def test_all_architectures_are_foreign() -> None:
    assert NATIVE not in ARCHS
