"""What the comparison with real loaders concludes from what they say; the comparison itself needs an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import finding
from tests.agreement.closed import REASONS, applies_relr, excuses
from tests.agreement.compare import Cell
from tests.agreement.loaders import CALLED_PYTHON, Outcome, Release, outcome_of
from tests.agreement.pinned import read_list
from tests.agreement.report import Results, Sum, document, rows
from tests.agreement.verdicts import Said

LOADED = Outcome(what="loaded", number=0, words="")
DIED = Outcome(what="died", number=11, words="")


class Stock(Release):
    """A release whose archive is not at hand."""

    @property
    def package(self) -> str:
        return self.archive.name


def stock(release: str, package: str) -> Release:
    return Stock(archive=Path(package), release=release, arch=Arch.X86_64)


OLD, EARLY, NEW = stock("3.14.10", "1.2.2-r4"), stock("3.15.11", "1.2.2-r9"), stock("3.18.9", "1.2.4-r2")


def cell(outcome: Outcome, *found: tuple[str, str], release: Release = EARLY, name: str = "demo/x.so") -> Cell:
    errors = [finding(rule, file="x", message="m", evidence=evidence, remedy="r") for rule, evidence in found]
    subject = "demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"
    return Cell(subject=subject, object=name, release=release, said=Said(errors=tuple(errors)), outcome=outcome)


@pytest.mark.parametrize(
    ("argument", "outcome", "number", "words", "loads"),
    [
        ("d:/w/x.so", "loaded", "0", "", True),
        ("d:/w/x.so", "refused", "127", "Error relocating /w/x.so: statx: symbol not found", False),
        ("d:/w/x.so", "died", "11", "", False),
        ("d:/w/x.so", "refused", str(CALLED_PYTHON), "", True),
        ("x:/w/x", "refused", "1", "usage: x", True),
        ("x:/w/x", "refused", "127", "no such command", True),
        ("x:/w/x", "refused", "127", "Error loading shared library libx.so: No such file or directory", False),
        ("x:/w/x", "refused", "127", "execve: errno 2", False),
        ("x:/w/x", "refused", "255", "/usr/bin/qemu-s390x-static: Could not open '/lib/ld64.so.1'", False),
        ("x:/w/x", "died", "14", "", True),
        ("x:/w/x", "died", "11", "", False),
    ],
)
def test_what_counts_as_loaded(argument: str, outcome: str, number: str, words: str, loads: bool) -> None:
    assert outcome_of(argument, outcome, number, words).loads is loads


def test_a_failure_of_what_we_call_fine_is_never_excused() -> None:
    assert Sum(cells=[cell(DIED)]).unsound
    assert not Sum(cells=[cell(DIED)]).holds
    assert Sum(cells=[cell(LOADED), cell(DIED, ("relr", "DT_RELR"))]).holds


@pytest.mark.parametrize(
    ("release", "found", "rows"),
    [
        (EARLY, [("relr", "DT_RELR")], ("relr applied early",)),
        (OLD, [("relr", "DT_RELR")], ("relr unused at load",)),
        (EARLY, [("symbol-too-new", "qsort_r")], ("symbol carried early",)),
        (OLD, [("symbol-too-new", "statx")], None),
        (
            EARLY,
            [("library-of-the-system", "libz.so.1"), ("relr", "DT_RELR")],
            ("library-of-the-system", "relr applied early"),
        ),
        (EARLY, [("library-not-found", "libm.so"), ("relr", "DT_RELR")], None),
        (EARLY, [("glibc-versions", "GLIBC_2.17")], ("glibc-versions",)),
        (EARLY, [("initial-exec-tls", "TPOFF")], None),
    ],
)
def test_the_closed_list(release: Release, found: list[tuple[str, str]], rows: tuple[str, ...] | None) -> None:
    refused = cell(LOADED, *found, release=release)
    assert excuses(refused) == rows
    assert set(rows or ()) <= REASONS.keys()
    assert Sum(cells=[refused]).holds == (rows is not None)


def test_who_applies_relr() -> None:
    assert [applies_relr(release) for release in (OLD, EARLY, NEW)] == [False, True, True]
    assert applies_relr(stock("3.16.9", "1.2.3-r3"))
    assert not applies_relr(stock("3.12.12", "1.1.24-r10"))


def test_the_document_counts_and_names_disagreements() -> None:
    whole = [cell(LOADED, name="", release=NEW), cell(DIED, ("relr", "DT_RELR"), name="", release=OLD)]
    results = Results(published=[*whole, cell(LOADED, ("relr", "DT_RELR"))], made=[cell(DIED)], unrepaired={})
    text = document(results)
    assert "| published wheels | 1 | 1 | 3 | 1 | 1 | 1 | 0 | 0 |\n" in text
    assert "| fixtures | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 1 |\n" in text
    assert "Fine, and fails: 1." in text
    assert "| demo 1.0 (1_2) | ✗ relr | ✓ |\n" in text
    assert rows(results.cells).count('"loads"') == len(results.cells)


def test_what_was_repaired_is_one_subject_and_object_with_what_was_published() -> None:
    results = Results(published=[cell(DIED, ("relr", "DT_RELR"))], repaired=[cell(LOADED)])
    text = document(results)
    assert "| the same, repaired | 1 | 1 | 1 |" in text
    assert "| all | 1 | 1 | 2 |" in text
    assert "A repaired wheel keeps its name." in text
    assert "A repaired wheel keeps its name." not in document(Results(published=results.published))


def test_the_list_is_pinned_and_wide() -> None:
    wheels = read_list()
    assert len({wheel.filename for wheel in wheels}) == len(wheels) >= 40
    assert {wheel.arch for wheel in wheels} == set(Arch)
    assert all(re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) for wheel in wheels)
    (old,) = (wheel for wheel in wheels if wheel.filename.startswith("cryptography-41.0.7-cp37-abi3-musllinux_1_1_x86"))
    assert (old.python, old.requirement.partition(" ")[0]) == ("3.7", "cryptography==41.0.7")
