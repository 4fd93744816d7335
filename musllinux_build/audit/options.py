"""What a user may ask of a repair beyond the wheel, the policy and the root."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from glob import escape

from musllinux_build.audit.subject import Search
from musllinux_build.errors import UsageError
from musllinux_build.policies.load import Policies

SUFFIX = re.compile(r"[A-Za-z0-9._/-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """A library that no NEEDED reaches: ``library`` is a name, a path or a pattern of either in the root.

    It keeps its file name. With ``member``, a pattern of wheel members, it is added to the NEEDED of those, so that a
    dlopen of the bare name is answered; without, it can be opened by its path only.
    """

    library: str
    member: str | None = None

    @classmethod
    def parse(cls, text: str) -> Include:
        """The include in ``LIBRARY`` or ``LIBRARY=MEMBER``.

        Raises:
            UsageError: one of the two is empty.
        """
        library, equals, member = text.partition("=")
        if not library or (equals and not member):
            raise UsageError(f"--include {text!r} names no library", resolution="Write LIBRARY or LIBRARY=MEMBER.")
        return cls(library=library, member=member or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOptions:
    """Choices of one repair; the defaults are what a plain ``audit repair`` does.

    ``lib_sdir`` follows the distribution's name in the directory of grafts (``/x`` makes it ``{distribution}/x``).
    ``exclude`` are patterns of names and paths that stay outside, ``whitelist`` names every system is trusted to have.
    ``only_plat`` keeps no other platform tag, ``update_tags`` False keeps all as they are. ``level`` is zlib's,
    ``ld_paths`` replaces the loader's own list of directories, ``policies`` those that ship.
    """

    lib_sdir: str = ".libs"
    exclude: tuple[str, ...] = ()
    include: tuple[Include, ...] = ()
    whitelist: frozenset[str] = frozenset()
    strip: bool = False
    clear_exec_stack: bool = False
    only_plat: bool = False
    update_tags: bool = True
    level: int | None = None
    ld_paths: tuple[str, ...] | None = None
    policies: Policies | None = None

    def __post_init__(self) -> None:
        """Refuse what no wheel can have.

        Raises:
            UsageError: with the option.
        """
        place = f"x{self.lib_sdir}"
        if not SUFFIX.fullmatch(place) or posixpath.normpath(place) != place or place.startswith("x/../"):
            raise UsageError(f"-L {self.lib_sdir!r} is no suffix of a directory", resolution="Write .libs or /libs.")
        if self.level is not None and self.level not in range(10):
            raise UsageError(f"-z {self.level} is no compression level", resolution="Choose 0 to 9.")
        if self.ld_paths is not None and not all(path.startswith("/") for path in self.ld_paths):
            raise UsageError("--ldpaths has a relative directory", resolution="Give absolute paths inside the root.")

    def libs_directory(self, distribution: str) -> str:
        """Where grafts go, as a member name: ``yaml.libs``."""
        return f"{distribution}{self.lib_sdir}"

    def search(self, *, renames: bool, spared: tuple[str, ...] = ()) -> Search:
        """How libraries are searched; ``renames`` when those found outside the wheel will be grafted.

        ``spared`` are names that stay outside whatever their path.
        """
        return Search(
            system_path=None if self.ld_paths is None else ":".join(self.ld_paths),
            exclude=(*self.exclude, *map(escape, spared)),
            whitelist=self.whitelist,
            renames=renames,
        )


PLAIN = RepairOptions()
"""What a repair does when nothing is asked for."""
