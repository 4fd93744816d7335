"""Target and Config → what runs in the container, as data: argument vectors, environment, directories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from musllinux_build.config import Config
from musllinux_build.plan import Target

PROJECT = "/project"
WORK = "/tmp/musllinux-build"  # noqa: S108 - inside a container that nobody else enters
CA_BUNDLE = f"{WORK}/ca-bundle.pem"
FALLBACKS = f"{WORK}/fallbacks"
"""Where the native compiler writes down what it left to the image's gcc (toolchains/launcher.c)."""
# Every client that a build is likely to start reads one of these.
CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
OF_FILES = frozenset(
    f"PIP_{name}" for name in ("CONSTRAINT", "BUILD_CONSTRAINT", "REQUIREMENT", "FIND_LINKS", "CONFIG_FILE")
)
"""Variables of pip's that name files, unless they name URLs."""
_FOR_PIP = re.compile(r"PIP_\w+|(?:https?|all|no)_proxy", re.IGNORECASE)
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where in its container a build finds the ``project``, and what is ours (``work``)."""

    project: str
    work: str

    @property
    def dist(self) -> str:
        """Where the built wheel appears."""
        return f"{self.work}/dist"


IN_CONTAINER = Places(project=PROJECT, work=WORK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Where a wheel is tried: ``programs`` is the directory with its interpreter, ``pip`` installs for that."""

    programs: str
    pip: tuple[str, ...]
    places: Places

    @property
    def python(self) -> str:
        """The interpreter."""
        return f"{self.programs}/python"


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


def pip_environment(config: Config, base: Mapping[str, str]) -> Mapping[str, str]:
    """Of the user's variables those that pip reads wherever it runs; what names files needs the project beside it."""
    values = expand(config.environment, base)
    return MappingProxyType({name: values[name] for name in config.environment if _FOR_PIP.fullmatch(name)})


def of_files(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables of pip's that name files here."""
    return tuple(name for name, value in environment.items() if name in OF_FILES and "://" not in value)


def target_environment(target: Target, config: Config, base: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of one wheel's build: its interpreter comes first in PATH."""
    own = _with_programs(f"{target.python.prefix}/bin", base)
    return expand(config.environment, {**own, "MUSLLINUX_BUILD_IDENTIFIER": target.identifier})


def before_all_step(target: Target, config: Config, base: Mapping[str, str], places: Places) -> Step:
    """``before-all`` once for an image; no interpreter is in PATH."""
    return Step(
        title="before-all",
        argv=_shell(target, config.before_all, places),
        env=expand(config.environment, base),
        cwd=places.project,
    )


def before_build_step(target: Target, config: Config, base: Mapping[str, str], places: Places) -> Step:
    """``before-build`` of one wheel."""
    env = target_environment(target, config, base)
    argv = _shell(target, config.before_build, places)
    return Step(title="before-build", argv=argv, env=env, cwd=places.project)


def build_step(target: Target, config: Config, base: Mapping[str, str], places: Places) -> Step:
    """The PEP 517 build of one wheel in an environment that is made for it there; it appears in ``places.dist``."""
    env = target_environment(target, config, base)
    python = f"{target.python.prefix}/bin/python"
    settings = (f"-C{key}={value}" for key, values in config.config_settings.items() for value in values)
    build = (python, "-m", "build", "--wheel", *settings, "--outdir", places.dist, places.project)
    return Step(title="build", argv=_personality(target, build), env=env, cwd=places.project)


def environment_steps(
    target: Target, config: Config, base: Mapping[str, str], home: str, commands: Mapping[str, tuple[str, ...]]
) -> tuple[Step, ...]:
    """Commands by their titles in the build environment ``home`` that was handed over, and in the project."""
    env = _with_programs(f"{home}/bin", target_environment(target, config, base))
    return tuple(
        Step(title=title, argv=_personality(target, argv), env=env, cwd=IN_CONTAINER.project)
        for title, argv in commands.items()
    )


def stock_trial(target: Target) -> Trial:
    """The interpreter itself, in a container that holds nothing else and is not kept."""
    python = f"{target.python.prefix}/bin/python"
    install = (python, "-m", "pip", "install", "--no-cache-dir", "--no-compile")
    return Trial(programs=f"{target.python.prefix}/bin", pip=install, places=IN_CONTAINER)


def fresh_trial(target: Target, places: Places) -> Trial:
    """A virtual environment with nothing in it, not even pip: the interpreter's own installs into it."""
    python, fresh = f"{target.python.prefix}/bin/python", f"{places.work}/fresh/bin"
    install = (python, "-m", "pip", "--python", f"{fresh}/python", "install", "--no-compile")
    return Trial(programs=fresh, pip=install, places=places)


def fresh_step(target: Target, base: Mapping[str, str], trial: Trial) -> Step:
    """Make the virtual environment of ``trial`` (venv(1) takes its directory)."""
    place = trial.programs.removesuffix("/bin")
    argv = (f"{target.python.prefix}/bin/python", "-m", "venv", "--without-pip", place)
    return Step(title="venv", argv=_personality(target, argv), env=base, cwd=trial.places.work)


def install_step(target: Target, config: Config, base: Mapping[str, str], trial: Trial, wheel: str) -> Step:
    """Install the wheel and what its test requires with the interpreter under proof."""
    argv = (*trial.pip, wheel, *config.test_requires)
    asked = pip_environment(config, base)
    there = {name: value for name, value in asked.items() if name not in of_files(asked)}
    env = _with_programs(trial.programs, {**base, **there})
    return Step(title="install", argv=_personality(target, argv), env=env, cwd=trial.places.work)


def import_step(target: Target, base: Mapping[str, str], trial: Trial, script: str) -> Step:
    """Import and load what the wheel brought."""
    argv = _personality(target, (trial.python, "-I", "-c", script))
    return Step(title="import", argv=argv, env=_with_programs(trial.programs, base), cwd=trial.places.work)


def test_step(target: Target, config: Config, base: Mapping[str, str], trial: Trial) -> Step:
    """The user's test command; ``{project}`` is the source tree."""
    env = expand(config.environment, _with_programs(trial.programs, base))
    argv = _shell(target, config.test_command, trial.places)
    return Step(title="test", argv=argv, env=env, cwd=trial.places.work)


def _with_programs(directory: str, base: Mapping[str, str]) -> Mapping[str, str]:
    return {**base, "PATH": f"{directory}:{base['PATH']}"}


def _shell(target: Target, script: str, places: Places) -> tuple[str, ...]:
    filled = script.replace("{project}", places.project).replace("{package}", places.project)
    return _personality(target, ("/bin/sh", "-ec", filled))


def _personality(target: Target, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A 32-bit process must see a 32-bit machine; an exec bypasses the image's entrypoint (personality(2))."""
    personality = target.arch.row.personality
    return (personality, *argv) if personality else argv
