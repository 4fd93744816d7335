"""Text and JSON on standard output: names of strangers are in it, so it is made plain first."""

from __future__ import annotations

import json

import click

from musllinux_build.plaintext import plain_json, plain_line


def say(line: str, *, err: bool = False) -> None:
    """One line; control characters and commands in it are shown and not obeyed."""
    click.echo(plain_line(line), err=err)


def say_json(document: object) -> None:
    """A document that every JSON reader takes."""
    click.echo(json.dumps(plain_json(document), indent=2))
