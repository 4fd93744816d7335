"""All that policies are derived from: the policy table, recorded releases and upstream's rows, read from directories.

A directory holds ``policies.json`` (rows without floors), ``evidence/*.json`` (histories or single records) and
``evidence/upstream.json``. The one that ships is complete; another one may hold any part, and is laid over it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.policies.evidence import Evidence, parse_evidence
from musllinux_build.policies.generate import derive_all, derive_policies, derive_table, promised_distributions
from musllinux_build.policies.load import Policies, SymbolTable, parse_table
from musllinux_build.policies.upstream import Upstream, parse_upstream
from musllinux_build.policy import parse_rows

SHIPPED = Path(__file__).parent
TABLE, EVIDENCE, DATA, UPSTREAM = "policies.json", "evidence", "data", "upstream.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """``table`` is the text of the policy table."""

    table: str
    records: Sequence[Evidence]
    upstream: Upstream

    def derived(self) -> dict[str, str]:
        """Every generated file by name.

        Raises:
            UsageError: the evidence contradicts itself.
        """
        try:
            return derive_all(self.table, self.records, self.upstream)
        except (KeyError, ValueError) as error:
            raise _cannot_derive(error) from error

    def policies(self) -> Policies:
        """The policies derived here and now; the table of an architecture when it is asked for.

        Raises:
            UsageError: the evidence contradicts itself.
        """
        used = promised_distributions(self.table)
        kept = [record for record in self.records if record.distro in used]

        @cache
        def table(arch: Arch) -> SymbolTable:
            return parse_table(derive_table((record for record in kept if record.arch is arch), self.upstream))

        try:
            return Policies(rows=parse_rows(derive_policies(self.table, kept)), table=table)
        except (KeyError, ValueError) as error:
            raise _cannot_derive(error) from error


def read_corpus(directory: Path = SHIPPED) -> Corpus:
    """The complete corpus in ``directory``.

    Raises:
        UsageError: a file is missing or is not what its name says.
    """
    upstream = directory / EVIDENCE / UPSTREAM
    try:
        return Corpus(
            table=(directory / TABLE).read_text("utf-8"),
            records=read_records(directory / EVIDENCE),
            upstream=parse_upstream(upstream.read_text("utf-8")),
        )
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"{directory} is no directory of policies", details=str(error)) from error


def laid_over(base: Corpus, directory: Path) -> Corpus:
    """``base`` with the rows and records of ``directory``, which replace those of the same name.

    Raises:
        UsageError: the directory holds neither, or a file in it cannot be read.
    """
    table = directory / TABLE
    records = [*read_records(directory / EVIDENCE), *read_records(directory)]
    if not records and not table.is_file():
        raise UsageError(
            f"{directory} has neither {TABLE} nor records", resolution="Write records there with policy record."
        )
    merged = {(record.distro, record.release, record.arch): record for record in (*base.records, *records)}
    try:
        text = _merged_table(base.table, table.read_text("utf-8")) if table.is_file() else base.table
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{table} is not a table of policies", details=str(error)) from error
    return Corpus(table=text, records=tuple(merged.values()), upstream=base.upstream)


def read_policies(directory: Path) -> Policies:
    """The shipped policies with what ``directory`` adds.

    Raises:
        UsageError: it holds nothing of use, or contradicts itself.
    """
    return laid_over(read_corpus(), directory).policies()


def read_records(directory: Path) -> Sequence[Evidence]:
    """The releases in all files of evidence in ``directory``, by file name; none when it does not exist.

    Raises:
        UsageError: a file is no evidence.
    """
    records: list[Evidence] = []
    for path in sorted(directory.glob("*.json")):
        if path.name in {UPSTREAM, TABLE}:
            continue
        try:
            records += parse_evidence(path.read_text("utf-8"))
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path} is no recorded release",
                details=f"{type(error).__name__}: {error}",
                resolution="Keep in this directory only what policy record wrote.",
            ) from error
    return records


def _merged_table(base: str, added: str) -> str:
    document, more = json.loads(base), json.loads(added)
    rows = {row["name"]: row for row in document["policies"]}
    for row in more["policies"]:
        rows[row["name"]] = row
    return json.dumps({**document, "policies": list(rows.values())})


def _cannot_derive(error: Exception) -> UsageError:
    return UsageError("no policies can be derived from this evidence", details=f"{type(error).__name__}: {error}")
