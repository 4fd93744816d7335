"""Registry over HTTP, with the credentials that ``docker login`` stored (OCI distribution specification 1.1).

What a registry asks for is answered once per repository: basic credentials, or a token from the service it names
(the distribution project's token authentication specification).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import requests

from musllinux_build.errors import RegistryError

TIMEOUT = (10.0, 300.0)
"""Seconds for a connection, and that a registry may stay silent."""
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
TOO_MANY = 429
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Credentials = Callable[[str], tuple[str, str] | None]
"""User and password for a registry's host, None where nobody is logged in."""


class HttpRegistry:
    """ports.Registry; ``plain`` speaks HTTP, for registries on this machine."""

    def __init__(self, credentials: Credentials, *, plain: bool = False) -> None:
        self._scheme = "http" if plain else "https"
        self._credentials = credentials
        self._session = requests.Session()
        self._authorization: dict[str, str] = {}

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        url = self._url(repository, f"blobs/{digest}")
        return self._request("HEAD", url, repository, accepted=(200, 404)).status_code == 200

    def put_blob(self, repository: str, digest: str, content: bytes) -> None:
        """Store a blob in one piece ("POST then PUT")."""
        begun = self._request("POST", self._url(repository, "blobs/uploads/"), repository, accepted=(202,))
        place = begun.headers.get("Location", "")
        if not place:
            raise RegistryError(f"{repository}: the registry accepts an upload and does not say where")
        where = requests.compat.urljoin(begun.url, place)
        mark = "&" if "?" in where else "?"
        body = (content, "application/octet-stream")
        self._request("PUT", f"{where}{mark}digest={digest}", repository, body, accepted=(201,))

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """The manifest or index under a tag or digest."""
        url = self._url(repository, f"manifests/{reference}")
        found = self._request("GET", url, repository, accepted=(200, 404))
        return found.content if found.status_code == 200 else None

    def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> bool:
        """Store; a registry that knows referrers answers with ``OCI-Subject``."""
        url = self._url(repository, f"manifests/{reference}")
        return "OCI-Subject" in self._request("PUT", url, repository, (content, media_type), accepted=(201,)).headers

    def wait(self, attempt: int) -> None:
        """Two seconds, four, eight …."""
        time.sleep(2**attempt)

    def _url(self, repository: str, path: str) -> str:
        host, _, name = repository.partition("/")
        # Docker's own name is not the host that answers for it.
        answering = "registry-1.docker.io" if host == "docker.io" else host
        return f"{self._scheme}://{answering}/v2/{name}/{path}"

    def _request(
        self,
        method: str,
        url: str,
        repository: str,
        body: tuple[bytes, str] | None = None,
        *,
        accepted: tuple[int, ...],
    ) -> requests.Response:
        what = f"{method} {repository}"
        try:
            answer = self._send(method, url, repository, body)
            if answer.status_code == 401:
                self._authorization[repository] = self._authorize(answer, repository)
                answer = self._send(method, url, repository, body)
        except requests.RequestException as error:
            raise RegistryError(f"{what}: the registry does not answer", details=str(error), transient=True) from error
        if answer.status_code in accepted:
            return answer
        raise _refused(what, answer, repository)

    def _send(self, method: str, url: str, repository: str, body: tuple[bytes, str] | None) -> requests.Response:
        headers = {"Accept": ", ".join(MANIFESTS)}
        if body is not None:
            headers["Content-Type"] = body[1]
        if known := self._authorization.get(repository):
            headers["Authorization"] = known
        return self._session.request(method, url, data=body and body[0], headers=headers, timeout=TIMEOUT)

    def _authorize(self, answer: requests.Response, repository: str) -> str:
        """The header that the challenge in ``answer`` asks for."""
        challenge = answer.headers.get("WWW-Authenticate", "")
        kind, _, rest = challenge.partition(" ")
        credentials = self._credentials(repository.partition("/")[0])
        if kind.lower() == "basic" and credentials is not None:
            return str(requests.Request("GET", "http://x", auth=credentials).prepare().headers["Authorization"])
        if kind.lower() != "bearer":
            raise _refused(f"log in to {repository}", answer, repository)
        asked = dict(_PARAMETER.findall(rest))
        name = repository.partition("/")[2]
        query = {"scope": asked.get("scope") or f"repository:{name}:pull,push"}
        if "service" in asked:
            query["service"] = asked["service"]
        token = self._session.get(asked.get("realm", ""), params=query, auth=credentials, timeout=TIMEOUT)
        if token.status_code != 200:
            raise _refused(f"log in to {repository}", token, repository)
        found = token.json()
        return f"Bearer {found.get('token') or found.get('access_token')}"


def _refused(what: str, answer: requests.Response, repository: str) -> RegistryError:
    host = repository.partition("/")[0]
    return RegistryError(
        f"{what}: the registry answered {answer.status_code}",
        details=answer.text[:2000],
        resolution=f"Log in first: docker login {host}" if answer.status_code in (401, 403) else "",
        transient=answer.status_code >= 500 or answer.status_code == TOO_MANY,
    )
