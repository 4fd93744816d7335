"""Engines by their address: a URL, or a docker context."""

from __future__ import annotations

from collections.abc import Mapping

from musllinux_build.adapters.docker_sdk import DockerEngine, connect
from musllinux_build.engines import Address


def connect_at(address: Address, environment: Mapping[str, str]) -> DockerEngine:
    """The engine at an address.

    Raises:
        EngineError: nothing answers there, it is too old, or there is no such context.
    """
    if address.url:
        return connect(address.url)
    others = {name: value for name, value in environment.items() if name != "DOCKER_HOST"}
    return connect(environment={**others, "DOCKER_CONTEXT": address.context})
