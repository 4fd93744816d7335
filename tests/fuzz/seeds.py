"""What is mutated: objects of six architectures, archives, wheels' texts, an apk database and evidence."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from struct import pack, unpack_from

from musllinux_build.arch import Arch
from tests import elfgen, zipgen
from tests.fuzz.mutate import Seed, Spot, mutate
from tests.wheelgen import WheelSpec, digest

PARTS: tuple[Mapping[str, object], ...] = (
    {"exports": ["PyInit_x", "f"], "needed": ["libz.so.1", "liby.so"], "undefined": ["malloc", "y", "qsort_r"]},
    {"exports": ["z", "deflate"], "soname": "libz.so.1", "gnu_hash": True, "hidden": ["h"], "weak": ["w", "v"]},
    {"relr": True, "runpath": "$ORIGIN/../demo.libs:/opt/x", "needed": ["liby.so"] * 3, "undefined": ["fopen"] * 5},
    {"versions": {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.34"], "libz.so.1": ["Z_1"]}, "rpath": "$LIB:${ORIGIN}"},
    {"interp": "/lib/ld-musl-x86_64.so.1", "kind": 2, "initial_exec": True, "irelative": True, "ifunc": True},
    {"exec_stack": True, "textrel": True, "gnu_hash": True, "exports": [f"e{n}" for n in range(12)], "unused": ["u"]},
)


@cache
def objects() -> tuple[Seed, ...]:
    """Every shape on every architecture, with the places of their headers, tags and tables."""
    return tuple(_object(arch, at, elfgen.Obj(arch=arch, **parts)) for arch in Arch for at, parts in enumerate(PARTS))  # type: ignore[arg-type] # fields of Obj


def _object(arch: Arch, at: int, obj: elfgen.Obj) -> Seed:
    content = elfgen.build(obj)
    return Seed(
        name=f"{arch.value}-{at}", content=content, order=arch.row.elf.order, spots=tuple(_object_spots(content, arch))
    )


def _object_spots(content: bytes, arch: Arch) -> Iterator[Spot]:
    word = arch.row.elf.bits // 8
    mark = "<" if arch.row.elf.order == "little" else ">"
    header, row = (64, 56) if word == 8 else (52, 32)
    yield from (Spot(at=at, size=1) for at in (4, 5, 6))
    yield from (Spot(at=at, size=2) for at in (16, 18, *range(header - 12, header, 2)))
    yield from (Spot(at=at, size=word) for at in range(24, 24 + 3 * word, word))
    count = unpack_from(f"{mark}H", content, header - 8)[0]
    for start in range(header, header + count * row, row):
        if word == 8:
            yield from (Spot(at=start + at, size=4) for at in (0, 4))
            yield from (Spot(at=start + at, size=8) for at in (8, 16, 32, 40))
        else:
            yield from (Spot(at=start + at, size=4) for at in range(0, 28, 4))
    # All the rest are tables of numbers but for the strings, so any aligned word may be one.
    begin = header + count * row
    yield from (Spot(at=at, size=word) for at in range(begin, len(content) - word + 1, word))
    yield from (Spot(at=at, size=word) for at in range(len(content) - 30 * word, len(content) - word + 1, word))


@cache
def archives() -> tuple[Seed, ...]:
    """Sound wheels as they lie on disk, with the places of their headers' numbers."""
    found = []
    for at, seed in enumerate(objects()[::5]):
        content = wheel_bytes(wheel_files(seed.content, seed.name.partition("-")[0]), Random(at))
        found.append(Seed(name=f"wheel-{seed.name}", content=content, spots=tuple(_archive_spots(content))))
    return tuple(found)


def _archive_spots(content: bytes) -> Iterator[Spot]:
    for magic, halves, words in (
        (b"PK\3\4", (4, 6, 8, 26, 28), (14, 18, 22)),
        (b"PK\1\2", (4, 8, 10, 28, 30, 32), (16, 20, 24, 38, 42)),
        (b"PK\5\6", (4, 6, 8, 10, 20), (12, 16)),
    ):
        start = content.find(magic)
        while start >= 0:
            yield from (Spot(at=start + at, size=2) for at in halves)
            yield from (Spot(at=start + at, size=4) for at in words)
            if magic == b"PK\3\4" and content[start + 28]:
                field = start + 30 + content[start + 26]
                yield from (Spot(at=field + at, size=size) for at, size in ((0, 2), (2, 2), (4, 8), (12, 8)))
            start = content.find(magic, start + 4)


