"""32-bit architectures: time_t has two sizes, and code of both must not share structures.

musl 1.2.0 gave new code 64-bit time under names of its own (``__stat_time64``); the old names keep the old structures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from musllinux_build.arch import Arch
from musllinux_build.audit.catalogue import finding
from musllinux_build.audit.subject import Subject
from musllinux_build.audit.verdict import Finding
from musllinux_build.policies.load import load_table

NEW_NAME = re.compile(r"__(?P<name>.+?)(?:_time64|64)(?P<end>_r)?")
HARMLESS = frozenset({"dlsym"})
"""Rust and hand-written code look symbols up by the old name on purpose."""


@cache
def old_names(arch: Arch) -> Mapping[str, str]:
    """New name to old name of every function with two, on ``arch``."""
    table = load_table(arch)
    if arch.row.elf.bits == 64:
        return {}
    found = ((name, NEW_NAME.fullmatch(name)) for name in table.since.keys() - table.lfs64)
    pairs = {name: f"{match['name']}{match['end'] or ''}" for name, match in found if match}
    return {new: old for new, old in pairs.items() if old in table.since and old not in HARMLESS}


def mixed(subject: Subject) -> Iterator[Finding]:
    """No load has objects of both sizes."""
    pairs = old_names(subject.arch)
    new, old = frozenset(pairs), frozenset(pairs.values())
    if not pairs:
        return
    objects, seen = subject.closure.objects, set[tuple[str, str]]()
    for loaded in subject.closure.loads.values():
        with_new = next((path for path in loaded if objects[path].undefined & new), None)
        with_old = next((path for path in loaded if objects[path].undefined & old), None)
        if with_new is None or with_old is None or (with_new, with_old) in seen:
            continue
        seen.add((with_new, with_old))
        first, second = min(objects[with_old].undefined & old), min(objects[with_new].undefined & new)
        other = "" if with_new == with_old else f" in {objects[with_new].path}"
        yield finding(
            "mixed-time64",
            file=objects[with_old].path,
            message=f"uses {first}, with 32-bit time, beside {second}{other}, with 64-bit time",
            evidence=f"{first}, {second}",
            remedy="Compile all of it with the headers of one musl; for Rust, set RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1",
            chain=subject.chain(with_old),
        )
