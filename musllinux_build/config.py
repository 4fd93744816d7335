"""What the user asked for: ``[tool.musllinux-build]``, the environment and the command line, as one frozen value."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

from musllinux_build.arch import Arch
from musllinux_build.engines import EngineSpec, parse_engine
from musllinux_build.errors import UsageError, near_miss
from musllinux_build.policy import Policy, known_policies
from musllinux_build.python import PythonTag

TABLE = "tool.musllinux-build"
PullPolicy = Literal["missing", "always", "never"]
Compiler = Literal["auto", "clang", "gcc"]
"""``auto``: clang, and the image's gcc for what clang does not compile; ``gcc``: the image's alone."""
Member = TypeVar("Member", Arch, Policy)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")

Accel = Literal["off", "compiler", "full", "python"]
"""How much of a foreign build is native: nothing, the compiler, all that is not the project's own program, or also the
interpreter that builds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides what is built and how; empty tuples mean "the default"."""

    archs: tuple[Arch, ...] = ()
    policies: tuple[Policy, ...] = ()
    pythons: tuple[PythonTag, ...] = ()
    build: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    before_all: str = ""
    before_build: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    test_command: str = ""
    test_requires: tuple[str, ...] = ()
    engines: tuple[EngineSpec, ...] = ()
    compiler: Compiler = "auto"
    accel: Accel = "full"
    pull: PullPolicy = "missing"
    registry: str = ""
    verify: bool = True


def parse_config(table: Mapping[str, object]) -> Config:
    """The Config in the table ``[tool.musllinux-build]``.

    Raises:
        UsageError: all wrong keys and values together, each with its dotted path.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    for key, value in table.items():
        reader = _READERS.get(key)
        if reader is None:
            problems.append(f"{TABLE}.{key}: unknown key; {near_miss(key, sorted(_READERS))}")
            continue
        try:
            values[key.replace("-", "_")] = reader(value)
        except ValueError as error:
            problems.append(f"{TABLE}.{key}: {error}")
    if problems:
        raise UsageError(
            "the configuration in pyproject.toml is wrong",
            details="\n".join(problems),
            resolution=f"Correct the keys named above in [{TABLE}].",
        )
    return replace(Config(), **values)  # type: ignore[arg-type] # each reader returns its field's type


def parse_arch(text: str) -> tuple[Arch, ...]:
    """``aarch64`` or ``all``.

    Raises:
        ValueError: no such architecture; names the near miss.
    """
    return _parse_member(text, list(Arch), "architecture")


def parse_policy(text: str) -> tuple[Policy, ...]:
    """``musllinux_1_2`` or ``all``.

    Raises:
        ValueError: no such policy; names the near miss.
    """
    return _parse_member(text, known_policies(), "policy")


def parse_python(text: str) -> PythonTag:
    """``cp313`` in any of its forms.

    Raises:
        ValueError: not a CPython tag.
    """
    try:
        return PythonTag.parse(text)
    except ValueError:
        raise ValueError(f"unknown Python {text!r}; write it as 3.13, cp313 or cp313t") from None


def parse_environment(text: str) -> Mapping[str, str]:
    """``A=1 B='two words'`` as a shell would split it.

    Raises:
        ValueError: a word is no assignment.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error} in {text!r}") from None
    assignments: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not _NAME.match(name):
            raise ValueError(f"{word!r} is not NAME=VALUE")
        assignments[name] = value
    return MappingProxyType(assignments)


def parse_only(text: str) -> tuple[PythonTag, str]:
    """The Python and the platform part of one identifier (``cp313-musllinux_1_2_x86_64``).

    Raises:
        ValueError: not an identifier.
    """
    python, dash, platform = text.partition("-")
    if not dash or not platform.startswith("musllinux_"):
        raise ValueError(f"{text!r} is not an identifier such as cp313-musllinux_1_2_x86_64")
    return parse_python(python), platform


def _parse_member(text: str, vocabulary: Sequence[Member], what: str) -> tuple[Member, ...]:
    if text == "all":
        return tuple(vocabulary)
    found = tuple(member for member in vocabulary if member.value == text)
    if not found:
        known = [*(str(member.value) for member in vocabulary), "all"]
        raise ValueError(f"unknown {what} {text!r}; {near_miss(text, known)}")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, is {value!r}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, is {value!r}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    """A list of strings, or one string with words between spaces (as cibuildwheel takes both)."""
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f"must be a list of strings, is {value!r}")


def _lines(value: object) -> tuple[str, ...]:
    """A list of strings, or one string: requirements contain spaces."""
    return (value,) if isinstance(value, str) else _texts(value)


def _script(value: object) -> str:
    """A shell script; the lines of a list are joined by ``&&`` (as cibuildwheel does)."""
    if isinstance(value, list):
        return " && ".join(_texts(value))
    return _text(value)


def _environment(value: object) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        for name, content in value.items():
            if not _NAME.match(str(name)) or not isinstance(content, str):
                raise ValueError(f"{name!r} must be a variable name with a string value")
        return MappingProxyType({str(name): str(content) for name, content in value.items()})
    return parse_environment(_text(value))


def _choice(choices: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, is {value!r}")
        return str(value)

    return read


def _engines(value: object) -> tuple[EngineSpec, ...]:
    """A table of architectures, and ``default`` for the rest; a value is one engine or a list of them."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of engines by architecture, is {value!r}")
    found: list[EngineSpec] = []
    for name, texts in value.items():
        if name != "default" and name not in {arch.value for arch in Arch}:
            raise ValueError(f"unknown architecture {name!r}; {near_miss(str(name), [a.value for a in Arch])}")
        arch = None if name == "default" else Arch(name)
        found += [parse_engine(text, arch) for text in ([texts] if isinstance(texts, str) else _texts(texts))]
    return tuple(found)


def _archs(value: object) -> tuple[Arch, ...]:
    return tuple(dict.fromkeys(arch for text in _texts(value) for arch in parse_arch(text)))


def _policies(value: object) -> tuple[Policy, ...]:
    return tuple(dict.fromkeys(policy for text in _texts(value) for policy in parse_policy(text)))


def _pythons(value: object) -> tuple[PythonTag, ...]:
    texts: Sequence[str] = _texts(value)
    return () if "all" in texts else tuple(dict.fromkeys(parse_python(text) for text in texts))


_READERS: Mapping[str, Callable[[object], object]] = {
    "archs": _archs,
    "policies": _policies,
    "pythons": _pythons,
    "build": _texts,
    "skip": _texts,
    "before-all": _script,
    "before-build": _script,
    "environment": _environment,
    "test-command": _script,
    "test-requires": _lines,
    "engines": _engines,
    "compiler": _choice(get_args(Compiler)),
    "accel": _choice(get_args(Accel)),
    "pull": _choice(get_args(PullPolicy)),
    "registry": _text,
    "verify": _flag,
}
