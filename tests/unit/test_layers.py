"""The tool that finds what is not reproducible finds it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.layers import differences


def layer(path: Path, files: dict[str, tuple[int, bytes]], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, (mode, content) in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def test_what_differs(tmp_path: Path) -> None:
    first = layer(tmp_path / "a", {"same": (0o644, b"x"), "mode": (0o644, b""), "gone": (0o644, b"")}, {"l": "a"})
    second = layer(tmp_path / "b", {"new": (0o644, b""), "mode": (0o600, b""), "same": (0o644, b"x")}, {"l": "b"})
    assert differences(first, second) == [
        "gone: only in the first",
        "new: only in the second",
        "l: link a b",
        "mode: mode 644 600",
    ]
    assert differences(first, first) == []


def test_content_of_one_size(tmp_path: Path) -> None:
    first, second = (layer(tmp_path / word, {"f": (0o644, word.encode())}) for word in ("one", "two"))
    (line,) = differences(first, second)
    assert line.startswith("f: sha256 ")
