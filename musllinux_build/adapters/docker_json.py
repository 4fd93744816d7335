"""What the Docker API says and how it fails → our values and words; knows nothing of the SDK."""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from musllinux_build.arch import Arch
from musllinux_build.errors import EngineError
from musllinux_build.ports import EngineInfo, ImageInfo, PathStat

MINIMUM_API = (1, 41)
"""Docker 20.10: the first whose images carry a variant and whose containers take a platform."""

SOCKET_PATH = "/var/run/docker.sock"
DEFAULT_SOCKET = f"unix://{SOCKET_PATH}"
_GO_DIRECTORY = 1 << 31
_GO_SYMLINK = 1 << 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the engine is, and who says so; ``tls`` is the SDK's own value."""

    url: str
    named_by: str = ""
    tls: Any = None

    @property
    def local(self) -> bool:
        """Whether the engine runs on this machine, as far as its address tells."""
        return self.url.startswith(("unix://", "http+unix://"))

    @property
    def default(self) -> bool:
        """Whether this is where a distribution's own daemon listens; ``/var/run`` is ``/run`` (FHS 3.0, 5.13)."""
        return self.local and self.path.removeprefix("/var") == "/run/docker.sock"

    @property
    def path(self) -> str:
        """The path of the socket of a local engine; ``unix://var/run`` means ``/var/run`` too."""
        return "/" + self.url.partition("://")[2].strip("/")

    def __str__(self) -> str:
        return f"{self.url} ({self.named_by})" if self.named_by else self.url


def no_answer(endpoint: Endpoint, error: BaseException) -> EngineError:
    """Why nothing answers at ``endpoint``, with the remedy that fits ``error`` or what caused it."""
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes) and endpoint.local:
        resolution = 'Join the docker group (sudo usermod -aG docker "$USER") and log in again, or run as root.'
        return EngineError(
            f"you may not use the container engine at {endpoint}", details=str(error), resolution=resolution
        )
    if endpoint.url.startswith("ssh://"):
        return EngineError(
            f"ssh logs in, and no container engine answers at {endpoint}",
            details=str(error),
            resolution="Start it there, as somebody who may use its socket (group docker); another socket than\n"
            f"{SOCKET_PATH} is named behind the host: ssh://user@host/run/podman/podman.sock",
        )
    if endpoint.default:
        resolution = "Start Docker, or as root on Debian or Ubuntu: musllinux-build doctor --fix"
    else:
        resolution = (
            "Start the engine at that address, or use another one:"
            " unset DOCKER_HOST DOCKER_CONTEXT; docker context use default\n"
            "The engine of this machine is then mended by: musllinux-build doctor --fix"
        )
    return EngineError(f"no container engine answers at {endpoint}", details=str(error), resolution=resolution)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def require_new_enough(found: EngineInfo) -> None:
    """Raise EngineError when the engine is older than MINIMUM_API."""
    if found.api < MINIMUM_API:
        raise EngineError(
            f"the container engine {found.version} is too old (API {found.api[0]}.{found.api[1]})",
            resolution=f"Install Docker 20.10 or later (API {MINIMUM_API[0]}.{MINIMUM_API[1]}).",
        )


def engine_info(version: Mapping[str, Any]) -> EngineInfo:
    """The answer of ``/version``; raises EngineError when something else answered."""
    try:
        api = tuple(int(part) for part in str(version["ApiVersion"]).split("."))
        machine = str(version.get("Arch", ""))
        return EngineInfo(
            name=str((version.get("Platform") or {}).get("Name") or "Docker Engine"),
            version=str(version["Version"]),
            api=(api[0], api[1]),
            arch=Arch.from_machine(machine),
            machine=machine,
        )
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise EngineError("what answers is no container engine", details=str(version)[:200]) from error


def image_info(found: Mapping[str, Any]) -> ImageInfo:
    """The answer of ``/images/<name>/json``."""
    config = found.get("Config") or {}
    return ImageInfo(
        id=str(found["Id"]),
        architecture=str(found.get("Architecture", "")),
        variant=found.get("Variant") or None,
        labels={str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
        env=dict(item.split("=", 1) for item in config.get("Env") or [] if "=" in item),
        size=int(found.get("Size", 0)),
        entrypoint=_words(config.get("Entrypoint")),
        command=_words(config.get("Cmd")),
        user=str(config.get("User") or ""),
        workdir=str(config.get("WorkingDir") or ""),
        declared=tuple(
            instruction
            for instruction, key in (("EXPOSE", "ExposedPorts"), ("VOLUME", "Volumes"), ("HEALTHCHECK", "Healthcheck"))
            if config.get(key)
        ),
        tags=tuple(map(str, found.get("RepoTags") or ())),
    )


def _words(found: object) -> tuple[str, ...]:
    """An argument vector of the API: a list of strings, or nothing."""
    return tuple(map(str, found)) if isinstance(found, list) else ()


def path_stat(header: str) -> PathStat:
    """The header ``X-Docker-Container-Path-Stat``; modes are Go's (``io/fs.FileMode``)."""
    found = json.loads(base64.b64decode(header))
    mode = int(found["mode"])
    return PathStat(
        name=posixpath.basename(str(found["name"])),
        size=int(found["size"]),
        mode=mode & 0o7777,
        link_target=str(found.get("linkTarget", "")),
        is_dir=bool(mode & _GO_DIRECTORY),
        is_link=bool(mode & _GO_SYMLINK),
    )


def split_reference(ref: str) -> tuple[str, str | None]:
    """(repository, tag or digest) of an image reference; ``latest`` when it names neither."""
    if "@" in ref:
        repository, _, digest = ref.partition("@")
        return repository.rsplit(":", 1)[0] if ":" in repository.rsplit("/", 1)[-1] else repository, digest
    head, _, last = ref.rpartition("/")
    name, colon, tag = last.partition(":")
    repository = f"{head}/{name}" if head else name
    return repository, tag if colon else "latest"
