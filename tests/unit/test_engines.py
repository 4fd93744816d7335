"""Engines by name, and which of several builds for what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.builds.floor import Site, crashed, sites_for
from musllinux_build.builds.pipeline import build_all
from musllinux_build.builds.session import Session
from musllinux_build.engines import Address, EngineSpec, address_of, named_in, parse_engine
from musllinux_build.errors import BuildError
from musllinux_build.plan import Plan
from musllinux_build.report import Outcome
from tests.unit.test_pipeline import Bench, target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cloud", EngineSpec(where="cloud")),
        ("aarch64=cloud", EngineSpec(where="cloud", arch=Arch.AARCH64)),
        ("s390x=ssh://me@host:22?slots=3", EngineSpec(where="ssh://me@host:22", arch=Arch.S390X, slots=3)),
        ("unix:///run/docker.sock", EngineSpec(where="unix:///run/docker.sock")),
        ("podman", EngineSpec(where="podman")),
        ("podman:tcp://127.0.0.1:1", EngineSpec(where="podman:tcp://127.0.0.1:1")),
    ],
)
def test_an_engine_as_it_is_written(text: str, expected: EngineSpec) -> None:
    assert parse_engine(text) == expected


@pytest.mark.parametrize(
    "text", ["", "arm64=cloud", "aarch64=", "ftp://host", "cloud?slots=0", "cloud?slots=x", "a b", "aarch64=x=y"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|no architecture|no address|no name|needs a slot"):
        parse_engine(text)


def test_variables_name_one_for_an_architecture() -> None:
    environment = {"MUSLLINUX_BUILD_ENGINE_AARCH64": "ssh://arm", "MUSLLINUX_BUILD_ENGINE_S390X": "", "X": "y"}
    assert named_in(environment) == [EngineSpec(where="ssh://arm", arch=Arch.AARCH64)]
    with pytest.raises(ValueError, match="is for s390x, not aarch64"):
        named_in({"MUSLLINUX_BUILD_ENGINE_AARCH64": "s390x=cloud"})


@pytest.mark.parametrize(
    ("where", "there", "expected"),
    [
        ("tcp://h:1", "", Address(url="tcp://h:1")),
        ("podman:tcp://h:1", "", Address(url="tcp://h:1")),
        ("podman:ssh://h", "", Address(url="ssh://h/run/podman/podman.sock")),
        ("podman:ssh://h/run/x.sock", "", Address(url="ssh://h/run/x.sock")),
        ("podman", "/run/user/7/podman/podman.sock", Address(url="unix:///run/user/7/podman/podman.sock")),
        ("podman", "", Address(url="unix:///run/podman/podman.sock")),
        ("cloud", "", Address(context="cloud")),
    ],
)
def test_where_an_engine_is(where: str, there: str, expected: Address) -> None:
    found = address_of(EngineSpec(where=where), {"XDG_RUNTIME_DIR": "/run/user/7"}, lambda path: path == there)
    assert found == expected


class Engines:
    """Several engines in memory, of a run."""

    def __init__(self, tmp_path: Path, **named: Arch | None) -> None:
        self.benches: dict[str, Bench] = {}
        sites = []
        for name, arch in named.items():
            (tmp_path / name).mkdir()
            bench = self.benches[name] = Bench(tmp_path / name)
            bench.run = replace(
                bench.run,
                session=Session(bench.engine, bench.progress),
                host=replace(bench.run.host, output=tmp_path / "out", jobs=len(named)),
            )
            sites.append(Site(run=bench.run, name=name, arch=arch, native=Arch.X86_64))
        self.sites = tuple(sites)

    def built(self) -> dict[str, int]:
        """How many wheels each has built."""
        return {name: bench.project.seen.count("build") for name, bench in self.benches.items()}


def test_an_architecture_goes_to_its_engine_and_the_rest_to_the_other(tmp_path: Path) -> None:
    engines = Engines(tmp_path, here=None, arm=Arch.AARCH64)
    targets = (target(), target(minor=11), target(Arch.AARCH64))
    report = build_all(engines.sites, Plan(targets=targets, skipped=()))
    assert engines.built() == {"here": 2, "arm": 1}
    assert [outcome.target for outcome in report.outcomes] == list(targets)
    assert not any(bench.engine.boxes for bench in engines.benches.values())


def test_what_runs_natively_is_preferred() -> None:
    bench_run = object()
    sites = [
        Site(run=bench_run, name=name, native=native)  # type: ignore[arg-type] # nothing is run
        for name, native in (("intel", Arch.X86_64), ("arm", Arch.AARCH64))
    ]
    assert [site.name for site in sites_for(sites, Arch.AARCH64)] == ["arm", "intel"]
    assert [site.name for site in sites_for(sites, Arch.I686)] == ["intel", "arm"]
    assert [site.name for site in sites_for(sites, Arch.S390X)] == ["intel", "arm"]


@pytest.mark.parametrize("names", [("one",), ("one", "other")])
def test_a_crash_of_the_emulator_is_tried_once_more_elsewhere_if_that_can_be(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    engines = Engines(tmp_path, **dict.fromkeys(names))
    engines.benches["one"].project.status = {"build": 139}
    report = build_all(engines.sites, Plan(targets=(target(Arch.AARCH64),), skipped=()))
    assert sum(engines.built().values()) == 2
    (outcome,) = report.outcomes
    assert outcome.retried
    if len(names) == 2:
        assert engines.built() == {"one": 1, "other": 1}
    assert any("the emulator crashed; once more" in line for line in engines.benches["one"].progress.lines)


def test_a_crash_of_a_native_program_is_the_project_s(tmp_path: Path) -> None:
    engines = Engines(tmp_path, one=None)
    engines.benches["one"].project.status = {"build": 139}
    (outcome,) = build_all(engines.sites, Plan(targets=(target(),), skipped=())).outcomes
    assert not outcome.retried
    assert engines.built() == {"one": 1}


@pytest.mark.parametrize(
    ("brief", "details", "expected"),
    [
        ("build of x failed with exit status 139", "", True),
        ("build of x failed with exit status 1", "qemu: uncaught target signal 11 (Segmentation fault)", True),
        ("build of x failed with exit status 1", "error: 139", False),
    ],
)
def test_what_a_crash_looks_like(brief: str, details: str, expected: bool) -> None:
    error = BuildError(brief, details=details)
    assert crashed(Outcome(target=target(), seconds=0.0, error=error)) is expected
