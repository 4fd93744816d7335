"""``auditwheel lddtree``: what musl's loader would open for one ELF file, as JSON on standard output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.adapters.sysroot import DirectorySysroot
from musllinux_build.audit.subject import Search, system_path_of
from musllinux_build.elf.closure import Closure, Found, Outcome, World, resolve
from musllinux_build.elf.facts import ElfFacts
from musllinux_build.elf.reader import read_elf
from musllinux_build.errors import WheelError
from musllinux_build.plaintext import plain_json


def lddtree(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the tree of one file, whose libraries are searched in ``--root`` or in ``/``."""
    path, content = given.file.resolve(), given.file.read_bytes()
    facts = read_elf(content, str(path))
    if facts is None or facts.arch is None:
        raise WheelError(f"{given.file} is no ELF file of an architecture known here")
    sysroot = DirectorySysroot(given.root or Path("/"))

    def lookup(wanted: str) -> Found | None:
        if wanted == str(path):
            return Found(identity=wanted, facts=facts)
        real = sysroot.real_path(wanted)
        found = sysroot.read(real) if real else None
        return None if found is None or real is None else Found(identity=real, facts=read_elf(found, real))

    words = (environment.get("AUDITWHEEL_LD_LIBRARY_PATH", ""), environment.get("LD_LIBRARY_PATH", ""))
    system = given.ldpaths or system_path_of(facts.arch, sysroot, Search())
    world = World(arch=facts.arch, lookup=lookup, system_path=":".join(part for part in (*words, system) if part))
    closure = resolve({str(path): facts}, world, extra_roots=[str(path)])
    print(json.dumps(plain_json(tree_json(str(path), facts, closure)), indent=4))  # noqa: T201 - the result
    return 0


def tree_json(path: str, facts: ElfFacts, closure: Closure) -> Mapping[str, object]:
    """The file, and every library by the name it was asked for."""
    libraries = {}
    for edge in closure.edges:
        found = closure.objects.get(edge.target or "")
        libraries[edge.name] = {
            "soname": found.soname if found else None,
            "path": edge.target,
            "realpath": found.path if found else None,
            "is_libc": edge.outcome is Outcome.LIBC,
            "needed": list(found.needed) if found else [],
            "why": edge.why,
        }
    return {
        "interpreter": facts.interp,
        "path": path,
        "realpath": path,
        "platform": facts.describe(),
        "needed": list(facts.needed),
        "rpath": (facts.rpath or "").split(":") if facts.rpath else [],
        "runpath": (facts.runpath or "").split(":") if facts.runpath else [],
        "libraries": libraries,
    }
