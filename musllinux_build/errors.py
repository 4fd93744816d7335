"""Every failure a user can meet: what happened, details, what to do, and its exit code.

Exit codes are one table (docs/exit-codes.md documents it, a test holds the two together). 1 is not here: it is a
negative verdict, a value and no exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MusllinuxBuildError(Exception):
    """Base of the tree. ``brief`` says what happened and where, ``resolution`` what to do."""

    exit_code: ClassVar[int] = 70
    meaning: ClassVar[str] = "a bug in musllinux-build"

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution


class UsageError(MusllinuxBuildError):
    """An option or a configuration key is wrong."""

    exit_code = 2
    meaning = "wrong option or configuration"


class EngineError(MusllinuxBuildError):
    """No usable container engine."""

    exit_code = 3
    meaning = "the container engine is not there, too old or failed"


class BuildError(MusllinuxBuildError):
    """A command of the project failed in the container."""

    exit_code = 4
    meaning = "a build step failed in the container"


class WheelError(MusllinuxBuildError):
    """A wheel or ELF file cannot be read as what it claims to be."""

    exit_code = 5
    meaning = "not a valid wheel or ELF file"


class RepairError(MusllinuxBuildError):
    """The wheel cannot be made to load where its tag says."""

    exit_code = 6
    meaning = "the wheel cannot be repaired"


class PureProjectError(MusllinuxBuildError):
    """The project has nothing to compile."""

    exit_code = 7
    meaning = "a pure-Python project: publish py3-none-any"


class ImageError(MusllinuxBuildError):
    """An image cannot be had, built, or is not what it claims."""

    exit_code = 8
    meaning = "an image cannot be had or is not what it should be"


class EmulationError(MusllinuxBuildError):
    """The engine's kernel cannot execute the architecture."""

    exit_code = 9
    meaning = "no binfmt registration for a foreign architecture"


class VerifyError(MusllinuxBuildError):
    """The finished wheel failed on a stock Alpine, or in a fresh environment inside an image."""

    exit_code = 10
    meaning = "the wheel failed its verification"


class DiskFullError(MusllinuxBuildError):
    """No room left, on the host or the engine."""

    exit_code = 11
    meaning = "no space left on a disk"


class FetchError(MusllinuxBuildError):
    """A pinned file could not be had or has another hash than the lock."""

    exit_code = 12
    meaning = "a pinned file cannot be fetched or has the wrong hash"


class NotAProjectError(MusllinuxBuildError):
    """SOURCE is neither a project directory nor an sdist."""

    exit_code = 13
    meaning = "SOURCE is not a Python project"


class WheelCountError(MusllinuxBuildError):
    """The build left no wheel, or more than one."""

    exit_code = 14
    meaning = "the build made no wheel, or more than one"


class RegistryError(MusllinuxBuildError):
    """A registry does not answer, refuses, or does not have what it should."""

    exit_code = 15
    meaning = "a container registry failed or refused"

    def __init__(self, brief: str, *, details: str = "", resolution: str = "", transient: bool = False) -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.transient = transient
        """Whether trying again may help."""


class MergeError(MusllinuxBuildError):
    """Directories of wheels are not all of what was planned, or contradict each other."""

    exit_code = 16
    meaning = "the parts of a build do not make a whole"


class InterruptedBuildError(MusllinuxBuildError):
    """SIGINT reached the tool."""

    exit_code = 130
    meaning = "interrupted (SIGINT)"


class TerminatedError(MusllinuxBuildError):
    """SIGTERM reached the tool."""

    exit_code = 143
    meaning = "terminated (SIGTERM)"


def near_miss(word: str, choices: Sequence[str]) -> str:
    """A sentence naming the closest valid choice and all of them."""
    import difflib  # noqa: PLC0415 - only on the error path

    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(choices)}."
