"""What audit tests share: a root from a dict, a patcher that rebuilds objects, and wheels on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.elf.edit import KEEP, ElfEdit
from musllinux_build.elf.facts import Hazard
from musllinux_build.elf.reader import read_elf
from tests.elfgen import Obj, build
from tests.wheelgen import WheelSpec, build_wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class DictSysroot:
    """ports.Sysroot of a dict; ``links`` maps a path to what it links to."""

    files: Mapping[str, bytes]
    links: Mapping[str, str] = field(default_factory=dict)

    def real_path(self, path: str) -> str | None:
        real = self.links.get(path, path)
        return real if real in self.files else None

    def names(self, path: str) -> Sequence[str]:
        known = {*self.files, *self.links}
        return sorted({posixpath.basename(name) for name in known if posixpath.dirname(name) == path})

    def read(self, path: str) -> bytes | None:
        real = self.real_path(path)
        return self.files[real] if real else None


def rebuild(content: bytes | bytearray, edit: ElfEdit) -> bytes:
    """A patcher for objects of elfgen: reads the facts and builds the object anew."""
    facts = read_elf(content, "object")
    assert facts is not None
    assert facts.arch is not None
    renames = dict(edit.needed)
    return build(
        Obj(
            arch=facts.arch,
            soname=edit.soname or facts.soname,
            needed=[*(renames.get(name, name) for name in facts.needed), *edit.add_needed],
            rpath=facts.search_path if edit.search_path is KEEP else edit.search_path,
            exports=sorted(facts.exports),
            undefined=sorted(facts.undefined),
            weak=sorted(facts.weak),
            versions={need.library: need.versions for need in facts.version_needs},
            relr=Hazard.RELR in facts.hazards and not edit.expand_relr,
            exec_stack=Hazard.EXECUTABLE_STACK in facts.hazards and not edit.clear_exec_stack,
        )
    )


def extension(arch: Arch = Arch.X86_64, **parts: object) -> bytes:
    """An extension module; ``parts`` are fields of Obj."""
    exports = ["PyInit_x", *parts.pop("exports", ())]  # type: ignore[misc] # a sequence of names
    return build(Obj(arch=arch, exports=exports, **parts))  # type: ignore[arg-type] # fields of Obj


def module_name(arch: Arch = Arch.X86_64, name: str = "demo/x") -> str:
    return f"{name}.cpython-313-{arch.row.multiarch}.so"


def put_wheel(directory: Path, files: Mapping[str, bytes], arch: Arch = Arch.X86_64, **parts: str) -> Path:
    """A wheel in ``directory``; ``parts`` are fields of WheelSpec."""
    settings = {"tag": f"cp313-cp313-linux_{arch.value}", **parts}
    spec = WheelSpec(files=files, **settings)  # type: ignore[arg-type] # texts only
    path = directory / posixpath.basename(spec.filename)
    path.write_bytes(build_wheel(spec))
    return path
