"""Wheels of several directories, what was planned → one set: complete, each name once, or every reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musllinux_build.config import parse_only
from musllinux_build.errors import MergeError, MusllinuxBuildError
from musllinux_build.parts import PartOutcome, PartReport
from musllinux_build.report import Row, human_size
from musllinux_build.tags import WheelName, normalized, serves


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWheel:
    """A wheel in one of the directories."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One planned identifier and the wheel that is for it."""

    identifier: str
    wheel: str
    outcome: PartOutcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The set. ``notes`` is what a person may want to know of it."""

    wheels: tuple[FoundWheel, ...]
    served: tuple[Served, ...]
    notes: tuple[str, ...]

    def to_json(self) -> Mapping[str, object]:
        """Plain data; ``version`` changes with its shape."""
        by_name = {wheel.path.name: wheel for wheel in self.wheels}
        return {
            "version": 1,
            "exit_code": 0,
            "wheels": [
                {"wheel": name, "size": wheel.size, "sha256": wheel.sha256, "from": str(wheel.path.parent)}
                for name, wheel in by_name.items()
            ],
            "targets": [{"id": item.identifier, "wheel": item.wheel} for item in self.served],
            "notes": list(self.notes),
        }


def merge(wheels: Sequence[FoundWheel], parts: Sequence[PartReport], planned: Sequence[str] | None) -> Merged:
    """The set that ``wheels`` are; ``planned`` is what has to be there, by default what the parts say themselves.

    Raises:
        MergeError: with every reason why they are none.
    """
    whole, problems = _whole(parts) if planned is None else (tuple(planned), [])
    kept, doubles = _each_once(wheels)
    names, unreadable = _names(kept)
    problems += [
        *_differing(wheels),
        *unreadable,
        *_strangers(names, whole),
        *_several_projects(names.values()),
        *_not_as_reported(kept, parts),
    ]
    served = [_served(identifier, names, parts) for identifier in whole]
    problems += [_missing(item.identifier, parts) for item in served if not item.wheel]
    if not kept and not problems:
        problems.append("there is no wheel")
    if problems:
        raise MergeError(
            f"the parts do not make a whole: {problems[0]}",
            details="\n".join(problems[1:]),
            resolution="Build again what is missing or not as it should be; nothing was written.",
        )
    notes = [*doubles] if whole else [*doubles, "no part says what was planned: whether all is there is not known"]
    return Merged(wheels=tuple(kept.values()), served=tuple(served), notes=tuple(notes))


def merged_rows(merged: Merged) -> Sequence[Row]:
    """One line per wheel, then one per identifier that another's wheel serves."""
    by_name = {wheel.path.name: wheel for wheel in merged.wheels}
    first = {item.wheel: item for item in reversed(merged.served)}
    rest = [item for item in merged.served if first[item.wheel] is not item]
    rows = [_wheel_row(wheel, first[name].outcome if name in first else None) for name, wheel in by_name.items()]
    return [*rows, *(Row(name=item.identifier, remark=f"served by {item.wheel}") for item in rest)]


def _wheel_row(wheel: FoundWheel, outcome: PartOutcome | None) -> Row:
    return Row(
        name=wheel.path.name,
        size=human_size(wheel.size),
        time=f"{outcome.seconds:.1f} s" if outcome else "",
        floor=f">= {outcome.floor}" if outcome and outcome.floor else "",
        remark=f"sha256 {wheel.sha256}",
    )


def _whole(parts: Sequence[PartReport]) -> tuple[tuple[str, ...], list[str]]:
    """What the parts were made from: one plan that all shards share, and what was asked of those that are none."""
    shards = [part for part in parts if part.shard is not None]
    problems = [
        f"{part.where}: shard {part.shard} of another plan than {shards[0].where}, shard {shards[0].shard}"
        for part in shards
        if part.shard
        and shards[0].shard
        and (part.planned, part.shard.count) != (shards[0].planned, shards[0].shard.count)
    ]
    if shards and shards[0].shard and not problems:
        there = {part.shard.index for part in shards if part.shard}
        missing = [str(number) for number in range(1, shards[0].shard.count + 1) if number not in there]
        problems += [f"shard {number}/{shards[0].shard.count} has left no report" for number in missing]
    return tuple(dict.fromkeys(name for part in parts for name in part.planned)), problems


