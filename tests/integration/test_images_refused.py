"""What cannot be built says why: 32-bit musllinux_1_1 from a mirror that has headers of musl 1.2 only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NEEDED
from tests.integration.conftest import Tool

pytestmark = [pytest.mark.engine, pytest.mark.nightly]


@pytest.mark.parametrize("arch", ["i686", "armv7l"])
def test_headers_of_another_musl(tool: Tool, arch: str, offline: Path | None) -> None:
    if offline is None:
        pytest.fail(NEEDED)
    ran = tool(
        "images", "build", "--policy", "musllinux_1_1", "--arch", arch, "--python", "3.13", "--registry", "refused"
    )
    assert ran.status == 8, ran.everything
    reason = (
        f"the mirror's musl-dev for {arch} has the headers of musl 1.2 (64-bit time_t), the base has musl 1.1.24: "
        "musllinux_1_1 needs a musl-dev with the headers of musl 1.1"
    )
    assert reason in " ".join(ran.err.split()), ran.everything
