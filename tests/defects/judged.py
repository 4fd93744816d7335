"""Our answer to a wheel in memory."""

from __future__ import annotations

from collections.abc import Mapping

from musllinux_build.audit.judge import choose_arch, choose_policy, examine, judge
from musllinux_build.audit.subject import take_inventory
from musllinux_build.audit.verdict import Severity
from musllinux_build.errors import WheelError
from musllinux_build.wheel.contents import read_wheel
from tests.defects.model import REFUSED


def judged(filename: str, content: bytes) -> Mapping[str, Severity]:
    """The rules that found something, with their severity; REFUSED alone for what is not read."""
    try:
        wheel = read_wheel(content, filename)
        inventory = take_inventory(wheel)
    except WheelError:
        return {REFUSED: Severity.ERROR}
    policy = choose_policy(wheel.name)
    arch = choose_arch(wheel.name, inventory)
    subject = examine(wheel, inventory, arch=arch, floor=policy.row.floor, sysroot=None, may_graft=False)
    return {finding.rule: finding.severity for finding in judge(subject, policy).findings}
