"""What a defect is: a name for people, the rule that finds it, where it exists, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from musllinux_build.arch import Arch
from tests.elfgen import Obj, build
from tests.wheelgen import WheelSpec, build_wheel

REFUSED = "refused"
"""In place of a rule: the wheel is not even read."""
EVERYWHERE = frozenset(Arch)
NARROW = frozenset({Arch.I686, Arch.ARMV7L})
HARD_FLOAT = 0x05000400
"""EABI version 5 and EF_ARM_ABI_FLOAT_HARD, as compilers set them."""
Make = Callable[[Arch], "Planted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The parts of a wheel with a defect; ``settings`` are fields of WheelSpec, ``edit`` changes the finished bytes."""

    files: Mapping[str, bytes]
    settings: Mapping[str, str] = field(default_factory=dict)
    edit: Callable[[bytes], bytes] = bytes
    modes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One class. ``rule`` is ours that must find it; a wheel of it exists for each of ``archs``.

    ``also`` are the rules that rightly find something else in the same wheel.
    """

    name: str
    rule: str
    make: Make
    archs: frozenset[Arch] = EVERYWHERE
    also: tuple[str, ...] = ()

    def wheel(self, arch: Arch) -> tuple[str, bytes]:
        """File name and bytes."""
        planted = self.make(arch)
        settings = {"tag": f"cp313-cp313-musllinux_1_2_{arch.value}", **planted.settings}
        spec = WheelSpec(files=planted.files, modes=planted.modes, **settings)  # type: ignore[arg-type] # texts only
        return spec.filename, planted.edit(build_wheel(spec))


def suffix(arch: Arch, python: str = "313") -> str:
    return f".cpython-{python}-{arch.row.multiarch}.so"


def extension(arch: Arch, **parts: object) -> bytes:
    """A module called x that is linked for musl; ``parts`` are fields of Obj."""
    exports = ["PyInit_x", *parts.pop("exports", ())]  # type: ignore[misc] # a sequence of names
    return library(arch, exports=exports, **parts)


def library(arch: Arch, **parts: object) -> bytes:
    """An object that is linked for musl."""
    needed = [arch.row.libc_soname, *parts.pop("needed", ())]  # type: ignore[misc] # a sequence of names
    if arch is Arch.ARMV7L:
        parts.setdefault("flags", HARD_FLOAT)
    return build(Obj(arch=arch, needed=needed, **parts))  # type: ignore[arg-type] # fields of Obj


def in_extension(**parts: object) -> Make:
    """A defect of an extension module."""
    return lambda arch: Planted(files={f"demo/x{suffix(arch)}": extension(arch, **parts)})


def in_library(name: str = "liba-0123abcd.so.1", **parts: object) -> Make:
    """A defect of a library that an extension needs and finds in ``demo.libs``."""

    def make(arch: Arch) -> Planted:
        module = extension(arch, needed=[name], rpath="$ORIGIN/../demo.libs")
        return Planted(files={f"demo/x{suffix(arch)}": module, f"demo.libs/{name}": library(arch, **parts)})

    return make


def with_file(name: str, content: Callable[[Arch], bytes], **settings: str) -> Make:
    """A sound extension, and another file."""
    return lambda arch: Planted(
        files={f"demo/x{suffix(arch)}": extension(arch), name: content(arch)}, settings=settings
    )


def named(name: str, tag: str = "cp313-cp313", **parts: object) -> Make:
    """An extension of that name in a wheel with that tag; ``{musl}`` and ``{gnu}`` stand for the architecture's."""

    def make(arch: Arch) -> Planted:
        musl = arch.row.multiarch
        path = name.format(musl=musl, gnu=musl.replace("-musl", "-gnu", 1))
        settings = {"tag": f"{tag}-musllinux_1_2_{arch.value}"}
        return Planted(files={path: extension(arch, **parts)}, settings=settings)

    return make
