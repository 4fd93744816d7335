"""This machine as ``doctor`` sees and mends it: binfmt, packages, the engine's daemon. Debian and Ubuntu are mended."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from musllinux_build.adapters.process import run, start
from musllinux_build.arch import Arch
from musllinux_build.doctor import BinfmtEntry, parse_binfmt, qemu_version
from musllinux_build.errors import EngineError, UsageError
from musllinux_build.ports import Progress

BINFMT = Path("/proc/sys/fs/binfmt_misc")
DEFINITIONS = Path("/usr/lib/binfmt.d")
PID_FILE = Path("/run/musllinux-build-dockerd.pid")
DAEMON_LOG = Path("/var/log/musllinux-build-dockerd.log")
IMAGES = Path("/var/lib/docker")
START_SECONDS = 60
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")


def binfmt_entries() -> Sequence[BinfmtEntry]:
    """The registered formats; none when binfmt_misc is not mounted."""
    names = sorted(BINFMT.iterdir()) if BINFMT.is_dir() else []
    return [parse_binfmt(path.name, path.read_text()) for path in names if path.name not in ("register", "status")]


def interpreter_version(interpreter: str) -> str:
    """The version of a qemu-user binary, empty when it does not say."""
    # Debian's "-P" link makes qemu take its first argument for the program's own name; what it points at does not.
    return qemu_version(
        run([str(Path(interpreter).resolve()), "--version"], timeout=10).stdout.decode(errors="replace")
    )


def free_bytes(directory: str) -> int | None:
    """Free bytes at a directory, None when it is not on this machine or nobody may look at it."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def images_directory() -> str:
    """Where an engine of this machine would keep images, as far as the path exists."""
    return next(str(path) for path in (IMAGES, *IMAGES.parents) if path.is_dir())


def require_mendable() -> None:
    """Raise UsageError unless this is root on Debian or one of its kin."""
    if os.geteuid() != 0:
        raise UsageError("doctor --fix must be root", resolution="sudo musllinux-build doctor --fix")
    if shutil.which("apt-get") is None:
        raise UsageError(
            "doctor --fix knows Debian and Ubuntu only",
            resolution="Install Docker and qemu-user (static, with binfmt) as your distribution does it.",
        )


def install(packages: Iterable[str], progress: Progress) -> None:
    """Install Debian packages that are not there.

    Raises:
        EngineError: apt-get failed.
    """
    missing = [
        name for name in packages if run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name]).stdout[:2] != b"ii"
    ]
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"apt-get install {' '.join(missing)}"):
        if run([*_INSTALL, *missing], env=environment).returncode:
            run(["apt-get", "update"], env=environment).check(EngineError, "apt-get update failed")
            run([*_INSTALL, *missing], env=environment).check(EngineError, f"cannot install {' '.join(missing)}")


def start_engine(answers: Callable[[], bool], progress: Progress) -> None:
    """Start the Docker daemon: by systemd where it runs, else as a process of its own, its number in PID_FILE.

    Raises:
        EngineError: it does not answer in time; the details are the end of its log.
    """
    if Path("/run/systemd/system").is_dir():
        with progress.step("systemctl start docker"):
            run(["systemctl", "start", "docker"]).check(EngineError, "systemd cannot start Docker")
    else:
        with progress.step(f"start dockerd (log: {DAEMON_LOG})"):
            PID_FILE.write_text(str(start(["dockerd"], log=DAEMON_LOG)))
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if time.monotonic() > deadline:
            tail = DAEMON_LOG.read_text(errors="replace")[-2000:] if DAEMON_LOG.is_file() else ""
            raise EngineError(f"dockerd does not answer after {START_SECONDS} s", details=tail)
        time.sleep(0.3)


def register_binfmt(archs: Iterable[Arch], progress: Progress) -> None:
    """Register Debian's qemu-user definitions (flags F and P) with the kernel.

    Raises:
        EngineError: the kernel or the container refuses.
    """
    if not (BINFMT / "register").exists():
        with progress.step(f"mount binfmt_misc at {BINFMT}"):
            run(["mount", "-t", "binfmt_misc", "none", str(BINFMT)]).check(
                EngineError,
                "cannot mount binfmt_misc",
                resolution="Run this on the machine itself, or in a privileged container.",
            )
    for arch in archs:
        definition = DEFINITIONS / f"qemu-{arch.row.qemu}.conf"
        if not definition.is_file():
            raise EngineError(f"{definition} is missing", resolution="apt-get install qemu-user-static")
        with progress.step(f"register {definition.stem}"):
            _register(definition)


def _register(definition: Path) -> None:
    old = BINFMT / definition.stem
    try:
        if old.exists():
            old.write_text("-1")  # an entry is never replaced, and an old one may lack F
        # Bytes as they are: the kernel takes one write, escapes and all.
        (BINFMT / "register").write_bytes(definition.read_bytes().strip())
    except OSError as error:
        raise EngineError(f"the kernel refuses {definition.stem}: {error.strerror}") from error
