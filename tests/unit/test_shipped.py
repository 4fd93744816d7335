"""What travels with the package."""

from __future__ import annotations

from musllinux_build.shipped import tool_files


def test_the_tool_in_an_image_is_this_one_without_what_images_are_made_of() -> None:
    files = tool_files()
    assert {"tool/musllinux_build/cli/main.py", "tool/musllinux_build_auditwheel/__init__.py"} <= files.keys()
    assert all(path.is_file() for path in files.values())
    assert not [name for name in files if "__pycache__" in name or "_shipped" in name]
