"""Every class of planted defects is found by its rule, on every architecture that has it, and by no other."""

from __future__ import annotations

import pytest

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import CATALOGUE, RULES
from tests.defects import DEFECTS, Defect
from tests.defects.judged import judged
from tests.defects.model import REFUSED, in_library

ARCHS = tuple(Arch)
OF_ROOTS = {rule.id for rule in RULES if rule.id.startswith("graft-")} | {
    "excluded-not-reachable",
    "library-outside",
    "symbol-private",
}
"""Rules about libraries outside the wheel, which have tests of their own."""


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found_and_nothing_else(defect: Defect) -> None:
    for arch in sorted(defect.archs, key=lambda arch: arch.value):
        assert {*judged(*defect.wheel(arch))} == {defect.rule, *defect.also}, arch


@pytest.mark.parametrize("arch", ARCHS)
def test_a_sound_wheel_has_none(arch: Arch) -> None:
    sound = in_library(undefined=["malloc"], weak=["statx"], thread_data=8, exports=["a"], own=["a"])
    assert judged(*Defect(name="none", rule="none", make=sound).wheel(arch)) == {}


def test_every_rule_has_a_class() -> None:
    planted = {defect.rule for defect in DEFECTS} - {REFUSED}
    assert {rule.id for rule in RULES} - planted == OF_ROOTS
    assert planted <= CATALOGUE.keys()
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 30
