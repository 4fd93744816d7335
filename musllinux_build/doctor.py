"""Facts about engine, emulation, disk and network → Checks, each with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError
from musllinux_build.ports import EngineInfo
from musllinux_build.python import PythonTag
from musllinux_build.report import NOT_PROVEN
from musllinux_build.surroundings import PYTHONS, OwnImage

MINIMUM_FREE_BYTES = 12 << 30
"""Two images, their build stages and a few containers."""
MINIMUM_FREE_INSIDE = 1 << 30
"""A copy of the project, what its build makes, and an environment to try the wheel in."""


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
class Trouble:
    """Versions of qemu-user, ``since`` included and ``before`` not, that are known to fail; on ``arch`` None, all."""

    since: tuple[int, ...]
    before: tuple[int, ...]
    arch: Arch | None
    what: str


# Debian's 7.2 has the repair of the first, so the series is not in it. qemu's issue numbers are those of its GitLab.
_BRK = "crashes at random on kernels with a randomised brk (Debian bug 1087822)"
TROUBLES = (
    Trouble(since=(0,), before=(7, 2), arch=None, what=_BRK),
    Trouble(since=(8, 0), before=(8, 1), arch=None, what=_BRK),
    Trouble(since=(8, 2), before=(8, 3), arch=Arch.AARCH64, what="compiles some code wrongly (wasmtime issue 8233)"),
    Trouble(since=(9, 0), before=(9, 2, 2), arch=Arch.AARCH64, what="crashes in large programs (qemu issue 1913)"),
)


def qemu_trouble(arch: Arch, version: str) -> str:
    """What is known to go wrong for ``arch`` under this version of qemu-user; empty when nothing is."""
    if not version:
        return ""
    number = tuple(int(part) for part in version.split("."))
    fits = (row for row in TROUBLES if row.since <= number < row.before and row.arch in (None, arch))
    return next((row.what for row in fits), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What was seen of one architecture: whether a container ran it, and the entry that would serve it.

    ``executes`` is None when it was not tried, for the reason ``untried``. ``local`` is false for an engine on another
    machine, whose entries are not ours. ``required`` says that the user cannot do without.
    """

    arch: Arch
    executes: bool | None
    native: bool = False
    entry: BinfmtEntry | None = None
    qemu: str = ""
    untried: str = ""
    local: bool = True
    required: bool = True


MEND_EMULATION = "musllinux-build doctor --fix   (or: apt-get install qemu-user-static binfmt-support)"
MEND_ELSEWHERE = "on the engine's machine: docker run --privileged --rm tonistiigi/binfmt --install all"


def check_emulation(seen: Emulation) -> Check:
    """Executing decides; the entry only explains."""
    name = f"runs {seen.arch.value}"
    failed = State.FAILED if seen.required else State.WARNING
    mend = MEND_EMULATION if seen.local else MEND_ELSEWHERE
    if seen.executes is None:
        known = f"; {_described(seen)}" if seen.local and seen.entry else ""
        return Check(name=name, state=failed, found=f"not tried: {seen.untried}{known}")
    if seen.native:
        if seen.executes:
            return Check(name=name, state=State.OK, found="native")
        return Check(name=name, state=failed, found="the engine's kernel should run it, and does not", mend=mend)
    if seen.executes:
        return _check_emulator(seen)
    if not seen.local:
        return Check(name=name, state=failed, found="the engine's kernel does not run it", mend=mend)
    described = _described(seen)
    if seen.entry and "F" not in seen.entry.flags:
        described += "; without F the interpreter is looked for inside the container"
    return Check(name=name, state=failed, found=described, mend=mend)


def _described(seen: Emulation) -> str:
    entry = seen.entry
    return f"{entry.name}, qemu {seen.qemu or 'unknown'}, flags {entry.flags}" if entry else "no binfmt entry"


def _check_emulator(seen: Emulation) -> Check:
    name = f"runs {seen.arch.value}"
    found = f"emulated: {_described(seen)}" if seen.local and seen.entry else "emulated"
    trouble = qemu_trouble(seen.arch, seen.qemu) if seen.local else ""
    if not trouble:
        return Check(name=name, state=State.OK, found=found)
    return Check(
        name=name,
        state=State.WARNING,
        found=f"{found}; this version {trouble}",
        mend="Install a newer qemu-user: docker run --privileged --rm tonistiigi/binfmt --install all",
    )


