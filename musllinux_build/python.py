"""Which CPython: the tag of an interpreter and how people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORMS = re.compile(
    r"(?:cp)?(?P<major>3)\.?(?P<minor>\d{1,2})(?P<threads>t?)(?:-cp3\d{1,2}(?P<abi_threads>t?))?$",
)


@dataclass(frozen=True, slots=True, order=True)
class PythonTag:
    """A CPython feature release, ``free_threaded`` for the ABI of PEP 703 (``cp313t``)."""

    major: int
    minor: int
    free_threaded: bool = False

    @classmethod
    def parse(cls, text: str) -> PythonTag:
        """The tag in ``cp313``, ``3.13``, ``313``, ``cp313t`` or ``cp313-cp313t``.

        Raises:
            ValueError: ``text`` is none of these.
        """
        found = _FORMS.match(text.strip())
        if not found:
            raise ValueError(f"not a CPython tag: {text!r}")
        return cls(int(found["major"]), int(found["minor"]), bool(found["threads"] or found["abi_threads"]))

    def __str__(self) -> str:
        return f"cp{self.major}{self.minor}{'t' if self.free_threaded else ''}"

    @property
    def version(self) -> str:
        """``3.13``."""
        return f"{self.major}.{self.minor}"

    @property
    def directory(self) -> str:
        """Where our images, as the reference images, keep it: python tag, dash, ABI tag (``cp313-cp313t``)."""
        return f"cp{self.major}{self.minor}-{self}"

    @property
    def prefix(self) -> str:
        """Its prefix inside an image."""
        return f"/opt/python/{self.directory}"
