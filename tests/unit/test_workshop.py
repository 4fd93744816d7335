"""What every wheel of an architecture starts from: when the result of ``before-all`` is the same, and its PATH."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musllinux_build.arch import Arch
from musllinux_build.config import Config
from musllinux_build.tarstream import tar_of
from tests.unit.test_pipeline import IMAGE, Bench, target

OTHER_INDEX = {"index": {"PIP_INDEX_URL": "https://other.example/simple"}}
OTHER_SOURCE = {"source": tar_of({"setup.py": b"#", "vendored.apk": b"2"})}


@pytest.mark.parametrize(
    ("script", "host", "config", "runs"),
    [
        ("pip download x", OTHER_INDEX, {}, 2),
        ("apk add x", OTHER_INDEX, {}, 1),
        ("apk add x", OTHER_SOURCE, {}, 1),
        ("apk add vendored.apk", OTHER_SOURCE, {}, 2),
        ("apk add x && apk add y vendored.apk", OTHER_SOURCE, {}, 2),
        ("make libs", {}, {"compiler": "clang"}, 2),
        ("apk add x", {}, {"compiler": "clang"}, 1),
        ("apk add x", {}, {"environment": {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DEMO": "2.0"}}, 1),
        ("make libs", {}, {"environment": {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DEMO": "2.0"}}, 2),
        ("apk add x", {}, {"environment": {"A": "1"}}, 2),
    ],
)
def test_when_before_all_runs_again(
    tmp_path: Path, script: str, host: dict[str, Any], config: dict[str, Any], runs: int
) -> None:
    bench = Bench(tmp_path, Config(before_all=script))
    bench.build(target())
    bench.run = replace(bench.run, host=replace(bench.run.host, **host), config=replace(bench.run.config, **config))
    bench.build(target())
    assert bench.project.seen.count(script) == runs


def test_an_image_without_path_has_the_engine_s(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Config(compiler="gcc"))
    image = bench.known(f"{IMAGE}-{Arch.X86_64.value}")
    bench.images = lambda *_: replace(image, env={})
    assert bench.build(target()).exit_code == 0
    assert bench.project.paths["build"].endswith(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
