"""What the user asked for: ``[tool.musllinux-build]``, the environment and the command line, as one frozen value."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

from packaging.requirements import InvalidRequirement, Requirement

from musllinux_build.arch import OTHER_NAMES, Arch
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
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\],<>=!~-]*")

CIBUILDWHEEL: Mapping[str, str] = MappingProxyType(
    {
        "before-test": "there is none: put it in front of test-command",
        "test-extras": "there is none: name what the extra requires in test-requires",
        "test-groups": "there is none: name what the group requires in test-requires",
        "test-sources": "there is none: test-command has the source tree as {project}",
        "test-skip": "there is none: --no-verify proves and tests nothing",
        "overrides": "there is none: call musllinux-build once for each selection",
        "build-frontend": "there is none: the hooks of PEP 517 are called in an environment made for them",
        "environment-pass": "there is none: write environment, or --environment NAME=$NAME on the command line",
        "repair-wheel-command": "there is none: audit and repair are part of every build",
        "container-engine": "engines (docs/engines.md)",
        "enable": "there is none: name the Python with pythons or --python",
        "free-threaded-support": "there is none: name the Python, for example cp314t",
        "manylinux-x86_64-image": "there is none: this tool builds musllinux wheels",
        "dependency-versions": "there is none: images have their pip and build from a lock",
        "output-dir": "there is none: --output DIRECTORY",
    }
)
"""Keys of cibuildwheel's that a project which comes from there has, and what takes their place (docs/options.md)."""

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
    config_settings: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """What the build backend is told (PEP 517); several values of a key are a list to it."""
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
            hint = CIBUILDWHEEL.get(key) or near_miss(key, sorted(_READERS))
            problems.append(f"{TABLE}.{key}: unknown key; {hint}")
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
    if text in OTHER_NAMES:
        raise ValueError(f"unknown architecture {text!r}; did you mean {OTHER_NAMES[text].value!r}?")
    if text in ("auto", "native"):
        raise ValueError(f"there is no architecture {text!r}; leave it out: the engine's own is the default")
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
        raise ValueError(f"unknown Python {text!r}; write it as 3.14, cp314 or cp314t") from None


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


def parse_settings(texts: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """``KEY=VALUE`` each; the values of one key in their order, as ``python -m build -C`` takes them.

    Raises:
        ValueError: one has no key or no value.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"{text!r} is not KEY=VALUE")
        found[key] = (*found.get(key, ()), value)
    return MappingProxyType(found)


def parse_requirements(texts: Sequence[str]) -> tuple[str, ...]:
    """Requirements (PEP 508), or paths and URLs, which pip takes too, each as it was written.

    Raises:
        ValueError: one is none, for example two in one string.
    """
    for text in texts:
        if "/" in text:
            continue
        try:
            Requirement(text)
        except InvalidRequirement as error:
            words = text.split()
            several = len(words) > 1 and all(map(_REQUIREMENT.fullmatch, words))
            remedy = f"; write a list: {json.dumps(words)}" if several else f": {str(error).splitlines()[0]}"
            raise ValueError(f"{text!r} is no requirement{remedy}") from None
    return tuple(texts)


def split_words(text: str) -> list[str]:
    """Names between blanks or commas."""
    return [word for word in re.split(r"[\s,]+", text) if word]


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


def _requirements(value: object) -> tuple[str, ...]:
    """A list of strings, or one string: requirements contain spaces."""
    return parse_requirements((value,) if isinstance(value, str) else _texts(value))


def _script(value: object) -> str:
    """A shell script; the lines of a list are joined by ``&&`` (as cibuildwheel does)."""
    if isinstance(value, list):
        return " && ".join(_texts(value))
    return _text(value)


def _settings(value: object) -> Mapping[str, tuple[str, ...]]:
    """A table whose values are strings or lists of them, or ``KEY=VALUE`` words as a shell would split them."""
    if not isinstance(value, Mapping):
        return parse_settings(shlex.split(_text(value)))
    return MappingProxyType({str(key): (one,) if isinstance(one, str) else _texts(one) for key, one in value.items()})


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


def _words(value: object) -> tuple[str, ...]:
    """Names, also between commas."""
    return tuple(word for text in _texts(value) for word in split_words(text))


def _archs(value: object) -> tuple[Arch, ...]:
    return tuple(dict.fromkeys(arch for text in _words(value) for arch in parse_arch(text)))


def _policies(value: object) -> tuple[Policy, ...]:
    return tuple(dict.fromkeys(policy for text in _words(value) for policy in parse_policy(text)))


def _pythons(value: object) -> tuple[PythonTag, ...]:
    texts = _words(value)
    return () if "all" in texts else tuple(dict.fromkeys(parse_python(text) for text in texts))


_READERS: Mapping[str, Callable[[object], object]] = {
    "archs": _archs,
    "policies": _policies,
    "pythons": _pythons,
    "build": _texts,
    "skip": _texts,
    "config-settings": _settings,
    "before-all": _script,
    "before-build": _script,
    "environment": _environment,
    "test-command": _script,
    "test-requires": _requirements,
    "engines": _engines,
    "compiler": _choice(get_args(Compiler)),
    "accel": _choice(get_args(Accel)),
    "pull": _choice(get_args(PullPolicy)),
    "registry": _text,
    "verify": _flag,
}
