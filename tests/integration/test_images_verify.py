"""``images verify`` on real images: a stock Alpine lacks what it lacks, and ours keep their promises."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import connect
from musllinux_build.arch import Arch
from musllinux_build.images.bases import ensure_base
from musllinux_build.images.reference import DEFAULT_REGISTRY, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.policy import Policy
from tests.fakes import ListProgress
from tests.integration.conftest import Tool

pytestmark = pytest.mark.engine
LAB = Path(__file__).parents[1] / "lab"


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


def test_our_image_keeps_its_promises(tool: Tool) -> None:
    ref = image_reference(DEFAULT_REGISTRY, Policy.MUSLLINUX_1_2, Arch.X86_64)
    ran = tool("images", "verify", ref, "--absent", LAB / "absent.toml", "--json")
    failed = {row["id"]: row["evidence"] for row in json.loads(ran.out)["rows"] if row["status"] == "fail"}
    assert failed == {}
    assert ran.status == 0
