"""File names of bundled libraries: unique by their content, and none that musl takes for itself.

PEP 600 wants globally unique names, because the first library of a name serves the whole process. A name carries
twelve hexadecimal digits of a hash of the final bytes; one that a tool gave before (auditwheel's eight digits of the
bytes before its own edits, or ours) is taken off first, since it says nothing of the bytes any more.
"""

from __future__ import annotations

import re

from musllinux_build.elf.closure import is_reserved

HASH_DIGITS = 12
LIBRARY_NAME = re.compile(r"(?P<base>.+?)\.(?P<ext>so(?:\..+)?)")
OLD_HASH = re.compile(r"(?<=.)(?:-(?:[0-9a-f]{8}|[0-9a-f]{12}))+$")


def hashed_name(file_name: str, digest: str) -> str:
    """``file_name`` with ``digest``: ``libyaml-0-1a2b3c4d5e6f.so.2.0.9``."""
    found = LIBRARY_NAME.fullmatch(file_name)
    base, ext = (found["base"], found["ext"]) if found else (file_name, "so")
    name = f"{base}-{digest}.{ext}"
    return f"grafted-{name}" if is_reserved(name) else name


def unhashed_name(file_name: str) -> str:
    """``file_name`` without the hashes that tools put before its suffix."""
    found = LIBRARY_NAME.fullmatch(file_name)
    return f"{OLD_HASH.sub('', found['base'])}.{found['ext']}" if found else OLD_HASH.sub("", file_name)


def has_hash(file_name: str) -> bool:
    """Whether a tool gave this name."""
    return unhashed_name(file_name) != file_name
