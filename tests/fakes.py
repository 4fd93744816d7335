"""An engine in memory, as far as the contract suite asks: containers are dictionaries of files."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import socketserver
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError, ImageError, RegistryError
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, EngineInfo, ImageInfo, PathStat


@dataclass(frozen=True, slots=True)
class File:
    """A regular file, a directory (``data`` None) or a link."""

    data: bytes | None = None
    link: str = ""
    mode: int = 0o644


Files = dict[str, File]
Command = Callable[["FakeEngine", str, Sequence[str], Mapping[str, str]], tuple[int, bytes] | None]


@dataclass(slots=True)
class FakeContainer:
    spec: ContainerSpec
    files: Files
    image: ImageInfo
    running: bool = True
    ran: list[tuple[str, ...]] = field(default_factory=list)


class FakeEngine:
    """ports.Engine without an engine. ``commands`` are asked in turn for what ``run`` executes."""

    def __init__(self, commands: Sequence[Command] = (), *, runs: Sequence[Arch] = tuple(Arch)) -> None:
        self.commands = [*commands, _coreutils]
        self.runs = set(runs)
        self.boxes: dict[str, FakeContainer] = {}
        self.created: list[FakeContainer] = []
        self._images: dict[str, tuple[ImageInfo, Files]] = {}
        self._volumes: dict[str, dict[str, str]] = {}
        self.abandoned = False
        self.pullable: dict[str, tuple[ImageInfo, Files]] = {}

    def add_image(
        self, ref: str, arch: Arch, labels: Mapping[str, str] | None = None, files: Files | None = None
    ) -> None:
        row = arch.row
        info = ImageInfo(
            id=f"sha256:{uuid.uuid4().hex}",
            architecture=row.oci_architecture,
            variant=row.oci_variant,
            labels=labels or {},
            env={"PATH": "/usr/bin:/bin"},
        )
        self._images[ref] = (info, files or {})

    def info(self) -> EngineInfo:
        return EngineInfo(name="fake", version="0", api=(1, 41), arch=Arch.X86_64, machine="amd64")

    def image(self, ref: str) -> ImageInfo | None:
        found = self._find_image(ref)
        if found is None:
            return None
        tags = tuple(name for name, (info, _) in self._images.items() if info.id == found[0].id)
        return replace(found[0], tags=tags)

    def abandon_builds(self) -> None:
        self.abandoned = True

    def tag(self, ref: str, name: str) -> None:
        found = self._find_image(ref)
        if found is None:
            raise EngineError(f"no image {ref}")
        self._images[name] = found

    def _find_image(self, ref: str) -> tuple[ImageInfo, Files] | None:
        if ref in self._images:
            return self._images[ref]
        return next((pair for pair in self._images.values() if pair[0].id == ref), None)

    def pull(self, ref: str, platform: str) -> ImageInfo:
        if ref not in self.pullable:
            raise ImageError(f"cannot pull {ref} for {platform}")
        self._images[ref] = self.pullable[ref]
        return self._images[ref][0]

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:
        files = dict(_unpack(b"".join(spec.context), "/"))
        if f"/{spec.dockerfile}" not in files:
            raise EngineError(f"no {spec.dockerfile} in the context")
        on_line("built")
        arch = next(arch for arch in Arch if arch.oci_platform == spec.platform)
        self.add_image(spec.tag, arch, spec.labels, files)
        return self._images[spec.tag][0]

    def create(self, spec: ContainerSpec) -> str:
        found = self._find_image(spec.image)
        if found is None:
            raise EngineError(f"no image {spec.image}")
        identity = uuid.uuid4().hex
        box = FakeContainer(spec=spec, files=dict(found[1]), image=found[0])
        box.spec = replace(spec, labels={LABEL: spec.purpose, **spec.labels})
        self.boxes[identity] = box
        self.created.append(box)
        return identity

    def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        on_output: Callable[[bytes], None] | None = None,
    ) -> int:
        box = self._box(container)
        if not box.running:
            raise EngineError("the container is not running")
        box.ran.append(tuple(argv))
        for command in self.commands:
            answer = command(self, container, argv, env or {})
            if answer is not None:
                if on_output is not None and answer[1]:
                    on_output(answer[1])
                return answer[0]
        return 127

    def put(self, container: str, directory: str, tar: Iterable[bytes]) -> None:
        box = self._box(container)
        if directory != "/" and directory not in box.files:
            raise EngineError(f"no directory {directory}")
        box.files.update(_unpack(b"".join(tar), directory))

    def get(self, container: str, path: str) -> Iterator[bytes] | None:
        files = self._box(container).files
        if path == "/":
            return iter([_pack({name.lstrip("/"): file for name, file in files.items() if name != "/"})])
        if path not in files:
            return None
        top = posixpath.dirname(path.rstrip("/"))
        inside = {name: file for name, file in files.items() if name == path or name.startswith(f"{path}/")}
        return iter([_pack({posixpath.relpath(name, top): file for name, file in inside.items()})])

    def stat(self, container: str, path: str) -> PathStat | None:
        file = self._box(container).files.get(path)
        if file is None:
            return None
        return PathStat(
            name=posixpath.basename(path),
            size=len(file.data or b""),
            mode=file.mode,
            link_target=posixpath.normpath(posixpath.join(posixpath.dirname(path), file.link)) if file.link else "",
            is_dir=file.data is None and not file.link,
            is_link=bool(file.link),
        )

    def wait(self, container: str) -> int:
        box = self._box(container)
        if box.spec.image.startswith("musllinux-build/probe:"):
            return 42 if Arch(box.spec.image.partition(":")[2]) in self.runs else 1
        return 0

    def stop(self, container: str) -> None:
        self._box(container).running = False

    def commit(self, container: str, tag: str, labels: Mapping[str, str]) -> ImageInfo:
        box = self._box(container)
        info = replace(box.image, id=f"sha256:{uuid.uuid4().hex}", labels={**box.image.labels, **labels})
        self._images[tag] = (info, dict(box.files))
        return info

    def remove(self, container: str) -> None:
        self.boxes.pop(container, None)

    def containers(self, label: str) -> Sequence[str]:
        return [name for name, box in self.boxes.items() if _labelled(box.spec.labels, label)]

    def volume(self, name: str, labels: Mapping[str, str]) -> bool:
        if name in self._volumes:
            return False
        self._volumes[name] = dict(labels)
        return True

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        return self._volumes.get(name)

    def remove_volume(self, name: str) -> None:
        self._volumes.pop(name, None)

    def volumes(self, label: str) -> Sequence[str]:
        return [name for name, labels in self._volumes.items() if _labelled(labels, label)]

    def images(self, label: str) -> Sequence[str]:
        return [info.id for info, _ in self._images.values() if _labelled(info.labels, label)]

    def save(self, ref: str) -> Iterator[bytes]:
        found = self._find_image(ref)
        if found is None:
            raise ImageError(f"there is no image {ref}")
        info, files = found
        config = {
            "architecture": info.architecture,
            "os": "linux",
            "config": {"Labels": dict(info.labels), "Env": [f"{name}={value}" for name, value in info.env.items()]},
            **({"variant": info.variant} if info.variant else {}),
        }
        layer = _pack({name.strip("/"): file for name, file in files.items() if name != "/"})
        listed = [{"Config": "config.json", "RepoTags": [ref], "Layers": ["layer.tar"]}]
        members = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
        members["manifest.json"] = json.dumps(listed).encode()
        return iter([_pack({name: File(data=data) for name, data in members.items()})])

    def load(self, tar: Iterable[bytes]) -> None:
        files = dict(_unpack(b"".join(tar), "/"))
        if "/manifest.json" not in files:
            raise ImageError("the archive holds no image")
        for listed in json.loads(files["/manifest.json"].data or b"[]"):
            content = files[f"/{listed['Config']}"].data or b""
            config = json.loads(content)
            inner = config.get("config") or {}
            info = ImageInfo(
                id=f"sha256:{hashlib.sha256(content).hexdigest()}",
                architecture=config["architecture"],
                variant=config.get("variant"),
                labels=inner.get("Labels") or {},
                env=dict(item.split("=", 1) for item in inner.get("Env") or []),
            )
            layers: Files = {}
            for name in listed["Layers"]:
                layers |= dict(_unpack(files[f"/{name}"].data or b"", "/"))
            for tag in listed["RepoTags"]:
                self._images[tag] = (info, layers)

    def remove_image(self, ref: str) -> None:
        self._images.pop(ref, None)

    def _box(self, container: str) -> FakeContainer:
        if container not in self.boxes:
            raise EngineError(f"no container {container}")
        return self.boxes[container]


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _unpack(archive: bytes, directory: str) -> Iterator[tuple[str, File]]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
        for member in tar:
            name = posixpath.normpath(posixpath.join(directory, member.name))
            for parent in _parents(name):
                yield parent, File()
            if member.issym():
                yield name, File(link=member.linkname)
            elif member.isdir():
                yield name, File()
            else:
                stream = tar.extractfile(member)
                yield name, File(data=stream.read() if stream else b"", mode=member.mode)


def _parents(name: str) -> list[str]:
    parts = name.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]


def _pack(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, file in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode = file.mode
            if file.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
            elif file.data is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(file.data)
            tar.addfile(entry, io.BytesIO(file.data or b""))
    return buffer.getvalue()


def _coreutils(  # noqa: C901, PLR0911 - one case per command
    engine: FakeEngine, container: str, argv: Sequence[str], env: Mapping[str, str]
) -> tuple[int, bytes] | None:
    """The few commands that the contract suite and the pipeline's own housekeeping use."""
    files = engine.boxes[container].files
    match list(argv):
        case ["true"]:
            return 0, b""
        case ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]:
            return 7, b"out\nerr\n"
        case ["/bin/sh", "-c", "echo $WORD; pwd"]:
            return 0, f"{env.get('WORD', '')}\n/tmp\n".encode()
        case ["mkdir", "-p", *names]:
            for name in names:
                for made in (*_parents(name), name):
                    files.setdefault(made, File())
            return 0, b""
        case ["ln", "-s", target, name]:
            files[name] = File(link=target)
            return 0, b""
        case ["/bin/sh", "-c", script] if script.startswith("rm -rf "):
            return _coreutils(engine, container, script.split(), env)
        case ["rm" | "/bin/rm", "-f" | "-rf", *doomed]:
            for name in [name for name in files if any(name == d or name.startswith(f"{d}/") for d in doomed)]:
                del files[name]
            return 0, b""
        case ["/bin/sh", "-ec", _]:
            return 0, b""
        case _:
            return None


