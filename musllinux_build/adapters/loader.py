"""Runs a musl loader on a program: on this machine out of a temporary directory, or in a container of its image."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from musllinux_build.adapters.process import run
from musllinux_build.errors import EmulationError
from musllinux_build.policies.record import Loader, Ran, Run
from musllinux_build.ports import Engine
from musllinux_build.tarstream import tar_of

SECONDS = 60
DIRECTORY = "musllinux-build-probe"
"""In a container, below the root."""


@contextmanager
def loader_here(loader: Loader) -> Iterator[Run]:
    """Runs ``loader`` on this machine: it and its programs lie alone in a temporary directory.

    A musl loader is a complete program that needs no root of its own, so no chroot and no privilege is needed.

    Raises:
        EmulationError: neither the kernel nor a qemu-user in PATH executes the architecture.
    """
    with tempfile.TemporaryDirectory(prefix="musllinux-build-") as text:
        directory = Path(text)
        path, program = directory / loader.arch.row.loader, directory / "probe"
        path.write_bytes(loader.content)
        path.chmod(0o755)
        emulator: list[str] = []

        def execute(content: bytes) -> Ran:
            program.write_bytes(content)
            try:
                done = run([*emulator, str(path), str(program)], env={}, cwd=directory, timeout=SECONDS)
            except OSError as error:
                if error.errno != errno.ENOEXEC or emulator:
                    raise
                emulator.append(_emulator(loader))
                return execute(content)
            return Ran(status=done.returncode, said=done.stderr)

        yield execute


def _emulator(loader: Loader) -> str:
    names = [f"qemu-{loader.arch.row.qemu}-static", f"qemu-{loader.arch.row.qemu}"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise EmulationError(
            f"this machine does not execute {loader.arch.value}",
            resolution="musllinux-build doctor --fix, or record without running the loader: --no-run.",
        )
    return found


def loader_in_container(engine: Engine, container: str, loader: Loader) -> Run:
    """Runs ``loader`` where it is: in a running container of its image."""

    def execute(content: bytes) -> Ran:
        engine.put(container, "/", [tar_of({f"{DIRECTORY}/probe": content}, mode=0o755)])
        said: list[bytes] = []
        status = engine.run(container, [loader.path, f"/{DIRECTORY}/probe"], on_output=said.append)
        # An engine tells of a signal as shells do.
        return Ran(status=128 - status if 128 < status < 128 + 65 else status, said=b"".join(said))

    return execute
