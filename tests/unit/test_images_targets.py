"""Which images a command means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from musllinux_build.arch import Arch
from musllinux_build.errors import UsageError
from musllinux_build.images.lock import format_lock, parse_lock
from musllinux_build.images.supplies import read_lock
from musllinux_build.images.targets import chosen_targets
from musllinux_build.policy import Policy
from musllinux_build.shipped import shipped

LOCK = read_lock(shipped("dockerfiles") / "lock.toml")


def test_by_name_what_no_policy_times_architecture_is() -> None:
    names = ("musllinux_1_2_aarch64", "musllinux_1_1_x86_64", "musllinux_1_2_x86_64")
    assert sorted(chosen_targets(LOCK, (), (), names), key=str) == [
        (Policy.MUSLLINUX_1_1, Arch.X86_64),
        (Policy.MUSLLINUX_1_2, Arch.AARCH64),
        (Policy.MUSLLINUX_1_2, Arch.X86_64),
    ]
    assert chosen_targets(LOCK, (), ("aarch64",), names) == [(Policy.MUSLLINUX_1_2, Arch.AARCH64)]


def test_what_cannot_be_made_is_chosen_by_its_own_name_only() -> None:
    apks = [replace(row, unmade="no headers" if row.arch is Arch.I686 else "") for row in LOCK.apks]
    lock = parse_lock(format_lock(replace(LOCK, apks=tuple(apks))))
    one = (Policy.MUSLLINUX_1_1, Arch.I686)
    assert one not in chosen_targets(lock, (), ())
    assert one not in chosen_targets(lock, ("musllinux_1_1",), ())
    assert one in chosen_targets(lock, ("musllinux_1_1",), ("i686",))
    assert chosen_targets(lock, (), (), ("musllinux_1_1_i686",)) == [one]


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match="musllinux_1_2_x86-64") as caught:
        chosen_targets(LOCK, (), (), ("musllinux_1_2_x86-64",))
    assert "musllinux_1_2_x86_64" in (caught.value.resolution or "")


def test_names_and_options_that_leave_nothing() -> None:
    with pytest.raises(UsageError, match="no packages"):
        chosen_targets(LOCK, (), ("s390x",), ("musllinux_1_2_x86_64",))


@pytest.mark.parametrize(("word", "option"), [("musllinux_1_2", "--policy"), ("s390x", "--arch")])
def test_a_policy_or_an_architecture_is_no_image(word: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"'{word}' is an? (policy|architecture)$") as caught:
        chosen_targets(LOCK, (), (), (word,))
    assert caught.value.resolution == f"Write {option} {word}."
