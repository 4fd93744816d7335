"""The bytes a plan looks at and an edit starts from: files of the root, and members of the wheel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from musllinux_build.errors import RepairError
from musllinux_build.ports import Sysroot, TakingSysroot
from musllinux_build.wheel.contents import Wheel

SOURCE_CODE = re.compile(r".+\.(?:py|pyi|pth)", re.DOTALL)


class Contents:
    """What is in the wheel and in the root. Nothing is kept: a content is read again when it is wanted again."""

    def __init__(self, wheel: Wheel, sysroot: Sysroot | None) -> None:
        self._wheel = wheel
        self.sysroot = sysroot

    @property
    def read_member(self) -> Callable[[str], bytes]:
        """The content of a member, compared with RECORD."""
        return self._wheel.read

    def take_member(self, member: str) -> bytearray:
        """The content of a member, compared with RECORD, to be changed in place."""
        return self._wheel.take(member)

    def weight(self, member: str | None, size: int) -> int:
        """About how many bytes are in memory while an object is edited and packed; ``size`` is that of a new one."""
        return self._wheel.archive.weight(member) if member else size * 3 // 2

    def read_source(self, path: str) -> bytes:
        """The file at ``path`` of the root.

        Raises:
            RepairError: it is gone.
        """
        content = self.sysroot.read(path) if self.sysroot else None
        if content is None:
            raise gone(path)
        return content

    def take_source(self, path: str) -> bytearray:
        """The file at ``path`` of the root, to be changed in place."""
        if not isinstance(self.sysroot, TakingSysroot):
            return bytearray(self.read_source(path))
        content = self.sysroot.take(path)
        if content is None:
            raise gone(path)
        return content

    def mentioned(self, names: Iterable[str]) -> frozenset[str]:
        """Those of ``names`` (file names) that occur in the Python source of the wheel: something opens them so."""
        wanted = {name: name.encode("utf-8", "surrogateescape") for name in names}
        found: set[str] = set()
        if not wanted:
            return frozenset()
        for member in self._wheel.files:
            if SOURCE_CODE.fullmatch(member):
                text = self._wheel.read(member)
                found.update(name for name, raw in wanted.items() if raw in text)
        return frozenset(found)


def gone(path: str) -> RepairError:
    """The error for a file of the root that was there when the repair was planned."""
    return RepairError(f"{path} was there and is gone", resolution="Do not change the root during a repair.")
