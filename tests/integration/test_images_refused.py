"""What cannot be built says why: 32-bit musllinux_1_1 from a mirror that has headers of musl 1.2 only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.conftest import Tool

pytestmark = [pytest.mark.engine, pytest.mark.nightly]


@pytest.mark.parametrize("arch", ["i686", "armv7l"])
def test_headers_of_another_musl(tool: Tool, arch: str) -> None:
    offline = Path(os.environ.get("MUSLLINUX_BUILD_OFFLINE", ""))
    index = {"i686": "x86", "armv7l": "armv7"}[arch]
    if not (offline / "apk" / "v3.12" / "main" / index).is_dir():
        pytest.skip("the package mirror has no v3.12 for this architecture")
    ran = tool(
        "images", "build", "--policy", "musllinux_1_1", "--arch", arch, "--python", "3.13", "--registry", "refused"
    )
    assert ran.status == 8, ran.everything
    reason = (
        f"the mirror's musl-dev for {arch} has the headers of musl 1.2 (64-bit time_t), the base has musl 1.1.24: "
        "musllinux_1_1 needs a musl-dev with the headers of musl 1.1"
    )
    assert reason in " ".join(ran.err.split()), ran.everything
