"""``musllinux-build``: its subcommands, the default one, and the only place that turns errors into exits."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from musllinux_build import __version__
from musllinux_build.errors import EngineError, MusllinuxBuildError, UsageError
from musllinux_build.plaintext import plain_line

# name → (module, attribute, one line of help): a module is imported only when its command runs.
COMMANDS = {
    "build": ("musllinux_build.cli.build", "build", "Build, graft, tag and prove the wheels of a project (default)."),
    "plan": ("musllinux_build.cli.plan", "plan_command", "Say what would be built, as the matrix of a CI system."),
    "merge": ("musllinux_build.cli.merge", "merge_command", "Check and put together what several machines built."),
    "audit": ("musllinux_build.cli.audit", "audit", "Say whether wheels load where their tag says, and mend them."),
    "survey": ("musllinux_build.cli.survey", "survey", "Say which published wheels break their tag, and why."),
    "policy": ("musllinux_build.cli.policy", "policy", "Record releases of musl, derive the policies, and check them."),
    "images": ("musllinux_build.cli.images", "images", "Lock and build the images."),
    "cache": ("musllinux_build.cli.cache", "cache_command", "Say what is kept for later runs, and remove it."),
    "doctor": ("musllinux_build.cli.doctor", "doctor", "Check engine, emulation and network; --fix mends them."),
}

ENGINE_MODULES = frozenset({"docker", "requests"})
"""What an image's own copy of the tool may lack."""


CLOSED_PIPE = 141
"""128 + SIGPIPE: the status a shell gives a program that ended because nobody reads its output."""


class OutputClosedError(Exception):
    """Whoever read our output has seen enough."""


@contextmanager
def _closed_output_told() -> Iterator[None]:
    """Tell of a closed pipe before click and rich end the process with 1, which is a verdict of the audit.

    Raises:
        OutputClosedError: standard output or standard error has no reader any more.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except SystemExit as stop:  # how rich's Console.on_broken_pipe ends
        if isinstance(stop.__context__, BrokenPipeError):
            raise OutputClosedError from stop
        raise


class PipedGroup(click.Group):
    """A group that says when its output has no reader, while options are parsed (``--help``) and later."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's."""
        with _closed_output_told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with _closed_output_told():
            return super().invoke(ctx)


class DefaultGroup(PipedGroup):
    """A group whose first argument may be a SOURCE: ``musllinux-build .`` is ``musllinux-build build .``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``build`` in front of what is neither a command nor an option of the group.

        Raises:
            UsageError: it looks like a command that is misspelt, or is one of ``audit``'s.
        """
        if args and args[0] not in COMMANDS and args[0] not in ("--help", "-h", "--version"):
            if not args[0].startswith("-") and not os.access(args[0], os.F_OK):
                refuse_misspelt(args[0])
            args = ["build", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table's one-line help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def refuse_misspelt(word: str) -> None:
    """Say which command a word that is no path must have meant; nothing where it is like none.

    Raises:
        UsageError: it is like one.
    """
    import difflib  # noqa: PLC0415 - only on the error path

    below = {"show": "audit show", "repair": "audit repair", "verify": "images verify", "publish": "images publish"}
    near = difflib.get_close_matches(word, [*COMMANDS, *below], n=1, cutoff=0.75)
    if near:
        meant = below.get(near[0], near[0])
        raise UsageError(f"{word} is no command and no project", resolution=f"Did you mean musllinux-build {meant}?")


@click.group(
    cls=DefaultGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    subcommand_metavar="[COMMAND] [SOURCE] [ARGS]...",
)
@click.version_option(__version__, prog_name="musllinux-build")
def main() -> None:
    """Build, graft, tag and prove musllinux wheels on real Alpine.

    Without a COMMAND the project in SOURCE is built: "musllinux-build ." builds the project in this directory.
    """


def run() -> None:
    """The program; exits with the code of docs/exit-codes.md."""
    try:
        _run()
    except (OutputClosedError, BrokenPipeError):  # the command's output, or what is said of its failure
        _end_unread()


def _run() -> NoReturn:
    try:
        status = main.main(prog_name="musllinux-build", standalone_mode=False)
        sys.stdout.flush()
    except MusllinuxBuildError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("error: interrupted", err=True)
        sys.exit(130)
    except (OutputClosedError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence
        _end_unexpectedly(error)
    leave(status if isinstance(status, int) else 0)


def _end_unread() -> NoReturn:
    """End as SIGPIPE ends a program; what waits in a buffer goes nowhere, or the last flush would fail, too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    leave(CLOSED_PIPE)


def _end_unexpectedly(error: Exception) -> NoReturn:
    """Say what is missing, or that it is our fault."""
    if isinstance(error, ModuleNotFoundError) and error.name in ENGINE_MODULES:
        brief = f"this installation has no {error.name}, which engines and registries are spoken to with"
        show_error(EngineError(brief, resolution=f"pip install {error.name}"))
        sys.exit(EngineError.exit_code)
    import traceback  # noqa: PLC0415 - not before it is needed

    traceback.print_exception(error)
    click.echo("error: this is a bug in musllinux-build, please report it with the lines above", err=True)
    sys.exit(MusllinuxBuildError.exit_code)


def leave(status: int) -> NoReturn:
    """End the process, at once where nothing waits for its end.

    Taking the interpreter apart takes longer than auditing a small wheel, and frees what the system frees anyway. What
    was registered for the end is done first; a thread that still runs is waited for in the usual way.
    """
    if threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - what Py_Finalize calls; there is no other name for it
    sys.stderr.flush()
    os._exit(status)


def show_error(error: MusllinuxBuildError) -> None:
    """What happened, details, what to do; on standard error."""
    click.echo(click.style("error: ", fg="red", bold=True) + plain_line(error.brief), err=True)
    for line in error.details.splitlines():
        click.echo(plain_line(f"  | {line}"), err=True)
    for line in error.resolution.splitlines():
        click.echo(plain_line(f"  → {line}"), err=True)
