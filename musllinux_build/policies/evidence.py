"""Recorded releases: what each distribution's musl exports, kept as one base list and the changes since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One release on one architecture, recorded from its official archive.

    ``exports`` are the names of the loader's dynamic symbol table that a library can bind to.
    """

    distro: str
    release: str
    arch: Arch
    musl_package: str
    exports: frozenset[str]

    @property
    def musl(self) -> MuslVersion:
        """The upstream release of the package (``1.2.2`` for ``1.2.2-r9``)."""
        return MuslVersion.parse(self.musl_package)

    @property
    def branch(self) -> str:
        """The distribution's stable branch (``3.13`` for ``3.13.12``)."""
        return ".".join(self.release.split(".")[:2])

    @property
    def order(self) -> tuple[int, ...]:
        """A key that sorts releases by age."""
        return tuple(int(part) for part in self.release.split("."))

    @classmethod
    def parse_record(cls, text: str) -> Evidence:
        """The record of one release as a recorder writes it: JSON with the complete list of exports.

        Raises:
            KeyError, ValueError: the text is no such record.
        """
        record = json.loads(text)
        return cls(
            distro=record["distro"],
            release=record["release"],
            arch=Arch(record["arch"]),
            musl_package=record["musl_package"],
            exports=frozenset(record["exports"]),
        )


def format_history(records: Iterable[Evidence]) -> str:
    """The releases of one architecture, oldest first, as JSON: each lists what it added to the one before.

    Raises:
        ValueError: the records are of several architectures or distributions, or there are none.
    """
    history = sorted(records, key=lambda record: record.order)
    if len({(record.distro, record.arch) for record in history}) != 1:
        raise ValueError("a history is of one distribution on one architecture")
    before: frozenset[str] = frozenset()
    rows = []
    for record in history:
        rows.append(
            {
                "release": record.release,
                "musl_package": record.musl_package,
                "added": " ".join(sorted(record.exports - before)),
                "removed": " ".join(sorted(before - record.exports)),
            }
        )
        before = record.exports
    document = {"schema": SCHEMA, "distro": history[0].distro, "arch": history[0].arch.value, "releases": rows}
    return json.dumps(document, indent=1) + "\n"


def parse_history(text: str) -> Sequence[Evidence]:
    """The releases in ``text``, oldest first, each with its complete exports.

    Raises:
        KeyError, ValueError: ``text`` was not written by ``format_history``.
    """
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(f"unknown evidence schema {document['schema']!r}")
    exports: frozenset[str] = frozenset()
    history = []
    for row in document["releases"]:
        exports = (exports - frozenset(row["removed"].split())) | frozenset(row["added"].split())
        history.append(
            Evidence(
                distro=document["distro"],
                release=row["release"],
                arch=Arch(document["arch"]),
                musl_package=row["musl_package"],
                exports=exports,
            )
        )
    return tuple(history)
