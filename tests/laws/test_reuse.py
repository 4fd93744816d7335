"""The key of a finished wheel changes with all that may change the wheel; limits keep what was used last."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.adapters.wheel_store import WheelStore
from musllinux_build.arch import Arch
from musllinux_build.builds.finished import WITHOUT_EFFECT, Reuse, common_facts, wheel_key
from musllinux_build.config import Accel, Compiler, Config
from musllinux_build.engines import EngineSpec
from musllinux_build.kept import Entry, beyond, parse_size
from musllinux_build.plan import Target
from musllinux_build.policy import known_policies
from musllinux_build.ports import ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import human_size

TEXTS = st.text(max_size=8)
WORDS = st.lists(TEXTS, max_size=3).map(tuple)
VARIABLES = st.dictionaries(TEXTS, TEXTS, max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "archs": st.lists(st.sampled_from(list(Arch)), max_size=2).map(tuple),
    "policies": st.lists(st.sampled_from(known_policies()), max_size=2).map(tuple),
    "pythons": st.lists(st.builds(PythonTag, st.just(3), st.integers(9, 15)), max_size=2).map(tuple),
    "build": WORDS,
    "skip": WORDS,
    "only": WORDS,
    "config_settings": st.dictionaries(TEXTS, WORDS, max_size=2).map(MappingProxyType),
    "before_all": TEXTS,
    "before_build": TEXTS,
    "environment": VARIABLES.map(MappingProxyType),
    "test_command": TEXTS,
    "test_requires": WORDS,
    "engines": st.lists(st.builds(EngineSpec, where=TEXTS), max_size=2).map(tuple),
    "compiler": st.sampled_from(get_args(Compiler)),
    "accel": st.sampled_from(get_args(Accel)),
    "pull": st.sampled_from(["missing", "always", "never"]),
    "registry": TEXTS,
    "verify": st.booleans(),
}
CONFIGS = st.builds(Config, **FIELDS)
FACTS = st.fixed_dictionaries(
    {"config": CONFIGS, "source": st.binary(max_size=8), "index": VARIABLES, "program": TEXTS}
)
TARGETS = st.builds(
    Target,
    arch=st.sampled_from(list(Arch)),
    policy=st.sampled_from(known_policies()),
    python=st.builds(PythonTag, st.just(3), st.integers(9, 15), st.booleans()),
)
IMAGES = st.builds(ImageInfo, id=TEXTS, architecture=st.just("amd64"), variant=st.none())
ENTRIES = st.lists(st.integers(0, 100), max_size=12).map(
    lambda sizes: [Entry(name=str(place), size=size) for place, size in enumerate(sizes)]
)


def test_every_field_of_the_configuration_is_tried_here() -> None:
    """A new field is in the key until somebody says that it has no effect."""
    assert set(FIELDS) == {field.name for field in fields(Config)}
    assert set(FIELDS) > WITHOUT_EFFECT


@pytest.mark.parametrize("name", FIELDS)
@given(st.data())
def test_the_key_changes_with_every_field_that_has_an_effect_and_with_no_other(name: str, data: st.DataObject) -> None:
    config = data.draw(CONFIGS)
    other = replace(config, **{name: data.draw(FIELDS[name])})
    same = getattr(other, name) == getattr(config, name)
    if name in ("environment", "config_settings"):  # a variable may refer to one before it
        same = list(getattr(other, name).items()) == list(getattr(config, name).items())
    one, two = (common_facts(each, source=b"", index={}, program="") for each in (config, other))
    assert (one == two) is (same or name in WITHOUT_EFFECT)


@given(FACTS, FACTS)
def test_common_facts_are_equal_where_what_they_are_of_is(one: dict[str, object], two: dict[str, object]) -> None:
    relevant = [
        (
            each["source"],
            each["index"],
            each["program"],
            [
                list(value.items()) if isinstance(value, MappingProxyType) else value
                for value in (getattr(each["config"], name) for name in FIELDS if name not in WITHOUT_EFFECT)
            ],
        )
        for each in (one, two)
    ]
    keys = [common_facts(**each) for each in (one, two)]  # type: ignore[arg-type] # drawn by their names
    assert (keys[0] == keys[1]) is (relevant[0] == relevant[1])


@given(*[st.tuples(TEXTS, TARGETS, IMAGES, st.lists(TEXTS, max_size=2))] * 2)
def test_the_key_of_a_wheel_is_that_of_its_makings(
    one: tuple[str, Target, ImageInfo, list[str]], two: tuple[str, Target, ImageInfo, list[str]]
) -> None:
    keys = []
    for common, target, image, ground in (one, two):
        reuse = Reuse(
            store=WheelStore(Path("unused")),
            common=common,
            image=lambda _policy, _arch: None,
            ground=lambda _policy, _arch, ground=ground: ground,  # type: ignore[misc] # bound now
        )
        keys.append(wheel_key(reuse, target, image))
    assert (keys[0] == keys[1]) is (one == two)


@given(ENTRIES, st.integers(0, 400), st.integers(0, 400))
def test_limits(entries: list[Entry], most: int, more: int) -> None:
    gone = beyond(entries, most)
    stays = entries[: len(entries) - len(gone)]
    assert [*stays, *gone] == entries  # the oldest go, and no other
    assert sum(entry.size for entry in stays) <= most
    assert not gone or sum(entry.size for entry in stays) + gone[0].size > most
    assert len(beyond(entries, most + more)) <= len(gone)


@given(st.integers(0, 10**14))
def test_a_size_as_it_is_shown_is_read_to_its_precision(size: int) -> None:
    assert parse_size(str(size)) == size
    assert abs(parse_size(human_size(size)) - size) <= max(size * 0.06, 0)
