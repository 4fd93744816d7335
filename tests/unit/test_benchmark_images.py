"""The table of the images: what is in it follows from a run's report and the verifications alone."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.images import AIM, page, ratio, read_rows, sentence, versions


def image(policy: str, arch: str, own: float, **more: Any) -> dict[str, Any]:
    known = {"seconds": own + 70.0, "target_seconds": own, "size": 250_000_000, "reused": 0, "error": None}
    return {"image": f"r/{policy}_{arch}", "policy": policy, "arch": arch, **known, **more}


TIMES: dict[str, Any] = {
    "jobs": 2,
    "no_cache": True,
    "seconds": 1800.0,
    "images": [
        image("musllinux_1_2", "x86_64", 200.0),
        image("musllinux_1_2", "s390x", 260.0),
        image("musllinux_1_1", "aarch64", 250.0),
        image("musllinux_1_2", "i686", 0.0, size=None, error="no"),
        image("musllinux_1_2", "armv7l", 100.0, reused=3),
    ],
    "stages": [
        {"name": "build python 3.14.1t on x86_64"},
        {"name": "build python 3.14.1 on x86_64"},
        {"name": "build python 3.9.2 on x86_64"},
        {"name": "libraries of musllinux_1_2_x86_64"},
    ],
}
VERIFIED = {
    "musllinux_1_2_x86_64": {"rows": [{"status": "pass"}, {"status": "pass"}, {"status": "absent"}]},
    "musllinux_1_2_s390x": {"rows": [{"status": "fail"}]},
}
ROWS = read_rows(TIMES, VERIFIED)


def test_a_ratio_needs_two_images_of_one_policy_from_scratch() -> None:
    assert [ratio(row, ROWS) for row in ROWS] == [1.0, pytest.approx(1.3), None, None, None]


def test_the_slowest_is_held_to_the_aim() -> None:
    assert sentence(ROWS) == (
        "The slowest foreign image, musllinux_1_2_s390x, takes 1.30 times as long as the x86_64 one: "
        f"within the aim of {AIM}."
    )
    slow = read_rows({**TIMES, "images": [TIMES["images"][0], image("musllinux_1_2", "s390x", 400.0)]}, {})
    assert "2.00 times" in sentence(slow)
    assert "beyond the aim" in sentence(slow)
    assert "no ratio" in sentence(ROWS[:1])


def test_the_page() -> None:
    text = page(TIMES, ROWS, versions(TIMES), "2026-11-23", "2 cores")
    assert "on 2026-11-23: 2 cores." in text
    assert "30 minutes for 5 images with CPython 3.9.2, 3.14.1, 3.14.1t." in text
    assert text.splitlines()[-5:] == [
        "| musllinux_1_2_x86_64 | 200 | 270 | 1.00 | 250 | 2 pass, 1 absent |",
        "| musllinux_1_2_s390x | 260 | 330 | 1.30 | 250 | 1 fail |",
        "| musllinux_1_1_aarch64 | 250 | 320 | - | 250 | not verified |",
        "| musllinux_1_2_i686 | - | - | - | - | not built |",
        "| musllinux_1_2_armv7l | 100 (3 stages were there) | 170 | - | 250 | not verified |",
    ]
