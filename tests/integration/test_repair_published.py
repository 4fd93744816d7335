"""Published wheels that die on the oldest musl of their tag: mended by ``audit repair``, they import and work there.

The interpreter is the one of our image, copied to stock Alpine as the builds' own proof does it. Needs the image of
musllinux_1_2 for x86_64 on the engine, Alpine's archives in the lab folder, and pip's index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musllinux_build.adapters.docker_sdk import DockerEngine
from musllinux_build.arch import Arch
from musllinux_build.builds.prove import Stock, stock_with_interpreter
from musllinux_build.builds.session import Session
from musllinux_build.plan import Target
from musllinux_build.policy import MuslVersion, Policy
from musllinux_build.ports import LABEL, ContainerSpec, ImageInfo
from musllinux_build.python import PythonTag
from musllinux_build.tarstream import tar_of
from tests.agreement.loaders import Release, base_image, releases
from tests.agreement.pinned import Pinned, fetch, read_list
from tests.integration.conftest import Tool
from tests.integration.test_toolchain_engine import Quiet

pytestmark = [pytest.mark.engine, pytest.mark.slow]

BRANCHES = ("3.13", "3.15", "3.20")
TARGET = Target(arch=Arch.X86_64, policy=Policy.MUSLLINUX_1_2, python=PythonTag.parse("cp313-cp313"))
CFFI = Pinned(
    filename="cffi-2.1.1-cp313-cp313-musllinux_1_2_x86_64.whl",
    sha256="e0bcb7e0f677f543555d2adff3bf19c05f66cdb4796e5ff602442ab2fe3c4ef7",
)
SEGV = 139


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A published wheel, what it is installed with, and a program that makes its libraries work."""

    start: str
    script: str
    others: tuple[str, ...] = ()


SAMPLES = [
    Sample(
        start="numpy-2.5.5-cp313-",
        script="import numpy as n; a = n.array([[2., 1.], [1., 3.]]); x = n.linalg.solve(a, [3., 5.]);"
        " assert n.allclose(a @ x, [3., 5.]); assert n.allclose(n.fft.ifft(n.fft.fft([1, 2, 3])), [1, 2, 3]);"
        " assert n.random.default_rng(1).normal(size=9).shape == (9,)",
    ),
    Sample(
        start="pyzmq-27.3.0-",
        script="import zmq; c = zmq.Context(); a, b = c.socket(zmq.PAIR), c.socket(zmq.PAIR); a.bind('inproc://x');"
        " b.connect('inproc://x'); a.send(b'hello'); assert b.recv() == b'hello'; p, s = zmq.curve_keypair();"
        " assert len(s) == 40; a.close(); b.close(); c.term()",
    ),
    Sample(
        start="psycopg2_binary-2.9.13-",
        script="import psycopg2\ntry: psycopg2.connect('host=/nowhere sslmode=require', connect_timeout=1)\n"
        "except psycopg2.OperationalError as e: assert '/nowhere' in str(e), e\nelse: raise SystemExit('connected')\n"
        "assert psycopg2.extensions.libpq_version() > 0; assert psycopg2.__libpq_version__ > 0",
    ),
    Sample(
        start="shapely-2.2.0-",
        others=("numpy-2.5.5-cp313-",),
        script="import shapely; disc = shapely.Point(0, 0).buffer(1, quad_segs=64);"
        " assert abs(disc.area - 3.1415) < .01; assert shapely.union_all([disc, shapely.box(0, 0, 2, 2)]).is_valid",
    ),
    Sample(
        start="cryptography-50.0.2-",
        others=("cffi-",),
        script="from cryptography.hazmat.primitives.asymmetric import ed25519, rsa\n"
        "from cryptography.hazmat.primitives import hashes\nfrom cryptography.fernet import Fernet\n"
        "k = ed25519.Ed25519PrivateKey.generate(); k.public_key().verify(k.sign(b'x'), b'x')\n"
        "h = hashes.Hash(hashes.SHA256()); h.update(b'abc'); assert h.finalize().hex().startswith('ba7816bf')\n"
        "f = Fernet(Fernet.generate_key()); assert f.decrypt(f.encrypt(b'y')) == b'y'\n"
        "assert rsa.generate_private_key(65537, 2048).key_size == 2048",
    ),
]


def name_of(sample: Sample) -> str:
    return sample.start.partition("-")[0]


@pytest.fixture(scope="module")
def published() -> Callable[[str], Path]:
    """The pinned wheel whose file name begins so."""
    wheels = {wheel.filename: wheel for wheel in (*read_list(), CFFI)}

    def get(start: str) -> Path:
        (wheel,) = (
            wheel for name, wheel in wheels.items() if name.startswith(start) and name.endswith("_1_2_x86_64.whl")
        )
        return fetch([wheel])[wheel]

    return get


