"""Every ELF object of an image, held against its own libraries and its policy's musl; nothing of it is executed."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import RawIOBase
from typing import IO, cast

from musllinux_build.arch import Arch
from musllinux_build.audit.symbols import PYTHON_API
from musllinux_build.elf.closure import Closure, Found, Outcome, World, is_reserved, resolve
from musllinux_build.elf.facts import ElfFacts, ElfKind, Hazard
from musllinux_build.elf.reader import MAGIC, read_elf
from musllinux_build.errors import EngineError, WheelError
from musllinux_build.policies.load import load_policy
from musllinux_build.policy import Policy
from musllinux_build.ports import Engine

OURS = ("/opt/", "/usr/local/")
"""Where an image's own libraries are; elsewhere a library may be a plugin that finds its symbols in a program."""
LARGEST_OBJECT = 1 << 30
MOST_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectProblems:
    """What is wrong, by the row of the contract; ``summary`` counts what was looked at."""

    by_row: Mapping[str, tuple[str, ...]]
    summary: str


@dataclass(slots=True)
class _Tree:
    """A root's files: facts of objects, None for other files, and links."""

    files: dict[str, ElfFacts | None] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def real_path(self, path: str) -> str | None:
        """The path with every link resolved, None when nothing is there."""
        for _ in range(MOST_LINKS):
            parts = path.strip("/").split("/")
            for end in range(1, len(parts) + 1):
                here = "/" + "/".join(parts[:end])
                if (target := self.links.get(here)) is not None:
                    base = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
                    path = posixpath.join(base, *parts[end:])
                    break
            else:
                return path if path in self.files else None
        return None

    def lookup(self, path: str) -> Found | None:
        """The file a loader would open."""
        real = self.real_path(path)
        return Found(identity=real, facts=self.files[real]) if real is not None else None


def audit_objects(engine: Engine, container: str, policy: Policy, arch: Arch) -> ObjectProblems:
    """The audit of everything in a stopped container.

    Raises:
        EngineError: the container's files cannot be read.
    """
    chunks = engine.get(container, "/")
    if chunks is None:
        raise EngineError("the container's files cannot be read")
    tree, odd = read_tree(chunks)
    return judge_tree(tree, odd, policy, arch)


def read_tree(chunks: Iterable[bytes]) -> tuple[_Tree, list[str]]:
    """The objects in a tar of a root, and what is called ELF and cannot be."""
    tree, odd = _Tree(), []
    with tarfile.open(fileobj=cast("IO[bytes]", _Reader(iter(chunks))), mode="r|") as archive:
        for member in archive:
            path = posixpath.normpath(f"/{member.name.lstrip('./')}")
            if member.issym():
                tree.links[path] = member.linkname
            elif member.islnk():
                tree.links[path] = posixpath.normpath(f"/{member.linkname.lstrip('./')}")
            elif member.isreg():
                tree.files[path] = None
                stream = archive.extractfile(member)
                if stream is None or stream.read(4) != MAGIC or member.size > LARGEST_OBJECT:
                    continue
                try:
                    tree.files[path] = read_elf(MAGIC + stream.read(), path)
                except WheelError as error:
                    odd.append(error.brief)
    return tree, odd


class _Reader(RawIOBase):
    """Chunks as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            have += len(chunk)
        content = b"".join(parts)
        wanted = len(content) if size < 0 else size
        self._rest = content[wanted:]
        return content[:wanted]


def judge_tree(tree: _Tree, odd: Iterable[str], policy: Policy, arch: Arch) -> ObjectProblems:
    """The rows A1 to A4 of the contract, every problem with its file."""
    objects = {path: facts for path, facts in tree.files.items() if facts is not None}
    whole = {path: facts for path, facts in objects.items() if facts.kind in {ElfKind.EXECUTABLE, ElfKind.SHARED}}
    foreign = [f"{path} is {facts.describe()}" for path, facts in whole.items() if not facts.fits(arch.row.elf)]
    loadable = {
        path: facts
        for path, facts in whole.items()
        if facts.is_dynamic and facts.fits(arch.row.elf) and (facts.interp or path.startswith(OURS))
    }
    loader = tree.lookup(f"/lib/{arch.row.loader}")
    libc = loader.facts.exports if loader is not None and loader.facts is not None else frozenset()
    closure = resolve(loadable, World(arch=arch, lookup=tree.lookup))
    data = load_policy(policy, arch)
    unresolved = sorted({*_missing(closure), *_undefined(closure, frozenset(libc) | data.lfs64)})
    newer = _newer(closure, data.exports | data.lfs64, frozenset(libc))
    if policy.row.floor < data.relr_floor:
        newer += [f"{path} has DT_RELR" for path, facts in closure.objects.items() if Hazard.RELR in facts.hazards]
    return ObjectProblems(
        by_row={
            "A1": (*odd, *sorted(foreign)),
            "A2": tuple(unresolved),
            "A3": tuple(sorted(newer)),
            "A4": tuple(sorted(_outside(closure))),
        },
        summary=f"{len(objects)} objects, {len(closure.objects)} of them followed",
    )


def _missing(closure: Closure) -> Iterator[str]:
    for edge in closure.edges:
        if edge.outcome in {Outcome.MISSING, Outcome.UNLOADABLE}:
            yield f"{edge.requester} does not find {edge.name}"


def _undefined(closure: Closure, libc: frozenset[str]) -> Iterator[str]:
    for root, loaded in closure.loads.items():
        objects = [closure.objects[path] for path in loaded]
        in_python = not closure.objects[root].interp
        for path in loaded:
            for symbol in closure.objects[path].undefined - libc:
                if not any(symbol in facts.exports for facts in objects) and not (
                    in_python and PYTHON_API.match(symbol)
                ):
                    yield f"{path} does not find {symbol}"


def _newer(closure: Closure, promised: frozenset[str], libc: frozenset[str]) -> list[str]:
    """What the image's own musl has and the policy's floor does not."""
    found = set()
    for loaded in closure.loads.values():
        objects = [closure.objects[path] for path in loaded]
        for path in loaded:
            for symbol in (closure.objects[path].undefined & libc) - promised:
                if not any(symbol in facts.exports for facts in objects):
                    found.add(f"{path} needs {symbol}")
    return list(found)


def _outside(closure: Closure) -> Iterator[str]:
    """Libraries of the distribution that an interpreter or its modules need: a later apk add could change them."""
    for edge in closure.edges:
        if edge.requester.startswith("/opt/_internal/cpython-") and edge.outcome is Outcome.FOUND:
            target = edge.target or ""
            if not is_reserved(edge.name) and not target.startswith("/opt/"):
                yield f"{edge.requester} needs {edge.name}, found at {target}"