def _each_once(wheels: Iterable[FoundWheel]) -> tuple[dict[str, FoundWheel], list[str]]:
    """Name → wheel, sorted by name, and a note for each that is there again."""
    kept: dict[str, FoundWheel] = {}
    notes = []
    for wheel in sorted(wheels, key=lambda wheel: (wheel.path.name, str(wheel.path))):
        first = kept.setdefault(wheel.path.name, wheel)
        if first is not wheel and first.sha256 == wheel.sha256:
            notes.append(f"{wheel.path} is the same as {first.path}")
    return kept, notes


def _differing(wheels: Sequence[FoundWheel]) -> list[str]:
    found: dict[str, dict[str, Path]] = {}
    for wheel in wheels:
        found.setdefault(wheel.path.name, {}).setdefault(wheel.sha256, wheel.path)
    return [
        f"{name} differs: {' and '.join(f'{path} (sha256 {digest[:12]}...)' for digest, path in contents.items())};"
        " a wheel that serves several Pythons is built by one job with plan --group-by arch+policy"
        for name, contents in sorted(found.items())
        if len(contents) > 1
    ]


def _names(kept: Mapping[str, FoundWheel]) -> tuple[dict[str, WheelName], list[str]]:
    names, problems = {}, []
    for filename in kept:
        try:
            names[filename] = WheelName.parse(filename)
        except MusllinuxBuildError as error:
            problems.append(error.brief)
    return names, problems


def _strangers(names: Mapping[str, WheelName], whole: Sequence[str]) -> list[str]:
    if not whole:
        return []
    return [
        f"{filename} is for nothing that was planned"
        for filename, name in names.items()
        if not any(_fits(name, identifier) for identifier in whole)
    ]


def _several_projects(names: Iterable[WheelName]) -> Iterator[str]:
    found = {(normalized(name.distribution), name.version): name.stem for name in names}
    if len(found) > 1:
        yield f"wheels of several projects or versions: {', '.join(sorted(found.values()))}"


def _not_as_reported(kept: Mapping[str, FoundWheel], parts: Sequence[PartReport]) -> Iterator[str]:
    for part in parts:
        told = {outcome.wheel: outcome.sha256 for outcome in part.outcomes if outcome.wheel}
        for name, digest in told.items():
            if name not in kept:
                yield f"{name} is not there, though {part.where} names it"
            elif kept[name].sha256 != digest:
                yield f"{kept[name].path} is not what was built: {part.where} has sha256 {digest}"


def _served(identifier: str, names: Mapping[str, WheelName], parts: Sequence[PartReport]) -> Served:
    """The wheel for ``identifier``: what a part says it is, else one whose name says so."""
    told = [outcome for part in parts for outcome in part.outcomes if outcome.identifier == identifier]
    for outcome in told:
        if outcome.wheel in names:
            return Served(identifier=identifier, wheel=outcome.wheel, outcome=outcome)
    fitting = next((filename for filename, name in names.items() if _fits(name, identifier)), "")
    return Served(identifier=identifier, wheel=fitting, outcome=None)


def _fits(name: WheelName, identifier: str) -> bool:
    try:
        python, platform = parse_only(identifier)
    except ValueError:
        return False
    if platform not in name.platforms:
        return False
    own = f"cp{python.major}{python.minor}" in name.pythons and (str(python) in name.abis or "none" in name.abis)
    return own or serves(str(name), python)


def _missing(identifier: str, parts: Sequence[PartReport]) -> str:
    told = [outcome for part in parts for outcome in part.outcomes if outcome.identifier == identifier]
    why = next((outcome.error for outcome in told if outcome.error), "")
    return f"{identifier} failed: {why}" if why else f"{identifier} has no wheel"