@pytest.fixture(scope="module")
def repaired(
    tool: Tool, published: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The same wheel after ``audit repair``, made once."""
    directory = tmp_path_factory.mktemp("repaired")

    def get(start: str) -> Path:
        source = published(start)
        target = directory / source.name
        if not target.exists():
            ran = tool("audit", "repair", source, "-w", directory, "--json")
            assert ran.status == 0, ran.everything
            (report,) = json.loads(ran.out)
            assert MuslVersion.parse(report["verdict"]["effective_floor"]) <= TARGET.policy.row.floor
            assert Path(report["path"]) == target
        return target

    return get


@pytest.fixture(scope="module")
def stocks(docker: DockerEngine) -> Iterator[dict[str, str]]:
    """A running stock Alpine of each branch, with the interpreter and no network."""
    image = _image(docker)
    session = Session(docker, Quiet())
    containers: dict[str, str] = {}
    try:
        for release in releases(Arch.X86_64):
            if release.branch in BRANCHES:
                tag = stock_with_interpreter(session, TARGET, image, _stock(docker, release))
                spec = ContainerSpec(image=tag, platform="linux/amd64", purpose="test", network=False)
                containers[release.branch] = docker.create(spec)
        assert tuple(containers) == BRANCHES
        yield containers
    finally:
        for container in containers.values():
            docker.remove(container)


def _image(docker: DockerEngine) -> ImageInfo:
    for identity in docker.images(f"{LABEL}=image"):
        found = docker.image(identity)
        if found is not None and found.arch is Arch.X86_64 and "musllinux_1_2" in found.labels.values():
            return found
    pytest.fail("no image of musllinux_1_2 for x86_64 on the engine")


def _stock(docker: DockerEngine, release: Release) -> Stock:
    found = docker.image(base_image(docker, release))
    assert found is not None
    return Stock(release=release.release, image=found)


def run(docker: DockerEngine, container: str, wheels: list[Path], script: str) -> tuple[int, str]:
    """Exit status and output of a script with nothing but these wheels installed."""
    python, said = f"{TARGET.python.prefix}/bin/python", bytearray()
    docker.run(container, ["rm", "-rf", "/w", "/site"])
    docker.run(container, ["mkdir", "-p", "/w"])
    docker.put(container, "/w", [tar_of({wheel.name: wheel.read_bytes() for wheel in wheels})])
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", "/site"]
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", *options]
    installed = docker.run(container, [*pip, *(f"/w/{wheel.name}" for wheel in wheels)], on_output=said.extend)
    assert installed == 0, said.decode()
    status = docker.run(container, [python, "-c", script], env={"PYTHONPATH": "/site"}, on_output=said.extend)
    return status, said.decode()


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_a_repaired_wheel_works(
    docker: DockerEngine, stocks: dict[str, str], repaired: Callable[[str], Path], sample: Sample, branch: str
) -> None:
    wheels = [repaired(start) for start in (sample.start, *sample.others)]
    status, said = run(docker, stocks[branch], wheels, sample.script)
    assert status == 0, said


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_as_published_it_dies_on_the_oldest_musl(
    docker: DockerEngine, stocks: dict[str, str], published: Callable[[str], Path], sample: Sample
) -> None:
    """Else the tests above would prove nothing."""
    wheels = [published(start) for start in (sample.start, *sample.others)]
    status, said = run(docker, stocks["3.13"], wheels, sample.script)
    assert status == SEGV, said


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_a_second_repair_changes_no_byte(
    tool: Tool, repaired: Callable[[str], Path], tmp_path: Path, sample: Sample
) -> None:
    once = repaired(sample.start)
    ran = tool("audit", "repair", once, "-w", tmp_path)
    assert ran.status == 0, ran.everything
    assert (tmp_path / once.name).read_bytes() == once.read_bytes()


@pytest.mark.parametrize(("start", "symbol"), [("pillow-13.0.0-", "qsort_r"), ("uvloop-0.23.0-", "pthread_getname_np")])
def test_a_symbol_of_a_newer_musl_cannot_be_mended(
    tool: Tool, published: Callable[[str], Path], tmp_path: Path, start: str, symbol: str
) -> None:
    ran = tool("audit", "repair", published(start), "-w", tmp_path / "out", COLUMNS="200")
    assert ran.status != 0
    assert f"needs {symbol}, which came with musl 1.2.3" in ran.err
    assert not (tmp_path / "out").exists()
