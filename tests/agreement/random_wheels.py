"""Wheels of random objects: names, search paths and symbols in every combination a seed gives."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from musllinux_build.arch import Arch
from tests.elfgen import Obj, build
from tests.wheelgen import WheelSpec, build_wheel

NAMES = ("liba.so", "libb.so.1", "libc-1.so.2", "libm.so.6", "libd.so", "librt-2.so")
PLACES = ("demo", "demo/sub", "demo.libs", "demo.libs/sub")
PATHS = (
    None,
    None,
    "$ORIGIN",
    "$ORIGIN",
    "${ORIGIN}/../demo.libs",
    "$ORIGIN/../demo.libs",
    "$ORIGIN/../../demo.libs:$ORIGIN",
    "$ORIGIN/sub:$ORIGIN/..",
    "$ORIGIN/../demo.libs/sub/",
    "/nowhere\n$ORIGIN/../demo.libs",
    "::$ORIGIN:",
    "",
    "$LIB:$ORIGIN",
    "$ORIGIN:$PLATFORM",
    "$ORIGIN/../demo.libs:$",
    "demo.libs:$ORIGIN/../demo/sub",
    "$ORIGIN/./../demo//sub",
    "/lib:$ORIGIN",
)
SYMBOLS = ("one", "two", "three", "four", "five")
OF_MUSL = ("malloc", "gettid", "qsort_r", "statx", "fopen64", "secure_getenv")
DECOYS = (b"", b"INPUT(liba.so)\n", b"\x7fELG" + bytes(80))


def random_wheel(seed: int, arch: Arch) -> tuple[bytes, str]:
    """The wheel of ``seed`` and its file name: always the same for both."""
    random = Random(f"{seed}")
    files: dict[str, bytes] = {}
    for number in range(random.randint(1, 2)):
        files[f"{random.choice(PLACES[:3])}/ext{number}.so"] = _object(random, arch, extension=number)
    for name in NAMES:
        for place in random.sample(PLACES, random.choice((0, 1, 2, 3, 4))):
            files[f"{place}/{name}"] = _library(random, arch)
    if random.random() < 0.15:
        # A directory answers to the name, too.
        files[f"{random.choice(PLACES)}/{random.choice(NAMES)}/data.txt"] = b"text"
    spec = WheelSpec(files=_apart(files), distribution="demo", tag=f"cp313-cp313-musllinux_1_1_{arch.value}")
    return build_wheel(spec), spec.filename


def _apart(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Without what is a file and a directory at once."""
    directories = {name.rpartition("/")[0] for name in files}
    return {name: content for name, content in files.items() if name not in directories}


def _library(random: Random, arch: Arch) -> bytes:
    kind = random.random()
    if kind < 0.05:
        return random.choice(DECOYS)
    if kind < 0.1:
        return _object(random, Arch.S390X if arch is not Arch.S390X else Arch.X86_64)
    return _object(random, arch)


def _object(random: Random, arch: Arch, *, extension: int | None = None) -> bytes:
    def some(pool: tuple[str, ...], most: int) -> list[str]:
        return random.sample(pool, random.randint(0, most))

    exports = some(SYMBOLS, 4)
    asked = [name for name in some(SYMBOLS, 1) if name not in exports]
    weak = [name for name in some(SYMBOLS, 2) if name not in exports and name not in asked]
    hidden = [name for name in some(SYMBOLS, 1) if name not in {*exports, *asked, *weak}]
    return build(
        Obj(
            arch=arch,
            needed=some(NAMES, random.choice((0, 1, 1, 3))),
            exports=[*exports, *([f"PyInit_ext{extension}"] if extension is not None else [])],
            hidden=hidden,
            undefined=[*asked, *(some(OF_MUSL, 1) if random.random() < 0.1 else [])],
            weak=weak,
            rpath=random.choice(PATHS) if random.random() < 0.3 else None,
            runpath=random.choice(PATHS),
            soname=random.choice((None, *NAMES)),
            gnu_hash=random.random() < 0.5,
        )
    )
