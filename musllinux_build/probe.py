"""The smallest program of each architecture: it exits with EXIT_STATUS, so that "it ran" is not "it was found".

Whether a kernel executes an architecture is proven by executing, never by the name of a binfmt entry: names differ
between the tools that register them, and an entry without the F flag finds no interpreter in a container.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from musllinux_build.arch import Arch
from musllinux_build.builds.session import Session
from musllinux_build.errors import EngineError
from musllinux_build.policies.probes import EXIT_CODE, EXIT_STATUS
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec
from musllinux_build.tarstream import tar_of

_ADDRESS: Final = 0x400000
# runc starts the container and lets it end with status 1; crun and podman refuse to start it. ENOEXEC is no entry,
# ENOENT for a file that is there an entry whose interpreter is not (execve(2)).
_REFUSED = re.compile(r"exec format error|/probe\b.*no such file or directory", re.IGNORECASE | re.DOTALL)


def probe_elf(arch: Arch) -> bytes:
    """A complete static executable of ``arch``: ELF header, one PT_LOAD, code (gABI, chapters 4 and 5)."""
    identity = arch.row.elf
    order = "<" if identity.order == "little" else ">"
    wide = identity.bits == 64
    header_size, segment_size = (64, 56) if wide else (52, 32)
    start = header_size + segment_size
    code = EXIT_CODE[arch]
    total = start + len(code)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if identity.order == "little" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    flags = identity.flags_value | (0x400 if arch is Arch.ARMV7L else 0)
    header = struct.pack(
        f"{order}HHI{word}{word}{word}I6H",
        *(2, identity.machine, 1, _ADDRESS + start, header_size, 0, flags, header_size, segment_size, 1, 0, 0, 0),
    )
    place = (0, _ADDRESS, _ADDRESS, total, total)
    segment = (
        struct.pack(f"{order}II6Q", 1, 5, *place, 0x1000) if wide else struct.pack(f"{order}8I", 1, *place, 5, 0x1000)
    )
    return ident + header + segment + code


def executes(session: Session, arch: Arch) -> bool:
    """Whether containers of this engine execute ``arch``.

    Raises:
        EngineError: the engine itself fails.
        ImageError: it cannot build the image of one file.
    """
    context = tar_of({"Dockerfile": b"FROM scratch\nCOPY probe /probe\n", "probe": probe_elf(arch)}, mode=0o755)
    tag = f"musllinux-build/probe:{arch.value}"
    if session.engine.image(tag) is None:
        spec = BuildSpec(context=[context], tag=tag, platform=arch.oci_platform, labels={LABEL: "probe"})
        session.engine.build(spec, lambda _: None)
    probe = ContainerSpec(image=tag, platform=arch.oci_platform, purpose="probe", command=["/probe"], network=False)
    try:
        with session.container(probe) as container:
            return session.engine.wait(container) == EXIT_STATUS
    except EngineError as error:
        if _REFUSED.search(error.details):
            return False
        raise
