"""Engines by their address: a URL, or a docker context."""

from __future__ import annotations

from musllinux_build.adapters.docker_json import Endpoint
from musllinux_build.adapters.docker_sdk import DockerEngine, connect_to, context_endpoint
from musllinux_build.engines import Address

SETTING = "an engine setting"
"""What names a context: an option, a variable, or the project's table."""


def endpoint_at(address: Address) -> Endpoint:
    """Where an address leads.

    Raises:
        EngineError: there is no such context.
    """
    if address.url:
        return Endpoint(url=address.url)
    return context_endpoint(address.context, SETTING)


def connect_at(address: Address) -> DockerEngine:
    """The engine at an address.

    Raises:
        EngineError: nothing answers there, it is too old, or there is no such context.
    """
    return connect_to(endpoint_at(address))
