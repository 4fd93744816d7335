import hashlib
import os
import random
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from musllinux_build.audit.repair import repair_wheel
from musllinux_build.errors import RepairError
from musllinux_build.wheel.archive import read_archive
from musllinux_build.wheel.assemble import Product, Recipe, Written, _prove, _read_back, assemble
from musllinux_build.wheel.contents import read_wheel
from musllinux_build.wheel.source import Extent, FileSource, opened
from musllinux_build.wheel.writer import Packed, pack, write_archive
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel
from tests.wheelgen import WheelSpec, build_wheel

TEXT = b"".join(random.Random(3).choices([b"musl ", b"wheel ", b"\0\0\0\0", bytes(range(60))], k=60_000))
SPEC = WheelSpec(files={"demo/kept.txt": TEXT[:5000], "demo/old.so": b"old", "demo/gone.py": b"gone"})


def written(directory: Path, workers: int, level: int | None = None) -> tuple[bytes, Written]:
    wheel = read_wheel(build_wheel(SPEC), SPEC.filename)
    contents = {"demo/old.so": TEXT * 3, "demo.libs/a.so": TEXT[::-1], "demo.libs/b.so": b"b", "demo/empty": b""}
    products = [
        Product(member=name, weight=len(text), make=lambda text=text: bytearray(text), executable=name.endswith("so"))  # type: ignore[misc]
        for name, text in contents.items()
    ]
    recipe = Recipe(wheel=wheel, products=products, removed={"demo/gone.py"}, workers=workers, level=level)
    with (directory / "x.whl").open("w+b") as out, (directory / "spool").open("w+b") as spool:
        about = assemble(recipe, out, spool)
    return (directory / "x.whl").read_bytes(), about


def test_the_bytes_do_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    first, about = written(tmp_path, 1)
    assert (about.sha256, about.size) == (hashlib.sha256(first).hexdigest(), len(first))
    for workers in (2, 3, 8):
        assert written(tmp_path, workers)[0] == first


def test_members_are_kept_made_and_removed(tmp_path: Path) -> None:
    data, _ = written(tmp_path, 2)
    wheel = read_wheel(data, SPEC.filename)
    assert list(wheel.archive.members) == [
        "demo.libs/a.so",
        "demo.libs/b.so",
        "demo/empty",
        "demo/kept.txt",
        "demo/old.so",
        "demo-1.0.dist-info/METADATA",
        "demo-1.0.dist-info/WHEEL",
        "demo-1.0.dist-info/RECORD",
    ]
    assert (wheel.read("demo/old.so"), wheel.read("demo.libs/a.so")) == (TEXT * 3, TEXT[::-1])
    assert wheel.archive.members["demo.libs/b.so"].executable
    old = read_archive(build_wheel(SPEC), "x.whl")
    assert b"".join(wheel.archive.raw("demo/kept.txt").chunks()) == b"".join(old.raw("demo/kept.txt").chunks())


def test_level_0_stores_and_a_higher_one_packs_more(tmp_path: Path) -> None:
    sizes = [written(tmp_path, 1, level)[1].size for level in (0, 1, 9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 4 * len(TEXT)


def test_what_cannot_be_read_back_is_refused(tmp_path: Path) -> None:
    packed = pack("a", TEXT, executable=False)
    _prove(packed)
    for wrong in (replace(packed, crc=1), replace(packed, size=7), replace(packed, content=bytes(packed.content[:-1]))):  # type: ignore[index]
        with pytest.raises(RepairError, match="read back"):
            _prove(wrong)
    path = tmp_path / "x.zip"
    path.write_bytes(b"".join(bytes(chunk) for chunk in write_archive([packed])))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with opened(path) as source:
        _read_back(source, [packed], sha256)
        for members, digest in (([replace(packed, name="b")], sha256), ([packed], "0" * 64)):
            with pytest.raises(RepairError, match="read back"):
                _read_back(source, members, digest)


def test_a_repair_gives_the_same_bytes_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = DictSysroot(files={"/lib/liba.so": build(Obj(soname="liba.so", exports=["a"])) + TEXT})
    files = {module_name(): extension(needed=["liba.so"], undefined=["a"]), "demo/data.txt": TEXT}
    path = put_wheel(tmp_path, files)
    first = repair_wheel(path, tmp_path / "one", sysroot=root)
    before = os.umask(0o077)
    try:
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        monkeypatch.setenv("LC_ALL", "C")
        monkeypatch.chdir(tmp_path)
        time.tzset()
        second = repair_wheel(Path(path.name), Path("two/deeper"), sysroot=root)
    finally:
        os.umask(before)
        monkeypatch.undo()
        time.tzset()
    assert (tmp_path / "two/deeper" / second.path.name).read_bytes() == first.path.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/**/*.whl") if "out" not in path.parts} == {0o644}


class Zeros:
    """A source of zeros that takes no memory."""

    size = 5 << 30

    def read(self, offset: int, size: int) -> bytes:
        return bytes(size)


def test_an_archive_of_more_than_4_gib_is_written_as_it_is_read(tmp_path: Path) -> None:
    big = Packed(
        name="big", method=0, crc=0, size=Zeros.size, content=Extent(source=Zeros(), offset=0, size=Zeros.size),
        executable=False,
    )  # fmt: skip
    path = tmp_path / "x.zip"
    with path.open("wb") as out:
        for chunk in write_archive([big, pack("after", b"text", executable=True)]):
            # Zeros become a hole.
            _ = out.seek(len(chunk), os.SEEK_CUR) if len(chunk) == 1 << 20 else out.write(chunk)
    with opened(path) as source:
        archive = read_archive(source, "x.zip")
        assert archive.members["big"].size == Zeros.size
        assert archive.read("after") == b"text"
    with zipfile.ZipFile(path) as theirs:
        assert [info.file_size for info in theirs.infolist()] == [Zeros.size, 4]
        assert theirs.read("after") == b"text"


def test_a_file_is_read_in_parts_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(TEXT)
    with path.open("rb") as stream:
        source = FileSource(stream.fileno())
        assert (source.size, source.read(3, 10), source.read(len(TEXT) - 2, 99)) == (len(TEXT), TEXT[3:13], TEXT[-2:])
        assert source.read(len(TEXT), 5) == b""
