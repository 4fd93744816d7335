"""Facts about engine, emulation, disk and network → Checks, each with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch

MINIMUM_FREE_BYTES = 12 << 30
"""Two images, their build stages and a few containers."""


class State(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. ``mend`` is a command or a sentence, empty when nothing is wrong."""

    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinfmtEntry:
    """One file below ``/proc/sys/fs/binfmt_misc`` (Linux, admin-guide/binfmt-misc)."""

    name: str
    enabled: bool
    interpreter: str
    flags: str
    magic: bytes
    mask: bytes

    def matches(self, header: bytes) -> bool:
        """Whether the kernel would hand a file that starts with ``header`` to this interpreter."""
        pairs = zip(self.magic, self.mask, header, strict=False)
        return len(header) >= len(self.magic) and all((got & mask) == (want & mask) for want, mask, got in pairs)


def parse_binfmt(name: str, text: str) -> BinfmtEntry:
    """The entry a file of binfmt_misc describes."""
    values = dict(line.partition(" ")[::2] for line in text.splitlines())
    magic = bytes.fromhex(values.get("magic", ""))
    return BinfmtEntry(
        name=name,
        enabled=text.startswith("enabled"),
        interpreter=values.get("interpreter", ""),
        flags=values.get("flags:", ""),
        magic=magic,
        mask=bytes.fromhex(values["mask"]) if "mask" in values else b"\xff" * len(magic),
    )


def qemu_version(output: str) -> str:
    """``7.2.22`` from ``qemu-aarch64 version 7.2.22 (Debian ...)``; empty when there is none."""
    found = re.search(r"version (\d+(?:\.\d+)+)", output)
    return found[1] if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What was seen of one architecture: whether a container ran it, and the entry that would serve it."""

    arch: Arch
    executes: bool
    native: bool
    entry: BinfmtEntry | None
    qemu: str


def check_emulation(seen: Emulation) -> Check:
    """Executing decides; the entry only explains."""
    name = f"runs {seen.arch.value}"
    mend = "musllinux-build doctor --fix   (or: apt-get install qemu-user-static binfmt-support)"
    if seen.native:
        if seen.executes:
            return Check(name=name, state=State.OK, found="native")
        return Check(name=name, state=State.FAILED, found="the engine does not run its own architecture", mend=mend)
    entry = seen.entry
    described = f"{entry.name}, qemu {seen.qemu or 'unknown'}, flags {entry.flags}" if entry else "no binfmt entry"
    if seen.executes:
        return Check(name=name, state=State.OK, found=f"emulated: {described}" if entry else "emulated")
    if entry and "F" not in entry.flags:
        described += "; without F the interpreter is looked for inside the container"
    return Check(name=name, state=State.FAILED, found=described, mend=mend)


def check_disk(free: int | None, place: str) -> Check:
    """``free`` in bytes, None when the engine is elsewhere."""
    if free is None:
        return Check(name="disk", state=State.WARNING, found=f"{place} is not on this machine", mend="Look there.")
    found = f"{free >> 30} GiB free at {place}"
    if free < MINIMUM_FREE_BYTES:
        return Check(name="disk", state=State.WARNING, found=found, mend="docker system prune")
    return Check(name="disk", state=State.OK, found=found)


def check_certificates(bundle: bytes) -> Check:
    """The bundle that containers get."""
    count = bundle.count(b"-----BEGIN CERTIFICATE-----")
    if not count:
        return Check(
            name="CA bundle",
            state=State.WARNING,
            found="none on this machine",
            mend="apt-get install ca-certificates   (or: --ca-bundle FILE)",
        )
    return Check(name="CA bundle", state=State.OK, found=f"{count} certificates")


def check_index(status: int | None, said: str) -> Check:
    """``status`` of a query of the index from inside a container, None when no image is here to ask from."""
    name = "package index"
    if status is None:
        return Check(
            name=name,
            state=State.WARNING,
            found="not asked: no image is here yet",
            mend="musllinux-build images build",
        )
    if status:
        return Check(
            name=name,
            state=State.FAILED,
            found=f"not reachable from a container: {said}",
            mend="Check proxy, CA bundle (--ca-bundle) and pip's index settings (pip config list).",
        )
    return Check(name=name, state=State.OK, found="reachable from a container")


def worst(checks: Sequence[Check]) -> State:
    """FAILED when any check failed, else WARNING when any warns."""
    states = {check.state for check in checks}
    return next((state for state in (State.FAILED, State.WARNING) if state in states), State.OK)


def to_json(checks: Sequence[Check]) -> Mapping[str, object]:
    """Plain data; ``version`` changes with its shape."""
    return {
        "version": 1,
        "checks": [
            {"name": item.name, "state": item.state.value, "found": item.found, "mend": item.mend} for item in checks
        ],
    }