INFO = "demo-1.0.dist-info"


def wheel_files(module: bytes, arch: str) -> dict[str, bytes]:
    """The files of a sound wheel but RECORD."""
    spec = WheelSpec(files={}, tag=f"cp313-cp313-musllinux_1_2_{arch}")
    wheel_file = f"Wheel-Version: 1.0\nGenerator: test 1\nRoot-Is-Purelib: false\nTag: {spec.tag}\n"
    return {
        f"demo/x.cpython-313-{arch}-linux-musl.so": module,
        "demo/__init__.py": b"",
        "demo.libs/liby.so": module[: len(module) // 2 * 2],
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: demo\n",
        f"{INFO}/WHEEL": wheel_file.encode(),
    }


def record_of(files: Mapping[str, bytes]) -> bytes:
    rows = [f'"{name}",sha256={digest(content)},{len(content)}\n' for name, content in files.items()]
    return "".join([*rows, f"{INFO}/RECORD,,\n"]).encode("utf-8", "surrogateescape")


def wheel_bytes(files: Mapping[str, bytes], random: Random) -> bytes:
    """A wheel of ``files`` whose RECORD is right unless it is among them."""
    everything = {**files, f"{INFO}/RECORD": files.get(f"{INFO}/RECORD", record_of(files))}
    rows = []
    for name, content in everything.items():
        stored = random.random() < 0.5
        packed = content if stored else zipgen.deflate(content, 1)
        wide = random.random() < 0.1
        rows.append(
            zipgen.Row(
                name=name.encode("utf-8", "surrogateescape"),
                flags=0 if name.isascii() else 0x800,
                content=content,
                method=zipgen.STORED if stored else zipgen.DEFLATED,
                packed=packed,
                crc=zlib.crc32(content),
                # As writers do that do not know the size beforehand: it may need 64 bits, and does not.
                local_sizes=(zlib.crc32(content), 0xFFFFFFFF, 0xFFFFFFFF) if wide else None,
                local_extra=zipgen.extra_field(1, pack("<2Q", len(content), len(packed))) if wide else None,
            )
        )
    return zipgen.build(rows)


NAMES = (
    "demo-1.0.data/scripts/x",
    "demo-1.0.data/platlib/demo/y.so",
    "demo-1.0.data/purelib/demo-1.0.dist-info/RECORD",
    "../x",
    "/x",
    "demo",
    "demo/X.py",
    "demo/\x1b[2J.so",
    "::error::x",
    "é/a.so",
    "e\u0301/a.so",
    "demo/a/" * 40 + "x",
    "demo.libs/libc.so",
    "demo.libs/libpython3.13.so.1.0",
    "demo/x.abi3.so",
    "demo/x.cpython-39-x86_64-linux-gnu.so",
    "x.pth",
)
TEXTS = tuple(
    Seed(name="text", content=content)
    for content in (
        b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        b"demo/x.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
        b"\r\n\t ,;\"'\\\0\x1b[0m\xff\xfe\xe2\x80\xae::error::",
        b"../../../../etc/passwd",
        b"-cp313-cp313t-abi3.abi3t-musllinux_1_1_armv7l.manylinux_2_17_x86_64.whl",
    )
)


def wheel_input(random: Random) -> tuple[str, bytes]:
    """A file name and a wheel that is wrong in one place or several, and mostly sound around it."""
    seed = random.choice(objects())
    arch = seed.name.partition("-")[0]
    filename = f"demo-1.0-cp313-cp313-musllinux_1_2_{arch}.whl"
    if random.random() < 0.1:
        text = mutate(Seed(name="name", content=filename.encode()), TEXTS, random)
        filename = text.decode("utf-8", "surrogateescape")
    if random.random() < 0.35:
        archive = random.choice(archives())
        return filename, mutate(archive, archives(), random)
    files = wheel_files(mutate(seed, objects(), random) if random.random() < 0.7 else seed.content, arch)
    if random.random() < 0.3:
        files[random.choice(NAMES)] = random.choice((b"", random.choice(objects()).content))
    if random.random() < 0.3:
        name = random.choice(list(files))
        files[name] = mutate(Seed(name=name, content=files[name]), TEXTS, random)
    if random.random() < 0.2:
        files[f"{INFO}/RECORD"] = mutate(Seed(name="RECORD", content=record_of(files)), TEXTS, random)
    if random.random() < 0.1:
        old = random.choice(list(files))
        new = mutate(Seed(name="member", content=old.encode()), TEXTS, random)
        files[new.decode("utf-8", "surrogateescape")] = files.pop(old)
    return filename, wheel_bytes(files, random)


FILENAMES = tuple(
    Seed(name="name", content=content)
    for content in (
        b"demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl",
        b"Foo.Bar-1!2.0+local.1-1build-py2.py3-none-manylinux_2_17_i686.musllinux_1_1_i686-variant_1.whl",
        "\u00f1and\u00fa-2024.1.post1.dev3-cp315-abi3.abi3t-linux_armv7l.whl".encode(),
    )
)
INSTALLED = Seed(
    name="installed",
    content=b"C:Q1mGDXWUFVE+6oFGyj8OMl5cZrkkU=\nP:musl\nV:1.2.2-r1\nA:x86_64\nS:1\nT:libc\nL:MIT AND (BSD-2-Clause)\n"
    b"o:musl\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1xzUXmhmOZpxgXLS92cFyTaM63cE=\nR:libc.musl-x86_64.so.1\n\n"
    b"P:zlib\nV:1.2.13-r0\nA:x86_64\nL:Zlib\nF:lib\nF:usr/lib\nR:libz.so.1\nZ:Q17yJ3JFNypA4mxhJJr0ou6CzsJVI=\n\n",
)
EVIDENCE = Seed(
    name="evidence",
    content=b'{"distro": "alpine", "release": "3.13.12", "arch": "x86_64", "musl_package": "1.2.2-r1", '
    b'"applies": {"relr": false}, "loader_is_relr_packed": false, "exports": ["malloc", "free", "qsort_r"]}',
)
HISTORY = Seed(
    name="history",
    content=b'{"schema": 1, "distro": "alpine", "arch": "s390x", "releases": [{"release": "3.12.1", "musl_package": '
    b'"1.1.24-r1", "applies": {}, "added": "malloc free", "removed": ""}, {"release": "3.13.1", "musl_package": '
    b'"1.2.2-r1", "applies": {"relr": true}, "added": "qsort_r", "removed": "free"}]}',
)
JSON = tuple(
    Seed(name="json", content=content)
    for content in (
        EVIDENCE.content,
        HISTORY.content,
        b"[" * 3000,
        b'{"a":' * 2000,
        b"1e999",
        b"-Infinity",
        b"NaN",
        b"null",
        b"1" * 5000,
        b'"\\ud800"',
        b'"\\u0000"',
        b"true",
        b'{"exports": {}}',
        b'{"releases": [null]}',
        b"\xff\xfe",
    )
)


@cache
def roots() -> tuple[Seed, ...]:
    """Archives of a root with links, in three dialects, with the places of their headers' texts."""
    found = []
    for dialect in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=dialect) as archive:
            for name, kind, link in (
                ("lib", tarfile.SYMTYPE, "usr/lib"),
                ("loop", tarfile.SYMTYPE, "loop"),
                ("hard", tarfile.LNKTYPE, "usr/lib/libz.so.1"),
                ("usr/lib/x", tarfile.SYMTYPE, "../../../libz.so.1"),
                ("usr/lib/libz.so.1", tarfile.REGTYPE, ""),
                ("usr/lib/" + "\u00f1" * 60 + "/y" * 30, tarfile.REGTYPE, ""),
            ):
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.size = kind, link, 700 if kind == tarfile.REGTYPE else 0
                archive.addfile(member, io.BytesIO(bytes(700)))
        content = out.getvalue().rstrip(b"\0") + bytes(1024 + 512)
        spots = [
            Spot(at=at + field, size=1)
            for at in range(0, len(content) - 511, 512)
            if content[at + 257 : at + 262] == b"ustar"
            for field in (0, 1, *range(124, 136), 156, 157, 158, 257, 345)
        ]
        found.append(Seed(name=f"root-{dialect}", content=content, spots=spots))
    return tuple(found)
