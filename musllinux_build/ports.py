"""What the pipeline needs from the world, in our words: small protocols and the frozen values they take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from musllinux_build.arch import Arch
from musllinux_build.python import PythonTag

LABEL = "org.musllinux-build.owner"
"""On every container, volume and image we make; its value says what it is for (``base``, ``image``, ``build`` ...)."""

POLICY_LABEL = "org.musllinux-build.policy"
"""On our images: the policy's name."""

PYTHONS_LABEL = "org.musllinux-build.pythons"
"""On our images: the complete versions of their interpreters, by commas."""


def _feature_release(version: str) -> PythonTag:
    major, minor, *_ = version.split(".")
    return PythonTag(int(major), int(minor), version.endswith("t"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine at the other end. ``api`` is (major, minor)."""

    name: str
    version: str
    api: tuple[int, int]
    arch: Arch | None
    machine: str
    """The engine's own word for its architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """A local image. ``id`` is the digest of its configuration (``sha256:...``)."""

    id: str
    architecture: str
    variant: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    declared: tuple[str, ...] = ()
    """What else its configuration declares: ``EXPOSE``, ``VOLUME``, ``HEALTHCHECK``."""
    tags: tuple[str, ...] = ()
    """The names it has on this engine, with their tags."""

    @property
    def arch(self) -> Arch | None:
        """The image's architecture, None for one that is not ours."""
        return Arch.from_oci(self.architecture, self.variant)

    @property
    def versions(self) -> Mapping[PythonTag, str]:
        """The complete versions of its interpreters (``3.13.5``, ``3.14.1t``); none where it does not say."""
        listed = filter(None, self.labels.get(PYTHONS_LABEL, "").split(","))
        return {_feature_release(version): version for version in listed}

    @property
    def pythons(self) -> tuple[PythonTag, ...]:
        """Its interpreters; none where it does not say."""
        return tuple(self.versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """One image build. ``context`` is an uncompressed tar as byte chunks; ``dockerfile`` a path within it."""

    context: Iterable[bytes]
    dockerfile: str = "Dockerfile"
    tag: str
    platform: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    pull: bool = False
    no_cache: bool = False
    """Whether the builder does every step again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container, never with a host mount.

    ``command`` None means "stay alive until removed". ``volumes`` maps a named volume to a path in the container,
    read-only.
    """

    image: str
    platform: str
    purpose: str
    command: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    network: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStat:
    """What a path inside a container is, links not followed."""

    name: str
    size: int
    mode: int
    link_target: str
    is_dir: bool
    is_link: bool


class Engine(Protocol):
    """A container engine. Every method raises EngineError (or DiskFullError) when the engine fails."""

    def info(self) -> EngineInfo:
        """Version and architecture."""
        ...

    def image(self, ref: str) -> ImageInfo | None:
        """The local image ``ref``, None when there is none."""
        ...

    def pull(self, ref: str, platform: str) -> ImageInfo:
        """Fetch ``ref`` from its registry.

        Raises:
            ImageError: the registry does not give it.
        """
        ...

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:
        """Build an image.

        Raises:
            ImageError: a step failed; its details are the end of the output.
        """
        ...

    def abandon_builds(self) -> None:
        """End the builds that other threads are waiting for, and begin none any more: they get an EngineError."""
        ...

    def tag(self, ref: str, name: str) -> None:
        """Give a local image another name."""
        ...

    def create(self, spec: ContainerSpec) -> str:
        """Create and start a container; its id."""
        ...

    def run(
        self,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        on_output: Callable[[bytes], None] | None = None,
    ) -> int:
        """Execute in a running container, standard output and error together; the exit status."""
        ...

    def put(self, container: str, directory: str, tar: Iterable[bytes]) -> None:
        """Unpack an uncompressed tar stream into an existing directory of the container."""
        ...

    def get(self, container: str, path: str) -> Iterator[bytes] | None:
        """A path as a tar stream (links not followed), None when it does not exist. Works on a stopped container."""
        ...

    def stat(self, container: str, path: str) -> PathStat | None:
        """What a path is, None when it does not exist. Works on a stopped container."""
        ...

    def wait(self, container: str) -> int:
        """The exit status of a container's own command, once it has ended."""
        ...

    def stop(self, container: str) -> None:
        """Kill the container's processes and keep its files."""
        ...

    def commit(self, container: str, tag: str, labels: Mapping[str, str]) -> ImageInfo:
        """Keep the container's files as a local image."""
        ...

    def remove(self, container: str) -> None:
        """Remove a container with its anonymous volumes; nothing happens when it is gone."""
        ...

    def containers(self, label: str) -> Sequence[str]:
        """Ids of all containers, running or not, with ``label`` (``key`` or ``key=value``)."""
        ...

    def volume(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make sure a named volume exists; True when it was made now."""
        ...

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of a volume, None when there is none."""
        ...

    def remove_volume(self, name: str) -> None:
        """Remove a volume; nothing happens when it is gone."""
        ...

    def volumes(self, label: str) -> Sequence[str]:
        """Names of the volumes with ``label`` (``key`` or ``key=value``)."""
        ...

    def images(self, label: str) -> Sequence[str]:
        """Ids of the local images with ``label``."""
        ...

    def save(self, ref: str) -> Iterator[bytes]:
        """A local image as ``docker save`` writes it: a tar with a ``manifest.json``.

        Raises:
            ImageError: there is none.
        """
        ...

    def load(self, tar: Iterable[bytes]) -> None:
        """Take images from such a tar, with the names that it gives them.

        Raises:
            ImageError: it holds none.
        """
        ...

    def remove_image(self, ref: str) -> None:
        """Remove a local image; nothing happens when it is gone."""
        ...


class Sysroot(Protocol):
    """A root file system that libraries are searched in; paths are absolute, inside that root."""

    def read(self, path: str) -> bytes | None:
        """The bytes of the regular file at ``path``, links followed inside the root; None when there is none."""
        ...

    def real_path(self, path: str) -> str | None:
        """``path`` with every link resolved inside the root; None when nothing is there."""
        ...

    def names(self, path: str) -> Sequence[str]:
        """The names in the directory at ``path``, sorted; none when there is no such directory."""
        ...


@runtime_checkable
class TakingSysroot(Sysroot, Protocol):
    """A root that also gives files to be changed in place."""

    def take(self, path: str) -> bytearray | None:
        """As ``read``, in memory that nothing else holds."""
        ...


class Registry(Protocol):
    """Container registries (OCI distribution specification 1.1). ``repository`` begins with the registry's host.

    Every method raises RegistryError when the registry fails or refuses.
    """

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        ...

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        """Store a blob."""
        ...

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """The manifest or index under a tag or digest, None when there is none."""
        ...

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        """Store a manifest or index; whether the registry lists it among the referrers of its subject."""
        ...

    def wait(self, attempt: int) -> None:
        """Wait before an attempt is repeated."""
        ...


class Progress(Protocol):
    """Where steps, notes and warnings go: a terminal, a CI log, a test's list."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """A visible, timed line for the duration of the block."""
        ...

    def note(self, text: str) -> None:
        """A line a user wants to see."""
        ...

    def detail(self, text: str) -> None:
        """A line for ``-v``."""
        ...

    def warn(self, text: str) -> None:
        """Something is not as it should be, and the work goes on."""
        ...


class NamedProgress:
    """A Progress for one of several things that go on at once: every line begins with its name."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name

    def step(self, title: str) -> AbstractContextManager[None]:
        """A visible, timed line for the duration of the block."""
        return self._progress.step(self._named(title))

    def note(self, text: str) -> None:
        """A line a user wants to see."""
        self._progress.note(self._named(text))

    def detail(self, text: str) -> None:
        """A line for ``-v``."""
        self._progress.detail(self._named(text))

    def warn(self, text: str) -> None:
        """Something is not as it should be, and the work goes on."""
        self._progress.warn(self._named(text))

    def _named(self, text: str) -> str:
        return text if text.startswith(self._name) else f"{self._name}: {text}"
