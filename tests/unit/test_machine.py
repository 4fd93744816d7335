from __future__ import annotations

from pathlib import Path

from musllinux_build.adapters.machine import free_bytes, images_directory


def test_a_directory_that_is_not_here_has_no_room(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path / "none")) is None
    assert free_bytes(str(tmp_path))


def test_images_have_a_place_before_there_is_an_engine() -> None:
    assert Path(images_directory()).is_dir()
