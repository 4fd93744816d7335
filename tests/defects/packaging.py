"""Defects of wheels: suffixes, tags, layout, and archives that lie."""

from __future__ import annotations

from musllinux_build.arch import Arch
from tests.defects.model import REFUSED, Defect, Make, Planted, extension, named, suffix, with_file

OTHER_SUFFIX = {arch: Arch.AARCH64 if arch is not Arch.AARCH64 else Arch.X86_64 for arch in Arch}


def _module(arch: Arch) -> dict[str, bytes]:
    return {f"demo/x{suffix(arch)}": extension(arch)}


def _suffix_of_another(arch: Arch) -> Planted:
    return Planted(files={f"demo/x{suffix(OTHER_SUFFIX[arch])}": extension(arch)})


def _tagged(platforms: str) -> Make:
    def make(arch: Arch) -> Planted:
        other = OTHER_SUFFIX[arch].value
        tag = f"cp313-cp313-{platforms.format(arch=arch.value, other=other)}"
        return Planted(files=_module(arch), settings={"tag": tag})

    return make


def _old_tags(arch: Arch) -> Planted:
    text = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-linux_{arch.value}\n"
    return Planted(files=_module(arch), settings={"wheel_file": text})


def _stale(arch: Arch) -> Planted:
    return Planted(files={**_module(arch), f"demo/x{suffix(arch, '312')}": extension(arch)})


def _smuggled(arch: Arch) -> Planted:
    name, where = b"demo/extra.py", b"demo/other.py"
    files = {**_module(arch), "demo/extra.py": b"", "demo/other.py": b""}
    record = "\n".join([*(f"{path},," for path in files if path != "demo/extra.py"), "demo-1.0.dist-info/RECORD,,"])
    assert len(name) == len(where)
    return Planted(files=files, settings={"record": record + "\n"})


def _altered(arch: Arch) -> Planted:
    """A byte of a stored member changed after RECORD was written, and the CRCs of the archive with it."""
    module = f"demo/x{suffix(arch)}"
    listed = {module: extension(arch), "demo/data.py": b"ANSWER = 42\n"}
    wrong = "demo/data.py,sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,12"
    return Planted(files=listed, settings={"record": f"{module},,\n{wrong}\ndemo-1.0.dist-info/RECORD,,\n"})


def _lying_header(arch: Arch) -> Planted:
    """More program headers than the file has bytes for."""
    content = bytearray(extension(arch))
    at = 56 if arch.row.elf.bits == 64 else 44
    content[at : at + 2] = b"\xff\xff"
    return Planted(files={f"demo/x{suffix(arch)}": bytes(content)})


def _trailing(arch: Arch) -> Planted:
    return Planted(files=_module(arch), edit=lambda content: content + b"trailing")


def _defect(name: str, rule: str, make: Make) -> Defect:
    return Defect(name=name, rule=rule, make=make)


PACKAGING_DEFECTS: tuple[Defect, ...] = (
    _defect("suffix of glibc", "suffix-never-imports", named("demo/x.cpython-313-{gnu}.so")),
    _defect("suffix of another architecture", "suffix-never-imports", _suffix_of_another),
    _defect("suffix of another Python", "suffix-never-imports", named("demo/x.cpython-312-{musl}.so")),
    _defect(
        "GIL extension in a free-threaded wheel",
        "suffix-never-imports",
        named("demo/x.cpython-313-{musl}.so", "cp313-cp313t"),
    ),
    _defect("abi3 in a free-threaded wheel", "suffix-never-imports", named("demo/x.abi3.so", "cp313-cp313t")),
    _defect("abi3t before 3.15", "suffix-never-imports", named("demo/x.abi3t.so", "cp314-cp314")),
    _defect("old extension beside the new", "suffix-stale", _stale),
    _defect(
        "abi3 wheel with one Python's extension",
        "suffix-too-narrow",
        named("demo/x.cpython-313-{musl}.so", "cp39-abi3"),
    ),
    _defect(
        "private API in an abi3 wheel",
        "abi3-outside-limited-api",
        named("demo/x.abi3.so", "cp39-abi3", undefined=["_PyObject_GetDictPtr"]),
    ),
    _defect(
        "API of 3.10 in a cp38-abi3 wheel",
        "abi3-too-new",
        named("demo/x.abi3.so", "cp38-abi3", undefined=["PyModule_AddObjectRef"]),
    ),
    _defect(
        "extension in a wheel for every ABI",
        "abi-none-with-extension",
        named("demo/x.cpython-313-{musl}.so", "py3-none"),
    ),
    _defect(
        "platform tags of two architectures",
        "tag-of-two-architectures",
        _tagged("musllinux_1_2_{arch}.musllinux_1_2_{other}"),
    ),
    _defect("objects in a wheel for any platform", "tag-any-with-objects", _tagged("any")),
    _defect("WHEEL with other tags", "tags-disagree", _old_tags),
    Defect(
        name="Root-Is-Purelib with objects",
        rule="purelib-with-objects",
        make=lambda arch: Planted(files=_module(arch), settings={"purelib": "true"}),
    ),
    _defect(
        "unknown .data scheme", "data-unknown-scheme", with_file("demo-1.0.data/site/readme.txt", lambda _: b"text")
    ),
    _defect("foreign .data", REFUSED, with_file("other-2.0.data/scripts/run", lambda _: b"#!python\n")),
    _defect(
        "extension outside site-packages",
        "data-out-of-reach",
        with_file("demo-1.0.data/data/lib/y.so", extension),
    ),
    _defect("start-up file", "starts-with-python", with_file("demo.pth", lambda _: b"import demo\n")),
    _defect("archive for linking", "not-loadable", with_file("demo/libx.a", lambda _: b"!<arch>\n")),
    _defect("object of a lying header", REFUSED, _lying_header),
    _defect("member RECORD does not list", REFUSED, _smuggled),
    _defect("member changed after RECORD", REFUSED, _altered),
    _defect("data behind the archive", REFUSED, _trailing),
)
