"""Text and JSON on standard output: names of strangers are in it, so it is made plain first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from musllinux_build.errors import MusllinuxBuildError, UsageError
from musllinux_build.plaintext import plain_json, plain_line
from musllinux_build.report import error_json


def say(line: str, *, err: bool = False) -> None:
    """One line; control characters and commands in it are shown and not obeyed."""
    click.echo(plain_line(line), err=err)


def say_json(document: object) -> None:
    """A document that every JSON reader takes."""
    click.echo(json.dumps(plain_json(document), indent=2))


@contextmanager
def failures_as_json(*, wanted: bool) -> Iterator[None]:
    """What goes wrong in the block is a document, too, where that is ``wanted``."""
    try:
        yield
    except MusllinuxBuildError as error:
        if wanted:
            say_json(error_json(error))
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named, in a directory that is made if need be.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}", details=str(error)) from error
