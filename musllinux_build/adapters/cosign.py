"""Signatures by cosign (Sigstore), where it is installed: one program, one way to call it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from musllinux_build.adapters import process
from musllinux_build.errors import RegistryError

SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosign:
    """``key`` is a file or a URI of a key service; without one the identity of the CI job signs ("keyless")."""

    program: str
    key: str = ""
    plain_http: bool = False

    def sign(self, reference: str) -> None:
        """Sign ``repository@digest`` in its registry.

        Raises:
            RegistryError: cosign fails.
        """
        key = ("--key", self.key) if self.key else ()
        http = ("--allow-http-registry",) if self.plain_http else ()
        process.run((self.program, "sign", "--yes", *key, *http, reference), timeout=SECONDS).check(
            RegistryError, f"cosign does not sign {reference}"
        )


def find_cosign() -> str | None:
    """Its path, None where it is not installed."""
    return shutil.which("cosign")
