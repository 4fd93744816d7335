"""One subject on every release of its architecture: what we say beside what happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from musllinux_build.audit.subject import Subject
from musllinux_build.audit.symbols import PYTHON_API
from musllinux_build.wheel.layout import OUTSIDE, SITE, shown_path
from tests.agreement.loaders import Bench, Compiler, Outcome, Release
from tests.agreement.verdicts import Examined, Said

PYTHON = "python-stub.so"
HOME = "w"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One object, or with ``object`` empty the whole wheel, on one release."""

    subject: str
    object: str
    release: Release
    said: Said
    outcome: Outcome

    @property
    def unsound(self) -> bool:
        """Called fine, and fails to load: never right."""
        return self.said.fine and not self.outcome.loads

    @property
    def refused_and_loads(self) -> bool:
        return not self.said.fine and self.outcome.loads

    @property
    def agrees(self) -> bool:
        return self.said.fine == self.outcome.loads


def compare(subjects: Mapping[str, Examined], benches: Mapping[Release, Bench], compiler: Compiler) -> tuple[Cell, ...]:
    """The cells of some wheels, by their names: each object, and the wheel as the sum of what the outside opens."""
    files = {
        path: content for place, one in _placed(subjects) for path, content in _installed(one, place, compiler).items()
    }
    arguments = [argument for place, one in _placed(subjects) for argument in _arguments(one, place)]

    def load(bench: Bench) -> tuple[Outcome, ...]:
        bench.put(files)
        outcomes = bench.load(arguments)
        bench.remove(f"/{HOME}")
        return outcomes

    with ThreadPoolExecutor(max_workers=2) as pool:
        all_outcomes = list(pool.map(load, benches.values()))
    cells: list[Cell] = []
    alone = {name: {path: one.alone(path) for path in one.objects} for name, one in subjects.items()}
    for release, outcomes in zip(benches, all_outcomes, strict=True):
        left = iter(outcomes)
        for name, examined in subjects.items():
            found = {path: next(left) for path in examined.objects}
            cells += _cells(name, examined, alone[name], release, found)
    return tuple(cells)


def _placed(subjects: Mapping[str, Examined]) -> Iterator[tuple[str, Examined]]:
    yield from ((f"{HOME}/{number}", examined) for number, examined in enumerate(subjects.values()))


def _arguments(examined: Examined, place: str) -> list[str]:
    kinds = ((path, "x" if path in examined.programs else "d") for path in examined.objects)
    return [f"p:/{place}/{PYTHON}", *(f"{kind}:/{place}/{_relative(path)}" for path, kind in kinds)]


def _cells(
    name: str, examined: Examined, alone: Mapping[str, Subject], release: Release, outcomes: Mapping[str, Outcome]
) -> Iterator[Cell]:
    for path, outcome in outcomes.items():
        said = examined.judge_object(path, alone[path], release.musl)
        yield Cell(subject=name, object=shown_path(path), release=release, said=said, outcome=outcome)
    # Objects of another architecture are no roots of the closure, and whoever opens them fails.
    opened = [outcomes[path] for path in outcomes if path in examined.roots or not _followed(examined, path)]
    worst = next((outcome for outcome in opened if not outcome.loads), Outcome(what="loaded", number=0, words=""))
    yield Cell(subject=name, object="", release=release, said=examined.judge(release.musl), outcome=worst)


def _followed(examined: Examined, path: str) -> bool:
    return any(path in loaded for loaded in examined.subject.closure.loads.values())


def _installed(examined: Examined, place: str, compiler: Compiler) -> dict[str, bytes]:
    """Every object, every file a loader may meet while it searches, and the stand-in for CPython."""
    files = {f"{place}/{PYTHON}": compiler.stand_in(python_names(examined))}
    for path, member in examined.subject.inventory.members.items():
        if path in examined.subject.inventory.objects or ".so" in path:
            files[f"{place}/{_relative(path)}"] = examined.wheel.read(member)
    return files


def python_names(examined: Examined) -> Sequence[str]:
    """What the objects expect of the interpreter that opens them, and none of them defines."""
    objects = examined.subject.inventory.objects.values()
    wanted = {name for facts in objects for name in facts.undefined | facts.weak if PYTHON_API.match(name)}
    return sorted(wanted - {name for facts in objects for name in facts.exports})


def _relative(path: str) -> str:
    """Where an installed path lies; scripts and data are at no distance a wheel could count on."""
    if path.startswith(f"{SITE}/"):
        return f"lib/python/site-packages/{path.removeprefix(f'{SITE}/')}"
    return f"elsewhere/in/another/depth/{path.removeprefix(f'{OUTSIDE}/')}"
