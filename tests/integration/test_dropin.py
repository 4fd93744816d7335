"""Both distributions as users get them: built, installed in a fresh environment, and run by their commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.auditing import extension, module_name, put_wheel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def auditwheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment that has nothing but the two built wheels and what they depend on."""
    place = tmp_path_factory.mktemp("dropin")
    for source in (ROOT, ROOT / "dropin"):
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place / "dist", source],
            check=True,
        )
    subprocess.run([sys.executable, "-m", "venv", place / "env"], check=True)
    wheels = sorted((place / "dist").glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["musllinux_build", "musllinux_build_auditwheel"]
    subprocess.run([place / "env/bin/python", "-m", "pip", "install", "--quiet", *wheels], check=True)
    return place / "env/bin/auditwheel"


def test_the_commands_of_the_built_wheels(auditwheel: Path, tmp_path: Path) -> None:
    def ran(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([auditwheel, *arguments], cwd=cwd, capture_output=True, text=True, check=False)

    wheel = put_wheel(tmp_path, {module_name(): extension()})
    assert ran("--version").stdout.startswith("auditwheel 6.")
    shown = ran("show", "--json", wheel)
    assert (shown.returncode, json.loads(shown.stdout)["overall_tag"]) == (0, "musllinux_1_2_x86_64")
    # cibuildwheel's default: auditwheel repair -w {dest_dir} {wheel}
    assert ran("repair", "-w", tmp_path / "out", wheel).returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl"]
    survey: list[str | Path] = [
        auditwheel.with_name("musllinux-build"),
        "survey",
        "-q",
        wheel,
        "--html",
        tmp_path / "page.html",
    ]
    assert subprocess.run(survey, check=False, capture_output=True).returncode == 0
    assert "<svg" in (tmp_path / "page.html").read_text()
