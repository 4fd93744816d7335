"""Recorded releases: what each distribution's musl exports and applies, kept as one base list and the changes since."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One release on one architecture, recorded from its official archive.

    ``exports`` are the names of the loader's dynamic symbol table that a library can bind to. ``applies`` says what
    the loader was seen to do when it ran a probe (``relr``: it applies DT_RELR); what was not run is not in it.
    ``resolves`` are names of other releases that it finds without exporting them, None when it was not run.
    ``libraries`` maps libraries that were looked for to what they export, nothing for one that is not there.
    """

    distro: str
    release: str
    arch: Arch
    musl_package: str
    exports: frozenset[str]
    applies: Mapping[str, bool] = field(default_factory=dict)
    resolves: frozenset[str] | None = None
    libraries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    loader_is_relr_packed: bool = False

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
        return release_order(self.release)

    @property
    def label(self) -> str:
        """``alpine 3.13.12``."""
        return f"{self.distro} {self.release}"

    @classmethod
    def parse_record(cls, text: str) -> Evidence:
        """The record of one release as a recorder writes it: JSON with the complete list of exports.

        Raises:
            KeyError, TypeError, ValueError: the text is no such record.
        """
        return _from_record(json.loads(text))

    def format_record(self) -> str:
        """The record as ``policy record`` writes it; ``parse_record`` reads it back."""
        document = {
            "distro": self.distro,
            "release": self.release,
            "arch": self.arch.value,
            "musl_package": self.musl_package,
            "loader": f"/lib/{self.arch.row.loader}",
            "loader_is_relr_packed": self.loader_is_relr_packed,
            "applies": dict(sorted(self.applies.items())),
            **({} if self.resolves is None else {"resolves": sorted(self.resolves)}),
            "libraries": {name: sorted(exports) for name, exports in sorted(self.libraries.items())},
            "exports": sorted(self.exports),
        }
        return json.dumps(document, indent=0) + "\n"


def release_order(release: str) -> tuple[int, ...]:
    """The numbers of a release, for comparing; a rolling release has none and is the oldest."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def _from_record(record: Mapping[str, object]) -> Evidence:
    applies, libraries = record.get("applies", {}), record.get("libraries", {})
    if not isinstance(applies, dict) or not isinstance(libraries, dict):
        raise TypeError("applies and libraries are mappings")
    MuslVersion.parse(str(record["musl_package"]))
    return Evidence(
        distro=str(record["distro"]),
        release=str(record["release"]),
        arch=Arch(record["arch"]),
        musl_package=str(record["musl_package"]),
        exports=_names(record["exports"]),
        applies={str(name): bool(value) for name, value in sorted(applies.items())},
        resolves=_names(record["resolves"]) if "resolves" in record else None,
        libraries={str(name): _names(exports) for name, exports in sorted(libraries.items())},
        loader_is_relr_packed=bool(record.get("loader_is_relr_packed", False)),
    )


def _names(value: object) -> frozenset[str]:
    """Names as a list in records, as a text in histories."""
    if isinstance(value, str):
        return frozenset(value.split())
    if not isinstance(value, list):
        raise TypeError("exports and resolves are lists of names")
    return frozenset(map(str, value))


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
                **({"loader_is_relr_packed": True} if record.loader_is_relr_packed else {}),
                "applies": dict(sorted(record.applies.items())),
                **({} if record.resolves is None else {"resolves": " ".join(sorted(record.resolves))}),
                "libraries": {name: " ".join(sorted(exports)) for name, exports in sorted(record.libraries.items())},
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
        about = {"distro": document["distro"], "arch": document["arch"], "exports": list(exports)}
        history.append(_from_record({**row, **about}))
    return tuple(history)


def parse_evidence(text: str) -> Sequence[Evidence]:
    """The releases in a history, or the one in a record.

    Raises:
        KeyError, TypeError, ValueError: ``text`` is neither.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise TypeError("not a JSON object")
    return parse_history(text) if "releases" in document else (_from_record(document),)
