"""Engines by their address: a URL, or a docker context."""

from __future__ import annotations

from collections.abc import Mapping

from musllinux_build.adapters.docker_json import Endpoint
from musllinux_build.adapters.docker_sdk import DockerEngine, connect_to, find_endpoint
from musllinux_build.engines import Address


def endpoint_at(address: Address, environment: Mapping[str, str]) -> Endpoint:
    """Where an address leads.

    Raises:
        EngineError: there is no such context.
    """
    if address.url:
        return Endpoint(url=address.url)
    others = {name: value for name, value in environment.items() if name != "DOCKER_HOST"}
    return find_endpoint({**others, "DOCKER_CONTEXT": address.context})


def connect_at(address: Address, environment: Mapping[str, str]) -> DockerEngine:
    """The engine at an address.

    Raises:
        EngineError: nothing answers there, it is too old, or there is no such context.
    """
    return connect_to(endpoint_at(address, environment))
