"""Who signs what is published: ``--sign`` and ``--sign-key``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from musllinux_build.adapters.cosign import Cosign, find_cosign
from musllinux_build.cli.options import option
from musllinux_build.errors import UsageError
from musllinux_build.ports import Progress

F = TypeVar("F", bound=Callable[..., Any])
AUTO, ALWAYS, NEVER = "auto", "always", "never"

IDENTITIES = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SIGSTORE_ID_TOKEN")
"""Variables that a CI job has when cosign can sign with the job's identity; elsewhere it would ask in a browser."""


def sign_options(command: F) -> F:
    """The command gets ``sign`` and ``sign_key``."""
    command = option("--sign-key", default="", metavar="REF", help="Sign with this key: a file or a URI cosign knows.")(
        command
    )
    return option(
        "--sign",
        type=click.Choice((AUTO, ALWAYS, NEVER)),
        default=AUTO,
        show_default=True,
        help="Sign with cosign before tags move; auto: where it is there, with a key or the identity of a CI job.",
    )(command)


def chosen_signer(
    given: Mapping[str, Any], environment: Mapping[str, str], progress: Progress
) -> Callable[[str], None] | None:
    """A function that signs a ``repository@digest``, None when nothing is to be signed.

    Raises:
        UsageError: it has to be signed, and cosign is not there.
    """
    if given["sign"] == NEVER:
        return None
    program = find_cosign()
    if program is None:
        if given["sign"] == ALWAYS or given["sign_key"]:
            raise UsageError(
                "cosign is not installed, and images are to be signed",
                resolution="Install cosign (https://docs.sigstore.dev/cosign/system_config/installation/), "
                "or publish unsigned: --sign never",
            )
        progress.note("not signed: cosign is not installed")
        return None
    if given["sign"] == AUTO and not given["sign_key"] and not any(environment.get(name) for name in IDENTITIES):
        progress.note("not signed: neither --sign-key nor the identity of a CI job")
        return None
    return Cosign(program=program, key=given["sign_key"], plain_http=given["plain_http"]).sign
