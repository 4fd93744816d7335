"""An offline directory is filled from another, every file checked, and goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from musllinux_build.apkdb import ApkPackage
from musllinux_build.arch import Arch
from musllinux_build.cli.mirror import _joined, alpine_address, mirror_keys, package_reader
from musllinux_build.errors import FetchError, ImageError, UsageError
from musllinux_build.images.fetching import NoFetch
from musllinux_build.images.ingredients import package_files
from musllinux_build.images.lock import ApkRow, BaseRow, BuilderRow, Lock, SourceRow, WheelRow, format_lock
from musllinux_build.images.mirror import Mirror, measure_closures, open_repositories, read_root, write_file
from musllinux_build.images.package import check_installed
from musllinux_build.images.recipe import LIBRARIES
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.works import Order, plan_target
from musllinux_build.policy import Policy
from tests.fakes import ListProgress
from tests.lab import apk
from tests.signing import KEYS, SIGNER, an_apk

TARGET = (Policy.MUSLLINUX_1_2, Arch.X86_64)
CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BRANCH = "v3.13/main/x86_64"
INSTALLED = b"P:musl\nV:1.2.2-r1\nF:lib\nR:x\n\nP:busybox\nV:1-r0\np:/bin/sh\n\n"


def root_archive(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (
            ("./lib/apk/db/installed", INSTALLED),
            ("./etc/apk/keys/alpine.rsa.pub", b"key"),
            ("./etc/apk/keys/README", b""),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


PACKAGES = {
    "gcc-1-r0.apk": an_apk("gcc", ("musl", "binutils")),
    "binutils-1-r0.apk": an_apk("binutils"),
    "bash-1-r0.apk": an_apk("bash", ("/bin/sh",)),
    "unwanted-1-r0.apk": an_apk("unwanted"),
}


@pytest.fixture
def lab(tmp_path: Path) -> Supplies:
    """A complete offline directory."""
    here = tmp_path / "lab"
    sha256 = root_archive(here / "bases" / "alpine.tar.gz")
    rows = tuple(
        SourceRow(name=name, version="3.13.5", filename=f"{name}.tar.gz", urls=(), sha256=SHA256, size=7)
        for name in (*LIBRARIES, "cpython")
    )
    wheels = tuple(
        WheelRow(group=group, name=name, version="1", filename=f"{name}-1-py3-none-any.whl", sha256=SHA256, arch=arch)
        for group, name, arch in (("toolchain", "zig", Arch.X86_64), ("python", "pip", None))
    )
    lock = Lock(
        bases=(
            BaseRow(
                release="3.13.12",
                arch=Arch.X86_64,
                digest=None,
                filename="alpine.tar.gz",
                urls=("https://alpine.example/pub/v3.13/releases/x86_64/alpine.tar.gz",),
                sha256=sha256,
                size=None,
            ),
        ),
        builders=(BuilderRow(arch=Arch.X86_64, image="d", digest=None, filename="d.tar", sha256=None),),
        sources=rows,
        wheels=wheels,
        apks=(ApkRow(policy=TARGET[0], arch=TARGET[1], sysroot=("gcc",), image=("bash", "gcc=1-r0")),),
    )
    for name in (
        "bases/d.tar",
        *(f"wheels/{row.filename}" for row in wheels),
        *(f"sources/{row.archive}" for row in rows),
    ):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(CONTENT)
    for name, content in PACKAGES.items():
        write_file(here / "apk" / BRANCH / name, [content])
    write_file(here / "apk" / BRANCH / "APKINDEX.tar.gz", [apk.write_index(PACKAGES, "lab", SIGNER)])
    write_file(here / "apk/keys/lab.rsa.pub", [KEYS["lab.rsa.pub"]])
    write_file(here / "lock.toml", [format_lock(lock).encode()])
    return Supplies.from_offline(here)


@dataclass(kw_only=True)
class Run:
    """A mirror of the lab, and what was read of its packages."""

    directory: Path
    lab: Supplies
    read: list[str] = field(default_factory=list)
    added: int = 0

    def fill(self, **changed: object) -> Lock:
        reader = package_reader(self.lab)

        def read(path: str) -> bytes | None:
            self.read.append(path.rpartition("/")[2])
            return reader(path)

        mirror = Mirror(
            directory=self.directory, supplies=self.lab, progress=ListProgress(), read=read, keys=mirror_keys(self.lab)
        )
        for name, value in changed.items():
            setattr(mirror, name, value)
        recipe = plan_target(mirror.supplies, *TARGET, Order(), Arch.X86_64)
        lock = mirror.fill([recipe], [Arch.X86_64])
        self.added = mirror.added
        return lock


@pytest.fixture
def run(lab: Supplies, tmp_path: Path) -> Run:
    return Run(directory=tmp_path / "new", lab=lab)


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_all_that_is_needed_arrives_and_nothing_else(run: Run) -> None:
    lock = run.fill()
    assert files(run.directory) == {
        "bases/alpine.tar.gz",
        "bases/d.tar",
        *(f"sources/{name}-3.13.5.tar.gz" for name in (*LIBRARIES, "cpython")),
        "wheels/zig-1-py3-none-any.whl",
        "wheels/pip-1-py3-none-any.whl",
        "apk/keys/lab.rsa.pub",
        f"apk/{BRANCH}/APKINDEX.tar.gz",
        *(f"apk/{BRANCH}/{name}-1-r0.apk" for name in ("bash", "gcc", "binutils")),
    }
    assert lock.builders[0].sha256 == SHA256
    assert (lock.apks[0].sysroot, lock.apks[0].image) == (("gcc=1-r0",), ("bash=1-r0", "gcc=1-r0"))
    assert [one.partition(" ")[0] for one in lock.apks[0].closure] == ["bash=1-r0", "binutils=1-r0", "gcc=1-r0"]
    write_file(run.directory / "lock.toml", [format_lock(lock).encode()])
    again = Supplies.from_offline(run.directory)
    assert plan_target(again, *TARGET, Order(), Arch.X86_64).stages


def test_a_lock_knows_its_packages_and_an_image_gets_no_others(run: Run) -> None:
    lock = run.fill()
    recipe = plan_target(run.lab, *TARGET, Order(), Arch.X86_64)
    everything = package_files(run.lab, recipe.policy, recipe.arch)
    assert f"apk/{BRANCH}/unwanted-1-r0.apk" in everything
    locked = replace(run.lab, lock=lock)
    assert everything.keys() - package_files(locked, recipe.policy, recipe.arch).keys() == {
        f"apk/{BRANCH}/unwanted-1-r0.apk"
    }
    path = everything[f"apk/{BRANCH}/gcc-1-r0.apk"]
    path.write_bytes(an_apk("gcc"))
    with pytest.raises(FetchError, match=r"gcc-1-r0\.apk is not the package of the index"):
        package_files(locked, recipe.policy, recipe.arch)
    path.unlink()
    with pytest.raises(FetchError, match=r"gcc-1-r0\.apk is not in the package mirror"):
        package_files(locked, recipe.policy, recipe.arch)


def test_a_mirror_that_moved_since_the_lock_was_measured(run: Run) -> None:
    lock = run.fill()
    other = tuple(one.replace("gcc=1-r0 Q1", "gcc=1-r0 Q1AA") for one in lock.apks[0].closure)
    moved = replace(lock, apks=(replace(lock.apks[0], closure=other),))
    with pytest.raises(FetchError, match="is not the one that the lock knows of musllinux_1_2_x86_64"):
        run.fill(supplies=replace(run.lab, lock=moved))


def test_an_image_with_other_packages_than_the_lock_is_not_published(run: Run) -> None:
    def installed(version: str) -> ApkPackage:
        return ApkPackage(name="gcc", version=version, arch="x86_64", origin="gcc", license="")

    lock = run.fill()
    check_installed([installed("1-r0"), replace(installed("9-r9"), name="busybox")], lock, *TARGET)
    check_installed([installed("2-r0")], Lock(), *TARGET)
    with pytest.raises(ImageError, match="musllinux_1_2_x86_64 holds other packages than the lock") as caught:
        check_installed([installed("2-r0")], lock, *TARGET)
    assert caught.value.details == "gcc: 2-r0, the lock has 1-r0"


def test_closures_are_measured_where_base_and_index_are(lab: Supplies) -> None:
    assert lab.base_archives is not None
    root = read_root(lab.base_archives / "alpine.tar.gz")
    read, keys = package_reader(lab), mirror_keys(lab)
    (row,) = measure_closures(lab.lock, read, keys, lambda _: root).apks
    assert [one.partition("=")[0] for one in row.closure] == ["bash", "binutils", "gcc"]
    assert measure_closures(lab.lock, read, keys, lambda _: None) == lab.lock
    assert measure_closures(lab.lock, lambda _: None, keys, lambda _: root) == lab.lock


def test_a_second_run_adds_what_is_missing_or_spoiled(run: Run) -> None:
    run.fill()
    run.fill()
    assert run.added == 0
    run.read.clear()
    (run.directory / "apk" / BRANCH / "gcc-1-r0.apk").write_bytes(b"half")
    (run.directory / "sources" / "xz-3.13.5.tar.gz").write_bytes(b"half")
    (run.directory / "wheels" / "pip-1-py3-none-any.whl").unlink()
    (run.directory / "bases" / "alpine.tar.gz").unlink()
    run.fill()
    assert run.added == 4
    assert run.read == ["APKINDEX.tar.gz", "APKINDEX.tar.gz", "gcc-1-r0.apk"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sources/xz-3.13.5.tar.gz", b"other", r"xz-3\.13\.5\.tar\.gz is not the pinned file"),
        ("wheels/pip-1-py3-none-any.whl", b"other", "is not the pinned file"),
        ("wheels/pip-1-py3-none-any.whl", None, "is not in the offline directory"),
        ("bases/alpine.tar.gz", b"other", r"alpine\.tar\.gz is not the pinned file"),
        ("bases/d.tar", None, r"d\.tar is not in the directory"),
        (f"apk/{BRANCH}/gcc-1-r0.apk", PACKAGES["bash-1-r0.apk"], "gcc-1-r0.apk is not the package of the index"),
        (f"apk/{BRANCH}/gcc-1-r0.apk", None, "the package mirror has no v3.13/main/x86_64/gcc-1-r0.apk"),
        (f"apk/{BRANCH}/APKINDEX.tar.gz", None, "the package mirror has nothing for musllinux_1_2_x86_64"),
    ],
)
def test_what_is_not_what_it_should_be_is_refused(run: Run, name: str, content: bytes | None, message: str) -> None:
    assert run.lab.base_archives is not None
    path = run.lab.base_archives.parent / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FetchError, match=message):
        run.fill()
    assert not list(run.directory.rglob(".*"))


def test_an_index_whose_key_nobody_knows(run: Run) -> None:
    with pytest.raises(FetchError, match="is not signed by a key that is known") as caught:
        run.fill(keys={})
    assert caught.value.details == "known: alpine.rsa.pub"


def test_a_package_that_the_index_lacks(run: Run) -> None:
    row = replace(run.lab.lock.apks[0], image=("bash", "git"))
    with pytest.raises(UsageError) as caught:
        run.fill(supplies=replace(run.lab, lock=replace(run.lab.lock, apks=(row,))))
    assert caught.value.details == "git: asked for"


def test_a_base_without_a_hash_or_from_the_network(run: Run) -> None:
    base = replace(run.lab.lock.bases[0], sha256=None)
    with pytest.raises(FetchError, match="the lock has no hash of alpine"):
        run.fill(supplies=replace(run.lab, lock=replace(run.lab.lock, bases=(base,))))
    assert run.lab.base_archives is not None
    archive = run.lab.base_archives / "alpine.tar.gz"

    class Fetch(NoFetch):
        def base(self, row: BaseRow, destination: Path) -> Path:
            destination.write_bytes(archive.read_bytes())
            return destination

    online = replace(run.lab, base_archives=None, fetch=Fetch())
    with pytest.raises(ImageError, match="there is no archive of a builder for x86_64 engines"):
        run.fill(supplies=online)
    exported: list[BuilderRow] = []

    def export(row: BuilderRow) -> Iterable[bytes]:
        exported.append(row)
        return [b"ro", b"ot"]

    lock = run.fill(supplies=online, export=export)
    assert (run.directory / "bases" / "d.tar").read_bytes() == b"root"
    assert lock.builders[0].sha256 == hashlib.sha256(b"root").hexdigest()
    run.fill(supplies=online, export=export)
    assert len(exported) == 1


def test_packages_by_address(lab: Supplies) -> None:
    asked: list[str] = []

    class Fetch(NoFetch):
        def unpinned(self, url: str) -> bytes | None:
            asked.append(url)
            return b"index" if url.startswith("https://alpine.example/") else None

    online = replace(lab, apk_mirror=None, fetch=Fetch())
    assert package_reader(online)("v3.13/x") == b"index"
    assert package_reader(replace(online, apk_mirror="https://mirror.example/"))("v3.13/x") is None
    assert asked == ["https://alpine.example/pub/v3.13/x", "https://mirror.example/v3.13/x"]
    assert mirror_keys(online) == {}
    with pytest.raises(UsageError, match="does not say where Alpine is"):
        alpine_address(Lock())


def test_the_second_repository(lab: Supplies) -> None:
    content = apk.write_index({}, "lab", SIGNER)
    found = open_repositories(*TARGET, lambda _: content, KEYS)
    assert [one.path for one in found] == ["v3.13/main/x86_64", "v3.13/community/x86_64"]


def test_a_root(lab: Supplies, tmp_path: Path) -> None:
    assert lab.base_archives is not None
    root = read_root(lab.base_archives / "alpine.tar.gz")
    assert [package.name for package in root.installed] == ["musl", "busybox"]
    assert root.keys == {"alpine.rsa.pub": b"key"}
    with pytest.raises(ImageError, match="cannot be read"):
        read_root(lab.base_archives / "d.tar")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        write_file(tmp_path / "file" / "x", [b""])


def test_the_lock_of_two_runs(lab: Supplies, tmp_path: Path) -> None:
    other = ApkRow(policy=TARGET[0], arch=Arch.AARCH64, sysroot=("gcc",), image=("bash",))
    product = replace(lab.lock, apks=(*lab.lock.apks, other))
    path = tmp_path / "lock.toml"
    first = _joined(product, path, [TARGET])
    assert first.apks == lab.lock.apks
    measured = replace(first, builders=tuple(replace(row, sha256=SHA256) for row in first.builders))
    path.write_text(format_lock(measured))
    second = _joined(product, path, [(TARGET[0], Arch.AARCH64)])
    assert second.apks == product.apks
    assert second.builders[0].sha256 == SHA256
    path.write_text("none")
    assert _joined(product, path, [TARGET]) == first
