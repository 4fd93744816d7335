"""Real loaders: stock Alpine of the lab folder, one container for each release and architecture.

What is loaded there was made by strangers: containers have no network, no mount of the host and no capability beyond
those of a build; objects are copied in and only the loader's words come out.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.policy import MuslVersion
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, Engine
from musllinux_build.tarstream import file_entry, tar_stream
from tests.lab import commands, toolchain

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LAB = Path(os.environ.get("MUSLLINUX_LAB") or ROOT.parent / "shared")
WORK = Path.home() / ".cache" / "musllinux-build" / "agreement"
DOCKERFILE = b"FROM scratch\nADD root.tar.gz /\n"
PLACE = "/load"
INSTALLED = re.compile(r"^P:musl\nV:(\S+)$", re.MULTILINE)


CALLED_PYTHON = 96
DATA = re.compile(r"^_?PyExc_|_Type$|Struct$|Object$|^_?Py\w*(?:Flag|_Runtime|Version)$")
"""Names of CPython that are objects, not functions; the address is all that matters of most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the loader did with one object: ``loaded``, ``refused`` with its ``words``, or ``died`` of a signal."""

    what: str
    number: int
    words: str

    @property
    def loads(self) -> bool:
        return self.what == "loaded"

    def __str__(self) -> str:
        if self.what == "loaded":
            return f"loaded {self.words}" if self.number == CALLED_PYTHON else "loaded"
        return f"died of signal {self.number}" if self.what == "died" else self.words


@dataclass(frozen=True, kw_only=True)
class Release:
    """One archive of the lab folder."""

    archive: Path
    release: str
    arch: Arch

    @property
    def branch(self) -> str:
        return ".".join(self.release.split(".")[:2])

    @cached_property
    def package(self) -> str:
        """The version of its musl package: ``1.2.2-r9``."""
        found = INSTALLED.search(self._read("lib/apk/db/installed").decode())
        assert found, self.archive
        return found[1]

    @property
    def musl(self) -> MuslVersion:
        return MuslVersion.parse(self.package)

    @property
    def loader(self) -> bytes:
        return self._read(f"lib/{self.arch.row.loader}")

    def _read(self, wanted: str) -> bytes:
        with tarfile.open(self.archive) as archive:
            for member in archive:
                if member.name.removeprefix("./") == wanted:
                    stream = archive.extractfile(member)
                    assert stream is not None
                    return stream.read()
        raise AssertionError(f"{self.archive} has no {wanted}")


def releases(arch: Arch, lab: Path = LAB) -> tuple[Release, ...]:
    """What the lab folder has for ``arch``, oldest first."""
    found = []
    for path in (lab / "alpine").glob(f"alpine-minirootfs-*-{arch.row.apk}.tar.gz"):
        version = path.name.removeprefix("alpine-minirootfs-").removesuffix(f"-{arch.row.apk}.tar.gz")
        found.append(Release(archive=path, release=version, arch=arch))
    return tuple(sorted(found, key=lambda release: [int(part) for part in release.release.split(".")]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """clang and lld for one architecture, without headers and libc; ``directory`` is its own."""

    arch: Arch
    tools: Path
    directory: Path

    @classmethod
    def make(cls, arch: Arch, work: Path = WORK) -> Compiler:
        zig = toolchain.fetch(Path.home() / ".cache" / "musllinux-build" / "lab" / ".work")
        directory = work / "build" / arch.value
        directory.mkdir(parents=True, exist_ok=True)
        tools = toolchain.write_wrappers(zig, arch, directory, directory / "tools")
        return cls(arch=arch, tools=tools, directory=directory)

    def run(self, *words: str | Path) -> None:
        freestanding = ("-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-Os")
        commands.run([self.tools / "cc", *freestanding, *words], cwd=self.directory)

    def stand_in(self, names: Sequence[str]) -> bytes:
        """A library with these names of CPython: data that may be written, functions that end the process.

        Some constructors of C++ extensions call the interpreter; by then the loader has done its part.
        """
        data = [f"long {name}[64];\n" for name in names if DATA.search(name)]
        functions = [f"void {name}(void) {{ _exit({CALLED_PYTHON}); }}\n" for name in names if not DATA.search(name)]
        text = "".join(["void _exit(int);\n", *data, *functions])
        place = self.directory / f"python-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if not place.exists():
            source = place.with_suffix(".c")
            source.write_text(text)
            self.run("-shared", "-fPIC", source, "-o", place)
        return place.read_bytes()

    def load_program(self) -> bytes:
        """``load.c`` for this architecture, linked against the oldest loader there is."""
        oldest = releases(self.arch)[0]
        libc, program = self.directory / self.arch.row.loader, self.directory / "load"
        libc.write_bytes(oldest.loader)
        loader = f"-Wl,--dynamic-linker=/lib/{self.arch.row.loader}"
        self.run("-fPIE", "-pie", HERE / "load.c", libc, loader, "-o", program)
        return program.read_bytes()


class Bench:
    """A running stock Alpine with the load program in it."""

    def __init__(self, engine: Engine, container: str) -> None:
        self.engine = engine
        self.container = container

    def put(self, files: Mapping[str, bytes]) -> None:
        """Files by path relative to the root, all executable."""
        entries = ((file_entry(name, len(content), 0o755), content) for name, content in files.items())
        self.engine.put(self.container, "/", tar_stream(entries))

    def remove(self, directory: str) -> None:
        said = bytearray()
        assert self.engine.run(self.container, ["rm", "-rf", directory], on_output=said.extend) == 0, said.decode()

    def load(self, arguments: Sequence[str]) -> tuple[Outcome, ...]:
        """What becomes of each object among the arguments of ``load.c``, in a process of its own."""
        said = bytearray()
        self.engine.run(self.container, [PLACE, *arguments], on_output=said.extend)
        rows: dict[int, Outcome] = {}
        for line in said.decode("utf-8", "replace").splitlines():
            parts = line.split("\t", 3)
            if len(parts) == 4 and parts[0].isdecimal() and int(parts[0]) <= len(arguments):
                rows[int(parts[0])] = outcome_of(arguments[int(parts[0]) - 1], *parts[1:])
        wanted = [at for at, argument in enumerate(arguments, 1) if not argument.startswith("p:")]
        assert sorted(rows) == wanted, said.decode("utf-8", "replace")[-2000:]
        return tuple(rows[at] for at in wanted)


def outcome_of(argument: str, outcome: str, number: str, words: str) -> Outcome:
    """What a line of ``load.c`` about ``argument`` means."""
    words = words.strip()
    if argument.startswith("d:") and outcome == "refused" and int(number) == CALLED_PYTHON:
        return Outcome(what="loaded", number=CALLED_PYTHON, words="until a constructor called the interpreter")
    if argument.startswith("x:") and outcome != "died":
        # A program that started may end as it likes; what the loader or the kernel refuses never starts.
        refused = number == "127" and re.match(r"Error (?:loading|relocating)|execve: ", words)
        refused = refused or re.match(r"\S*qemu-[\w-]+: Could not open", words)
        outcome = "refused" if refused else "loaded"
    if argument.startswith("x:") and outcome == "died" and number == "14":
        outcome = "loaded"  # it ran until its time was over
    return Outcome(what=outcome, number=int(number), words=words)


@contextmanager
def bench(engine: Engine, release: Release, program: bytes) -> Iterator[Bench]:
    """A container of ``release``, removed afterwards."""
    spec = ContainerSpec(
        image=base_image(engine, release), platform=release.arch.oci_platform, purpose="agreement", network=False
    )
    container = engine.create(spec)
    try:
        made = Bench(engine, container)
        made.put({PLACE.removeprefix("/"): program})
        yield made
    finally:
        engine.remove(container)


def base_image(engine: Engine, release: Release) -> str:
    """The stock root as an image, made when it is not there."""
    tag = f"musllinux-build/agreement:{release.release}-{release.arch.value}"
    if engine.image(tag) is None:
        engine.build(
            BuildSpec(
                context=_context(release.archive.read_bytes()),
                tag=tag,
                platform=release.arch.oci_platform,
                labels={LABEL: "agreement"},
                network="none",
            ),
            lambda _: None,
        )
    return tag


def _context(archive: bytes) -> Iterable[bytes]:
    files = {"Dockerfile": DOCKERFILE, "root.tar.gz": archive}
    return tar_stream((file_entry(name, len(content)), content) for name, content in files.items())
