"""What this process runs in: an image of ours, which needs no engine to build wheels, or anything else.

An image says what it is by the variables that every client of musllinux images reads (AUDITWHEEL_POLICY and its
kin), by a file or directory that only such an image has, and by the loader of its architecture: variables alone can
be handed on by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from musllinux_build.arch import Arch
from musllinux_build.config import Config
from musllinux_build.errors import UsageError
from musllinux_build.policy import Policy, known_policies
from musllinux_build.python import PythonTag

MANIFEST = "/opt/_internal/musllinux-build/manifest.json"
PYTHONS = "/opt/python"
MARKERS = (MANIFEST, PYTHONS)
ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT")
"""Whoever sets one of these wants an engine."""

# What an image declares, and what a user says of network and language. All else is left out, as in a container.
_KEPT = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "LC_ALL", "PKG_CONFIG_PATH", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
        *("AUDITWHEEL_POLICY", "AUDITWHEEL_ARCH", "AUDITWHEEL_PLAT", "_PYTHON_HOST_PLATFORM"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
        *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_DISABLE_SHARED_LIBS_AUTO_UPGRADE", "NETRC"),
    }
)
# Of pip's own, all but those that say where and into what is installed: that is the build's business.
_PIP = "PIP_"
_PLACES_OF_PIP = frozenset({"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnImage:
    """The image around this process."""

    policy: Policy
    arch: Arch

    @property
    def name(self) -> str:
        """``musllinux_1_2_x86_64``."""
        return self.policy.platform_tag(self.arch)

    @property
    def elsewhere(self) -> str:
        """Why nothing else is built here."""
        return f"this runs inside {self.name}, which builds for itself alone"

    def confine(self, config: Config, asked: Config) -> Config:
        """``config`` for this image.

        ``asked`` is what the command line says. There another architecture or policy is a mistake; in a project's
        pyproject.toml, which serves other images too, the plan skips it.

        Raises:
            UsageError: the command line asks for what this image is not.
        """
        others = [arch.value for arch in asked.archs if arch is not self.arch]
        others += [policy.value for policy in asked.policies if policy != self.policy]
        here = (self.name, f"musllinux_{self.arch.value}")
        others += [identifier for identifier in asked.only if identifier.partition("-")[2] not in here]
        if others:
            raise UsageError(
                f"{self.elsewhere}, not for {', '.join(others)}",
                resolution="Start it in that image, or let it use a container engine: --no-inside",
            )
        return replace(config, archs=config.archs or (self.arch,), policies=config.policies or (self.policy,))


def find_own_image(environment: Mapping[str, str], exists: Callable[[str], bool]) -> OwnImage | None:
    """The image that this process runs in, None outside of any; ``exists`` answers for absolute paths."""
    named = _named(environment)
    if named is None or not exists(f"/lib/{named.arch.row.loader}") or not any(map(exists, MARKERS)):
        return None
    return named


def _named(environment: Mapping[str, str]) -> OwnImage | None:
    policy, arch = environment.get("AUDITWHEEL_POLICY", ""), environment.get("AUDITWHEEL_ARCH", "")
    name = f"{policy}_{arch}" if policy and arch else environment.get("AUDITWHEEL_PLAT", "")
    every = (OwnImage(policy=policy, arch=arch) for policy in known_policies() for arch in Arch)
    return next((image for image in every if image.name == name), None)


def choose(environment: Mapping[str, str], exists: Callable[[str], bool], *, wanted: bool | None) -> OwnImage | None:
    """The image to build in, None where an engine is to be used; ``wanted`` is ``--inside`` or ``--no-inside``.

    Raises:
        UsageError: ``wanted``, and this is no such image.
    """
    if wanted is False or (wanted is None and any(environment.get(name) for name in ENGINE_VARIABLES)):
        return None
    found = find_own_image(environment, exists)
    if found is None and wanted:
        raise UsageError(
            "--inside: this is no musllinux image",
            details="One has AUDITWHEEL_POLICY and AUDITWHEEL_ARCH in its environment (or AUDITWHEEL_PLAT), "
            f"{PYTHONS} with its interpreters, and musl's loader of that architecture.",
            resolution="Start it in a container of such an image, or leave --inside out to use a container engine.",
        )
    return found


def own_pythons(names: Iterable[str], exists: Callable[[str], bool]) -> tuple[PythonTag, ...]:
    """The CPythons among the ``names`` in PYTHONS; a name that leads to another release is none."""
    found = set()
    for name in names:
        try:
            tag = PythonTag.parse(name)
        except ValueError:
            continue
        library = f"{tag.prefix}/lib/python{tag.version}{'t' if tag.free_threaded else ''}"
        if tag.directory == name and exists(f"{tag.prefix}/bin/python") and exists(library):
            found.add(tag)
    return tuple(sorted(found))


def own_environment(environment: Mapping[str, str], *, kept: Collection[str] = _KEPT) -> Mapping[str, str]:
    """What a build gets of this process's environment."""
    return MappingProxyType(
        {
            name: value
            for name, value in environment.items()
            if name in kept or (name.startswith(_PIP) and name not in _PLACES_OF_PIP)
        }
    )
