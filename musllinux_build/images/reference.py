"""What an image is called, in a registry and on the engine: one place."""

from __future__ import annotations

from enum import Enum

from musllinux_build.arch import Arch
from musllinux_build.policy import Policy

DEFAULT_REGISTRY = "ghcr.io/musllinux-build"

BASE_REPOSITORY = "musllinux-build/base"
"""Local only: a root file system made into an image."""


class Variant(Enum):
    """How much is in an image besides interpreters: everything, or what wheels are built with."""

    FULL = "full"
    SLIM = "slim"


def image_reference(registry: str, policy: Policy, arch: Arch, variant: Variant = Variant.FULL) -> str:
    """``<registry>/musllinux_1_2_aarch64``, with ``:latest-slim`` where it is the slim one."""
    tag = "" if variant is Variant.FULL else f":latest-{variant.value}"
    return f"{registry}/{policy.platform_tag(arch)}{tag}"


def alpine_reference(release: str, arch: Arch) -> str:
    """``musllinux-build/base:alpine-3.13.12-aarch64``."""
    return f"{BASE_REPOSITORY}:alpine-{release}-{arch.value}"


def builder_reference(arch: Arch) -> str:
    """``musllinux-build/base:builder-x86_64``."""
    return f"{BASE_REPOSITORY}:builder-{arch.value}"
