"""Image builds over one API client: what the builder says, and how builds of other threads are ended."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from musllinux_build.errors import DiskFullError, EngineError, ImageError, MusllinuxBuildError

NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
TAIL_LINES = 40


class Builds:
    """The builds that run on a client, each in the thread that asked for it.

    A builder ends its build, and removes the build's container, when the connection is closed. The SDK gives no way to
    do that, but its client is a session of ``requests``, which shows every answer to a hook.
    """

    def __init__(self, client: Any) -> None:
        self._api = client
        self._answers: dict[int, Any] = {}
        self._threads: set[int] = set()
        self._ended = False
        client.hooks["response"].append(self._answered)

    @contextmanager
    def running(self, context: Iterable[bytes]) -> Iterator[Reader]:
        """A build in this thread; what it sends is given back as the file object that the SDK wants.

        Raises:
            EngineError: the builds were ended.
        """
        self._refuse_when_ended()
        thread = threading.get_ident()
        self._threads.add(thread)
        try:
            yield Reader(self._sent(context))
            self._refuse_when_ended()
        except MusllinuxBuildError:
            raise
        except Exception:
            # A connection that was closed here fails in many ways.
            self._refuse_when_ended()
            raise
        finally:
            self._threads.discard(thread)
            self._answers.pop(thread, None)

    def end(self) -> None:
        """Close the connections of all builds, and refuse new ones."""
        self._ended = True
        for answer in list(self._answers.values()):
            self._hang_up(answer)

    def _sent(self, context: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in context:
            self._refuse_when_ended()
            yield chunk

    def _answered(self, answer: Any, *_: Any, **__: Any) -> None:
        thread = threading.get_ident()
        if thread in self._threads:
            self._answers[thread] = answer
            if self._ended:
                self._hang_up(answer)

    def _hang_up(self, answer: Any) -> None:
        with suppress(Exception):
            connection = self._api._get_raw_response_socket(answer)  # noqa: SLF001 - as the SDK does for an attach
            getattr(connection, "_sock", connection).shutdown(socket.SHUT_RDWR)

    def _refuse_when_ended(self) -> None:
        if self._ended:
            raise EngineError("the run is ending: nothing is built any more", resolution="Start again.")


class Reader:
    """Byte chunks as the file object the SDK wants; an iterator of its own would be sent as it is."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def read_build(tag: str, events: Iterable[Mapping[str, Any]], on_line: Callable[[str], None]) -> Sequence[str]:
    """Tell every line of a build; its last ones.

    Raises:
        ImageError: a step failed.
        DiskFullError: no room for it.
    """
    tail: list[str] = []
    for event in events:
        if "error" in event:
            raise _build_error(tag, str(event["error"]).strip(), tail)
        for line in str(event.get("stream", "")).splitlines():
            if line.strip():
                tail = [*tail[1 - TAIL_LINES :], line]
                on_line(line)
    return tail


def _build_error(tag: str, message: str, tail: Sequence[str]) -> MusllinuxBuildError:
    if NO_SPACE.search(message):
        return disk_full(f"building {tag}", message)
    return ImageError(f"building the image {tag} failed: {message}", details="\n".join(tail))


def disk_full(doing: str, details: str) -> DiskFullError:
    """The engine has no room left."""
    resolution = "Free space on the engine's disk, for example: docker system prune"
    return DiskFullError(f"no space left while {doing}", details=details, resolution=resolution)
