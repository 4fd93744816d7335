"""Planted defects on real loaders: what is fatal stops them, and what is not does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import CATALOGUE
from musllinux_build.audit.verdict import Severity
from tests.defects import DEFECTS, Defect
from tests.defects.model import REFUSED

pytestmark = pytest.mark.slow

LAB = Path(os.environ.get("MUSLLINUX_LAB") or Path(__file__).parents[3] / "shared")
RELEASES = ("3.12.12", "3.13.12")
"""musl 1.1.24 and 1.2.2, the floors."""
ONLY_BY_DLOPEN = {"initial-exec-tls", "no-dynamic-section", "not-an-object"}
"""What is there before the start has its place in the static TLS block; what cannot be mapped is passed over."""
ONLY_WHEN_USED = {"relr"}
"""These objects have nothing that follows a pointer of the table while they are loaded."""
OF_CPYTHON = {"abi3-outside-limited-api", "abi3-too-new"}
"""Their symbols are an interpreter's, and /bin/true is none."""
LIBPYTHON = {"libpython"}
"""A library that may be missing or there, and is wrong in both cases."""
NEED_ANOTHER_PROGRAM = ONLY_BY_DLOPEN | ONLY_WHEN_USED | OF_CPYTHON | LIBPYTHON | {REFUSED}
TESTED = [row for row in DEFECTS if Arch.X86_64 in row.archs and row.rule not in NEED_ANOTHER_PROGRAM]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    found = {}
    for release in RELEASES:
        found[release] = tmp_path_factory.mktemp(release)
        archive = LAB / "alpine" / f"alpine-minirootfs-{release}-x86_64.tar.gz"
        subprocess.run(["tar", "-xzf", archive, "-C", found[release]], check=True)
    return found


def loads(root: Path, defect: Defect) -> bool:
    """Whether /bin/true runs with the wheel's module loaded before it."""
    _, content = defect.wheel(Arch.X86_64)
    shutil.rmtree(root / "w", ignore_errors=True)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        archive.extractall(root / "w")
        module = next(name for name in archive.namelist() if name.startswith("demo/x.") and name.endswith(".so"))
    preload = f"LD_PRELOAD=/w/{module}"
    return subprocess.run(["chroot", root, "/usr/bin/env", preload, "/bin/true"], check=False).returncode == 0


@pytest.mark.skipif(not (LAB / "alpine").is_dir() or os.geteuid() != 0, reason="needs the lab folder and chroot")
@pytest.mark.parametrize("defect", TESTED, ids=lambda row: row.name)
def test_a_verdict_comes_true(roots: Mapping[str, Path], defect: Defect) -> None:
    rule = CATALOGUE[defect.rule]
    answers = {release: loads(root, defect) for release, root in roots.items()}
    if rule.severity is Severity.ERROR and not rule.may_load:
        assert not any(answers.values())
    else:
        assert all(answers.values())