class ListProgress:
    """ports.Progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.lines.append(title)
        yield

    def note(self, text: str) -> None:
        self.lines.append(text)

    def detail(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


@contextmanager
def answering(socket: Path, version: Mapping[str, object]) -> Iterator[str]:
    """The address of something that answers every question with ``version``, as an engine answers ``/version``."""
    body = json.dumps(version).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with socketserver.ThreadingUnixStreamServer(str(socket), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{socket}"
        finally:
            server.shutdown()
            thread.join()


class FakeRegistry:
    """ports.Registry in memory that keeps the specification's rules; ``dies_after`` that many writes it fails for good.

    ``failures`` are the next answers: True for a transient failure, False for a refusal.
    """

    def __init__(
        self, *, knows_referrers: bool = True, dies_after: int | None = None, failures: Sequence[bool] = ()
    ) -> None:
        self.knows_referrers = knows_referrers
        self.dies_after = dies_after
        self.failures = list(failures)
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.sent_blobs: list[tuple[str, str]] = []
        self.waits: list[int] = []

    def has_blob(self, repository: str, digest: str) -> bool:
        return (repository, digest) in self.blobs

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        self._write()
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.sent_blobs.append((repository, digest))
        self.blobs[repository, digest] = content

    def manifest(self, repository: str, reference: str) -> bytes | None:
        return self.manifests.get((repository, reference))

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        self._write()
        document = json.loads(content)
        for named in [*document.get("layers", ()), *([document["config"]] if "config" in document else [])]:
            if (repository, named["digest"]) not in self.blobs:
                raise RegistryError(f"{repository} has no blob {named['digest']}")
        for named in document.get("manifests", ()):
            if (repository, named["digest"]) not in self.manifests:
                raise RegistryError(f"{repository} has no manifest {named['digest']}")
        self.manifests[repository, f"sha256:{hashlib.sha256(content).hexdigest()}"] = content
        self.manifests[repository, reference] = content
        return self.knows_referrers and "subject" in document

    def wait(self, attempt: int) -> None:
        self.waits.append(attempt)

    def check_no_dangling_index(self) -> None:
        """Every tag leads to what is wholly there."""
        for (repository, _), content in self.manifests.items():
            for named in json.loads(content).get("manifests", ()):
                assert (repository, named["digest"]) in self.manifests

    def _write(self) -> None:
        if self.failures:
            raise RegistryError("fails", transient=self.failures.pop(0))
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise RegistryError("the connection is gone")
            self.dies_after -= 1
