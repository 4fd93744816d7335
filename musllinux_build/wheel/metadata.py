"""The WHEEL file (PEP 427): tags and purity rewritten, everything else kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from musllinux_build import __version__
from musllinux_build.errors import WheelError

GENERATOR = f"musllinux-build {__version__}"
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
MOST_FIELDS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """The fields of a WHEEL file in order, as (name, value)."""

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, label: str) -> WheelFile:
        """The fields in ``text``.

        Raises:
            WheelError: a line is no field, or the format version is not 1 (PEP 427: a newer major version must fail).
        """
        fields: list[tuple[str, str]] = []
        for line in filter(str.strip, text.split("\n")):
            name, colon, value = line.partition(":")
            value = value.strip()
            if not colon or not FIELD_NAME.fullmatch(name) or not value.isprintable() or len(fields) == MOST_FIELDS:
                raise WheelError(f"{label}: its WHEEL file has the line {line[:200]!r}", resolution="Build it again.")
            fields.append((name, value))
        parsed = cls(fields=tuple(fields))
        versions = [value for key, value in fields if key.lower() == "wheel-version"]
        if len(versions) != 1 or not re.fullmatch(r"1\.[0-9]+", versions[0]):
            raise WheelError(
                f"{label}: wheel format {' and '.join(versions)[:200] or 'without a version'!r} is not known",
                resolution="Build it as Wheel-Version 1.0.",
            )
        return parsed

    def first(self, name: str) -> str | None:
        """The first value of ``name``, None without one."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    @property
    def tags(self) -> tuple[str, ...]:
        """The ``Tag`` values, sorted."""
        return tuple(sorted(value for key, value in self.fields if key.lower() == "tag"))

    def retagged(self, tags: tuple[str, ...]) -> WheelFile:
        """These fields with ``tags`` at the end, ``Root-Is-Purelib: false`` and our ``Generator`` added once."""
        kept = [(key, value) for key, value in self.fields if key.lower() not in {"tag", "root-is-purelib"}]
        if ("Generator", GENERATOR) not in kept:
            position = max((at for at, (key, _) in enumerate(kept) if key.lower() == "generator"), default=0)
            kept.insert(position + 1, ("Generator", GENERATOR))
        kept.append(("Root-Is-Purelib", "false"))
        return WheelFile(fields=(*kept, *(("Tag", tag) for tag in tags)))

    def format(self) -> bytes:
        """The file's content."""
        return "".join(f"{key}: {value}\n" for key, value in self.fields).encode()
