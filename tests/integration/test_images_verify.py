"""``images verify`` on real images: a stock Alpine lacks what it lacks, and ours keep their promises."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import connect
from musllinux_build.arch import Arch
from musllinux_build.images.bases import ensure_base
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from tests.fakes import ListProgress
from tests.integration.conftest import ABSENT, IMAGES, PYTHONS, Tool

pytestmark = pytest.mark.engine


def rows(said: str) -> dict[str, str]:
    return {row["id"]: row["status"] for row in json.loads(said)["rows"]}


def test_a_stock_alpine_is_told_what_it_lacks(tool: Tool) -> None:
    offline = os.environ.get("MUSLLINUX_BUILD_OFFLINE")
    supplies = Supplies.chosen(offline=Path(offline) if offline else None)
    ref = ensure_base(connect(), Policy.MUSLLINUX_1_2.row.base, Arch.X86_64, supplies, ListProgress())
    ran = tool("images", "verify", ref, "--policy", "musllinux_1_2", "--arch", "x86_64", "--json")
    assert ran.status == 1, ran.everything
    found = rows(ran.out)
    # It is a sound Alpine: musl, its objects and apk are in order.
    assert {found[id_] for id_ in ("M1", "M2", "C4", "F6", "F9", "F12", "A1", "A2", "A3", "A4")} == {"pass"}
    assert {found[id_] for id_ in ("E1", "E8", "C1", "F3", "M3", "X5.auditwheel", "X1.list", "B2", "B4")} == {"fail"}


@pytest.mark.parametrize("tag", IMAGES)
def test_our_image_keeps_its_promises(tag: str, images: Mapping[str, str], tool: Tool) -> None:
    ran = tool("images", "verify", images[tag], "--absent", ABSENT, "--json")
    failed = {row["id"]: row["evidence"] for row in json.loads(ran.out)["rows"] if row["status"] == "fail"}
    assert failed == {}
    assert ran.status == 0
    # The extension that is compiled and loaded, with each of its interpreters.
    tags = [f"cp{python.replace('.', '')}" for python in PYTHONS]
    assert {f"B1.{tag}-{tag}" for tag in tags} <= set(rows(ran.out))
