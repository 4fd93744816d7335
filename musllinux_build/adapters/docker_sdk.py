"""Engine over the Docker API: the only importer of ``docker``."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import docker  # noqa: TID251 - this is the module the ban points to
import requests
from docker import errors as api_errors  # noqa: TID251 - as above
from docker.auth import INDEX_NAME, load_config  # noqa: TID251 - as above
from docker.context import ContextAPI  # noqa: TID251 - as above
from docker.context.config import get_current_context_name  # noqa: TID251 - as above
from docker.utils import kwargs_from_env  # noqa: TID251 - as above

from musllinux_build.adapters.docker_build import NO_SPACE, Builds, disk_full, read_build
from musllinux_build.adapters.docker_json import (
    DEFAULT_SOCKET,
    MINIMUM_API,
    Endpoint,
    engine_info,
    image_info,
    no_answer,
    path_stat,
    require_new_enough,
    split_reference,
)
from musllinux_build.adapters.ssh import brought_here
from musllinux_build.errors import EngineError, ImageError, MusllinuxBuildError
from musllinux_build.ports import LABEL, BuildSpec, ContainerSpec, EngineInfo, ImageInfo, PathStat

# apk, tar and pip as root need these five; everything else Docker grants by default is dropped.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
PIDS_LIMIT = 4096
COPY_CHUNK = 1 << 20
TIMEOUT_SECONDS = 3600
ANSWER_SECONDS = 15  # for its version; all else an engine may do at its own pace


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn what the SDK raises into our errors, saying what was being done."""
    try:
        yield
    except (api_errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        text = str(getattr(error, "explanation", None) or error)
        if NO_SPACE.search(text) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise disk_full(doing, text) from error
        resolution = "Run: musllinux-build doctor"
        raise EngineError(f"the container engine failed while {doing}", details=text, resolution=resolution) from error


def stored_credentials(host: str) -> tuple[str, str] | None:
    """User and password for a registry, from where ``docker login`` keeps them; None when nobody is logged in."""
    # Docker's own registry goes by its old address in the file.
    found = load_config().resolve_authconfig(INDEX_NAME if host == "docker.io" else host) or {}
    # A credential helper writes the names with capitals.
    user, password = found.get("username") or found.get("Username"), found.get("password") or found.get("Password")
    return (str(user), str(password)) if user and password else None


def find_endpoint(environment: Mapping[str, str]) -> Endpoint:
    """The engine that docker's own command line would use: DOCKER_HOST, DOCKER_CONTEXT, the current context.

    The SDK looks for the context's files by itself, below DOCKER_CONFIG or the home directory.

    Raises:
        EngineError: the context does not exist or cannot be read.
    """
    if environment.get("DOCKER_HOST"):
        try:
            given = kwargs_from_env(environment=dict(environment))
        except api_errors.DockerException as error:
            raise EngineError(
                "DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH disagree", details=str(error)
            ) from error
        return Endpoint(url=given["base_url"], named_by="DOCKER_HOST", tls=given.get("tls"))
    chosen = environment.get("DOCKER_CONTEXT", "")
    name = chosen or str(get_current_context_name() or "default")
    return context_endpoint(name, "DOCKER_CONTEXT" if chosen else "docker context")


def context_endpoint(name: str, origin: str) -> Endpoint:
    """Where the docker context ``name`` leads, which ``origin`` names.

    Raises:
        EngineError: it does not exist or cannot be read.
    """
    try:
        found = ContextAPI.get_context(name)
    except Exception as error:  # the SDK raises a bare Exception for a file it cannot read
        raise EngineError(f"the docker context {name} cannot be read", details=str(error)) from error
    if found is None:
        raise EngineError(
            f"there is no docker context {name}, which {origin.removeprefix('docker ')} names",
            # The SDK looks beside config.json alone, and a new context does not write that.
            resolution="Name one that docker has (docker context ls), and once: docker context use NAME"
            + ("" if "docker" in origin.lower() else "; or an address: unix://, tcp://, ssh://, podman"),
        )
    # The built-in context has no certificates and no name worth telling.
    named_by = "" if name == "default" else f"{origin} {name}"
    return Endpoint(url=str(found.Host or DEFAULT_SOCKET), named_by=named_by, tls=found.TLSConfig)


def ask(endpoint: Endpoint) -> EngineInfo:
    """What answers at ``endpoint``, whatever its version.

    Raises:
        EngineError: nothing does within ANSWER_SECONDS; with the remedy for its cause.
    """
    try:
        _knock(endpoint)
        # Any version that the SDK takes: the question itself has none.
        with closing(_client(endpoint, f"{MINIMUM_API[0]}.{MINIMUM_API[1]}", ANSWER_SECONDS)) as client:
            return engine_info(client.version(api_version=False))
    except MusllinuxBuildError:
        raise
    except Exception as error:  # SSH has errors of its own, TLS too; all of them mean the same here
        raise no_answer(endpoint, error) from error


def _knock(endpoint: Endpoint) -> None:
    """Raise the system's own error when nobody listens at a socket; the SDK would wrap it and leak the socket."""
    if endpoint.local:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(ANSWER_SECONDS)
            visitor.connect(endpoint.path)


def _client(endpoint: Endpoint, version: str, timeout: int) -> Any:
    return docker.APIClient(
        base_url=brought_here(endpoint.url), version=version, timeout=timeout, tls=endpoint.tls or False
    )


def connect(url: str | None = None, *, environment: Mapping[str, str] | None = None) -> DockerEngine:
    """The engine at ``url`` (``unix://``, ``tcp://``, ``ssh://``), or the one ``environment`` (default: ours) names.

    Raises:
        EngineError: nothing answers there, or it is older than MINIMUM_API.
    """
    return connect_to(Endpoint(url=url) if url else find_endpoint(os.environ if environment is None else environment))


def connect_to(endpoint: Endpoint) -> DockerEngine:
    """The engine at ``endpoint``.

    Raises:
        EngineError: nothing answers there, or it is older than MINIMUM_API.
    """
    found = ask(endpoint)
    require_new_enough(found)
    # The SDK gives its timeout to connections when it makes them.
    return DockerEngine(_client(endpoint, f"{found.api[0]}.{found.api[1]}", TIMEOUT_SECONDS), endpoint)


class DockerEngine:
    """ports.Engine over one API client."""

    def __init__(self, client: Any, endpoint: Endpoint) -> None:
        self._api: Any = client
        self._builds = Builds(client)
        self.endpoint = endpoint
        # Archives are already as small as they get to be; compressing them costs more than the socket.
        self._api.headers["Accept-Encoding"] = "identity"

    def info(self) -> EngineInfo:
        """Version and architecture, asked anew."""
        with _explained("asking for its version"):
            return engine_info(self._api.version())

    def root_directory(self) -> str:
        """Where the engine keeps images and containers, a path on its own machine."""
        with _explained("asking for its data directory"):
            return str(self._api.info().get("DockerRootDir", ""))

    def image(self, ref: str) -> ImageInfo | None:
        """The local image, None when there is none."""
        with _explained(f"inspecting the image {ref}"):
            try:
                found = self._api.inspect_image(ref)
            except api_errors.ImageNotFound:
                return None
        return image_info(found)

    def pull(self, ref: str, platform: str) -> ImageInfo:
        """Fetch from the registry; ImageError when it does not give it."""
        repository, tag = split_reference(ref)
        try:
            with _explained(f"pulling {ref}"):
                for event in self._api.pull(repository, tag=tag, platform=platform, stream=True, decode=True):
                    if "error" in event:
                        raise ImageError(f"cannot pull {ref} for {platform}", details=str(event["error"]))
        except EngineError as error:
            raise ImageError(f"cannot pull {ref} for {platform}", details=error.details) from error
        found = self.image(ref)
        if found is None:
            raise ImageError(f"{ref} was pulled and is not there", resolution="Run: musllinux-build doctor")
        return found

    def build(self, spec: BuildSpec, on_line: Callable[[str], None]) -> ImageInfo:
        """Build with the classic builder, which every API this old and newer has."""
        with _explained(f"building {spec.tag}"), self._builds.running(spec.context) as context:
            events = self._api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=spec.dockerfile,
                tag=spec.tag,
                platform=spec.platform,
                target=spec.target or "",
                buildargs=dict(spec.args),
                labels=dict(spec.labels),
                network_mode=spec.network,
                pull=spec.pull,
                nocache=spec.no_cache,
                rm=True,
                forcerm=True,
                decode=True,
            )
            tail = read_build(spec.tag, events, on_line)
        found = self.image(spec.tag)
        if found is None:
            raise ImageError(f"building {spec.tag} left no image", details="\n".join(tail))
        return found

    def abandon_builds(self) -> None:
        """End what other threads build."""
        self._builds.end()

    def tag(self, ref: str, name: str) -> None:
        """Give the image another name."""
        repository, tag = split_reference(name)
        with _explained(f"calling {ref} {name}"):
            self._api.tag(ref, repository, tag=tag, force=True)

    def create(self, spec: ContainerSpec) -> str:
        """Create and start; no capabilities beyond CAPABILITIES, no new privileges, no host mount."""
        with _explained(f"creating a container of {spec.image}"):
            host = self._api.create_host_config(
                cap_drop=["ALL"],
                cap_add=list(CAPABILITIES),
                security_opt=["no-new-privileges"],
                pids_limit=PIDS_LIMIT,
                network_mode="default" if spec.network else "none",
                binds=[f"{name}:{path}:ro" for name, path in spec.volumes.items()] or None,
            )
            container = self._api.create_container(
                spec.image,
                # The image's entrypoint stays out of the way: what runs is what the plan says.
                entrypoint=list(spec.command[:1]) if spec.command else ["/bin/sleep"],
                command=list(spec.command[1:]) if spec.command else ["2147483647"],
                environment=dict(spec.env),
                labels={LABEL: spec.purpose, **spec.labels},
                host_config=host,
                platform=spec.platform,
                working_dir="/",
            )
            identity = str(container["Id"])
            try:
                self._api.start(identity)
            except BaseException:
                self.remove(identity)
                raise
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
        """Execute; the exit status."""
        with _explained(f"executing {argv[0]} in a container"):
            session = self._api.exec_create(container, list(argv), environment=dict(env or {}), workdir=cwd)
            output = self._api.exec_start(session["Id"], stream=True)
            # The SDK leaves the connection of a stream open, ended or not.
            with closing(output._response), closing(output):  # noqa: SLF001 - it has no other name
                for chunk in output:
                    if on_output is not None:
                        on_output(chunk)
            status = self._api.exec_inspect(session["Id"])["ExitCode"]
        return int(status) if status is not None else 255

    def put(self, container: str, directory: str, tar: Iterable[bytes]) -> None:
        """Unpack an uncompressed tar stream in the container."""
        with _explained(f"copying into {directory} of a container"):
            self._api.put_archive(container, directory, iter(tar))

    def get(self, container: str, path: str) -> Iterator[bytes] | None:
        """A path as a tar stream, None when it does not exist."""
        with _explained(f"copying {path} out of a container"):
            try:
                stream, _ = self._api.get_archive(container, path)
            except api_errors.NotFound:
                return None
        return _explained_chunks(stream, path)

    def stat(self, container: str, path: str) -> PathStat | None:
        """What a path is, None when it does not exist."""
        with _explained(f"looking at {path} of a container"):
            url = self._api._url("/containers/{0}/archive", container)  # noqa: SLF001 - the SDK has no HEAD of its own
            answer = self._api.head(url, params={"path": path}, timeout=TIMEOUT_SECONDS)
            if answer.status_code == requests.codes.not_found:
                return None
            self._api._raise_for_status(answer)  # noqa: SLF001 - as above
        return path_stat(answer.headers["X-Docker-Container-Path-Stat"])

    def wait(self, container: str) -> int:
        """The exit status of the container's own command."""
        with _explained("waiting for a container"):
            return int(self._api.wait(container)["StatusCode"])

    def stop(self, container: str) -> None:
        """Kill the processes, keep the files."""
        with _explained("stopping a container"):
            try:
                self._api.kill(container)
            except api_errors.APIError as error:
                if error.status_code != requests.codes.conflict:  # it was not running
                    raise
            self._api.wait(container)

    def commit(self, container: str, tag: str, labels: Mapping[str, str]) -> ImageInfo:
        """Keep the container's files as a local image, its configuration that of the container's image."""
        repository, name = split_reference(tag)
        with _explained(f"keeping a container as {tag}"):
            base = self._api.inspect_image(self._api.inspect_container(container)["Image"])["Config"]
            config = {key: base.get(key) for key in ("Entrypoint", "Cmd", "Env")}
            config |= {"Labels": {**(base.get("Labels") or {}), **labels}, "WorkingDir": base.get("WorkingDir") or ""}
            self._api.commit(container, repository=repository, tag=name, conf=config)
        found = self.image(tag)
        if found is None:
            raise EngineError(f"{tag} was committed and is not there")
        return found

    def remove(self, container: str) -> None:
        """Remove with anonymous volumes; fine when it is gone."""
        with _explained("removing a container"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except api_errors.NotFound:
                return
            except api_errors.APIError as error:
                if error.status_code != requests.codes.conflict:  # somebody else is removing it
                    raise

    def containers(self, label: str) -> Sequence[str]:
        """Ids of all containers with the label."""
        with _explained("listing containers"):
            return [str(item["Id"]) for item in self._api.containers(all=True, filters={"label": label})]

    def volume(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make sure the volume exists."""
        if self.volume_labels(name) is not None:
            return False
        with _explained(f"creating the volume {name}"):
            self._api.create_volume(name, labels=dict(labels))
        return True

    def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """The volume's labels, None when there is none."""
        with _explained(f"inspecting the volume {name}"):
            try:
                found = self._api.inspect_volume(name)
            except api_errors.NotFound:
                return None
        return {str(key): str(value) for key, value in (found.get("Labels") or {}).items()}

    def remove_volume(self, name: str) -> None:
        """Remove the volume; fine when it is gone."""
        with _explained(f"removing the volume {name}"), suppress(api_errors.NotFound):
            self._api.remove_volume(name, force=True)

    def volumes(self, label: str) -> Sequence[str]:
        """Names of the volumes with the label."""
        with _explained("listing volumes"):
            found = self._api.volumes(filters={"label": label}).get("Volumes")
            return [str(item["Name"]) for item in found or ()]

    def images(self, label: str) -> Sequence[str]:
        """Ids of local images with the label."""
        with _explained("listing images"):
            return [str(item["Id"]) for item in self._api.images(filters={"label": label})]

    def save(self, ref: str) -> Iterator[bytes]:
        """The image as a tar; ImageError when there is none."""
        if self.image(ref) is None:  # the stream would tell only when it is read
            raise ImageError(f"there is no image {ref}")
        with _explained(f"saving {ref}"):
            stream = self._api.get_image(ref, chunk_size=COPY_CHUNK)
        return _explained_chunks(stream, ref)

    def load(self, tar: Iterable[bytes]) -> None:
        """Take images from a tar; ImageError when it holds none."""
        with _explained("loading an image"):
            loaded = False
            for event in self._api.load_image(iter(tar), quiet=True):
                if "error" in event:
                    raise ImageError("the engine does not load the image", details=str(event["error"]))
                loaded = loaded or "Loaded image" in str(event.get("stream", ""))
        if not loaded:
            raise ImageError("the archive holds no image")

    def remove_image(self, ref: str) -> None:
        """Remove the image; fine when it is gone."""
        with _explained(f"removing the image {ref}"), suppress(api_errors.ImageNotFound):
            self._api.remove_image(ref, force=True)


def _explained_chunks(stream: Iterable[bytes], path: str) -> Iterator[bytes]:
    with _explained(f"copying {path} out of a container"):
        yield from stream