def check_engine(info: EngineInfo, endpoint: str) -> Check:
    """An engine that answers and is new enough."""
    described = f"{info.name} {info.version}, API {info.api[0]}.{info.api[1]}, {info.machine}, at {endpoint}"
    return Check(name="engine", state=State.OK, found=described)


def check_no_engine(error: EngineError) -> Check:
    """An engine that does not answer or cannot be used, for the reason ``error`` gives."""
    why = next(iter(error.details.splitlines()), "")
    found = f"{error.brief}: {why}" if why else error.brief
    return Check(name="engine", state=State.FAILED, found=found, mend=error.resolution)


def check_disk(free: int | None, place: str) -> Check:
    """``free`` in bytes, None when the engine is elsewhere."""
    if free is None:
        return Check(name="disk", state=State.WARNING, found=f"{place} is not on this machine", mend="Look there.")
    found = f"{free >> 30} GiB free at {place}"
    if free < MINIMUM_FREE_BYTES:
        return Check(name="disk", state=State.WARNING, found=found, mend="docker system prune")
    return Check(name="disk", state=State.OK, found=found)


MEND_CERTIFICATES = "apt-get install ca-certificates   (or: --ca-bundle FILE)"


def check_certificates(bundle: bytes, mend: str = MEND_CERTIFICATES) -> Check:
    """The bundle that containers get."""
    count = bundle.count(b"-----BEGIN CERTIFICATE-----")
    if not count:
        return Check(
            name="CA bundle",
            state=State.WARNING,
            found="none on this machine",
            mend=mend,
        )
    return Check(name="CA bundle", state=State.OK, found=f"{count} certificates")


def check_index(status: int | None, said: str, asked: str = "from a container") -> Check:
    """``status`` of a query of the index, None when no image is here to ask from."""
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
            found=f"not reachable {asked}: {said}",
            mend="Check proxy, CA bundle (--ca-bundle) and pip's index settings (pip config list).",
        )
    return Check(name=name, state=State.OK, found=f"reachable {asked}")


def check_own_image(image: OwnImage, release: str, musl: str) -> Check:
    """The image around this process: its Alpine release and the package of its musl, "" where they are not known."""
    alpine = f"Alpine {release or 'unknown'}, musl {musl or 'unknown'}"
    found = f"{image.name} ({alpine}): no engine is needed; wheels are {NOT_PROVEN}"
    base = image.policy.row.image
    if base is not None and musl not in ("", base.musl_package):
        # A newer one is a variant, and the audit finds what it would do to a wheel.
        return Check(
            name="inside",
            state=State.WARNING,
            found=f"{found}; wheels of {image.policy.value} are built on musl {base.musl_package}",
            mend="Where the audit says that a symbol is missing: build in an image with that musl.",
        )
    return Check(name="inside", state=State.OK, found=found)


def check_interpreters(pythons: Sequence[PythonTag]) -> Check:
    """The interpreters of this image."""
    if not pythons:
        return Check(
            name="interpreters", state=State.FAILED, found=f"none in {PYTHONS}", mend="Start it in a whole image."
        )
    return Check(name="interpreters", state=State.OK, found=" ".join(map(str, pythons)))


def check_compiler(version: str, why: str) -> Check:
    """The first line of the compiler's ``version``, empty where it does not answer, for the reason ``why``."""
    line = next(iter(version.splitlines()), "")
    if not line:
        mend = "apk add build-base   (only projects with nothing to compile do without)"
        return Check(name="compiler", state=State.WARNING, found=why, mend=mend)
    return Check(name="compiler", state=State.OK, found=line)


def check_space(free: int | None, place: str) -> Check:
    """``free`` bytes where a build in this image puts its files."""
    found = "unknown" if free is None else f"{free >> 20} MiB free at {place}"
    if free is not None and free < MINIMUM_FREE_INSIDE:
        return Check(name="disk", state=State.WARNING, found=found, mend="Name a larger place: TMPDIR=DIR")
    return Check(name="disk", state=State.OK if free is not None else State.WARNING, found=found)


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
