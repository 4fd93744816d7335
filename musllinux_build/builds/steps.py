"""Target and Config → what runs in the container, as data: argument vectors, environment, directories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from musllinux_build.config import Config
from musllinux_build.plan import Target
from musllinux_build.toolchain import path_with_toolchain

PROJECT = "/project"
WORK = "/tmp/musllinux-build"  # noqa: S108 - inside a container that nobody else enters
DIST = f"{WORK}/dist"
CA_BUNDLE = f"{WORK}/ca-bundle.pem"
# Every client that a build is likely to start reads one of these.
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command in the container; ``title`` is what the user sees."""

    title: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


def base_environment(image_env: Mapping[str, str], index: Mapping[str, str], *, with_ca: bool) -> Mapping[str, str]:
    """What every command gets: the image's environment, the host's index settings and its CA bundle."""
    ca = dict.fromkeys(CA_VARIABLES, CA_BUNDLE) if with_ca else {}
    return MappingProxyType(
        {
            **image_env,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "MUSLLINUX_BUILD": "1",
            **index,
            **ca,
        }
    )


def expand(environment: Mapping[str, str], known: Mapping[str, str]) -> Mapping[str, str]:
    """``environment`` over ``known``, ``$NAME`` and ``${NAME}`` replaced by what stood before (unknown: empty)."""
    result = dict(known)
    for name, value in environment.items():
        result[name] = _REFERENCE.sub(lambda found: result.get(found[1] or found[2], ""), value)
    return MappingProxyType(result)


def target_environment(target: Target, config: Config, base: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of one wheel's build: its interpreter, then the compilers, first in PATH."""
    path = path_with_toolchain(target.arch, base["PATH"])
    own = {**base, "PATH": f"{target.python.prefix}/bin:{path}", "MUSLLINUX_BUILD_IDENTIFIER": target.identifier}
    return expand(config.environment, own)


def before_all_step(target: Target, config: Config, base: Mapping[str, str]) -> Step:
    """``before-all`` once for an image; the compilers are in PATH, no interpreter is."""
    env = {**base, "PATH": path_with_toolchain(target.arch, base["PATH"])}
    return Step(
        title="before-all",
        argv=_shell(target, config.before_all, PROJECT),
        env=expand(config.environment, env),
        cwd=PROJECT,
    )


def build_steps(target: Target, config: Config, base: Mapping[str, str]) -> tuple[Step, ...]:
    """``before-build`` and the PEP 517 build of one wheel, which appears in DIST."""
    env = target_environment(target, config, base)
    build = (f"{target.python.prefix}/bin/python", "-m", "build", "--wheel", "--outdir", DIST, PROJECT)
    steps = [Step(title="build", argv=_personality(target, build), env=env, cwd=PROJECT)]
    if config.before_build:
        argv = _shell(target, config.before_build, PROJECT)
        steps.insert(0, Step(title="before-build", argv=argv, env=env, cwd=PROJECT))
    return tuple(steps)


def install_step(target: Target, config: Config, base: Mapping[str, str], wheel: str) -> Step:
    """Install the wheel and what its test requires with the interpreter under proof."""
    python = f"{target.python.prefix}/bin/python"
    argv = (python, "-m", "pip", "install", "--no-cache-dir", "--no-compile", wheel, *config.test_requires)
    return Step(title="install", argv=_personality(target, argv), env=_test_environment(target, base), cwd=WORK)


def import_step(target: Target, base: Mapping[str, str], script: str) -> Step:
    """Import and load what the wheel brought."""
    argv = (f"{target.python.prefix}/bin/python", "-I", "-c", script)
    return Step(title="import", argv=_personality(target, argv), env=_test_environment(target, base), cwd=WORK)


def test_step(target: Target, config: Config, base: Mapping[str, str]) -> Step:
    """The user's test command; ``{project}`` is the source tree."""
    env = expand(config.environment, _test_environment(target, base))
    return Step(title="test", argv=_shell(target, config.test_command, PROJECT), env=env, cwd=WORK)


def _test_environment(target: Target, base: Mapping[str, str]) -> Mapping[str, str]:
    return {**base, "PATH": f"{target.python.prefix}/bin:{base['PATH']}"}


def _shell(target: Target, script: str, project: str) -> tuple[str, ...]:
    filled = script.replace("{project}", project).replace("{package}", project)
    return _personality(target, ("/bin/sh", "-ec", filled))


def _personality(target: Target, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A 32-bit process must see a 32-bit machine; an exec bypasses the image's entrypoint (personality(2))."""
    personality = target.arch.row.personality
    return (personality, *argv) if personality else argv
