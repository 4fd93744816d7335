"""The page of benchmarks/wheels.py says what its figures say."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.wheels import EIGHT, PYTHONS, Measured, Timed, page


def timed(*seconds: float) -> Timed:
    return Timed(title=f"{len(seconds)} runs", seconds=seconds)


FOUND = Measured(
    ours=timed(4.0, 5.0, 4.5),
    peer=timed(9.0, 9.0, 18.0),
    compiler=timed(0.5, 0.4, 0.6),
    serial=timed(100.0),
    parallel=timed(60.0),
    again=timed(0.5),
)


def written(found: Measured) -> str:
    return page(found, "2026-01-02", "2 cores", "musllinux-build 1", "cibuildwheel 4", "kiwisolver 1.5.1")


def test_aims_that_are_kept() -> None:
    text = written(FOUND)
    assert FOUND.fixed == 4.0
    assert FOUND.share == 0.6
    assert text.count("within the aim of") == 3
    assert "not within" not in text
    assert "9.00 s (2.0 times as long)" in text
    assert "| 3 runs | 4.50 | 4.00 to 5.00 |" in text


def test_aims_that_are_not() -> None:
    text = written(replace(FOUND, ours=timed(6.0), parallel=timed(61.0), again=timed(3.0)))
    assert text.count("**not within the aim of") == 3


def test_eight_are_eight() -> None:
    assert len(EIGHT) * len(PYTHONS) == 8
