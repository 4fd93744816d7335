from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musllinux_build.arch import Arch
from musllinux_build.builds.prove import wheel_contents
from musllinux_build.builds.steps import (
    CA_BUNDLE,
    IN_CONTAINER,
    PROJECT,
    Places,
    base_environment,
    before_all_step,
    before_build_step,
    build_step,
    environment_steps,
    expand,
    fresh_step,
    fresh_trial,
    import_step,
    install_step,
    stock_trial,
)
from musllinux_build.builds.steps import test_step as user_test_step
from musllinux_build.config import Config
from musllinux_build.plan import Target
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag

TARGET = Target(arch=Arch.AARCH64, policy=Policy.MUSLLINUX_1_2, python=PythonTag(3, 13))
BASE = base_environment({"PATH": "/usr/bin"}, {"PIP_INDEX_URL": "https://index.example/simple"}, with_ca=True)


def test_the_frontend_is_told_the_settings_of_the_backend() -> None:
    config = Config(config_settings={"setup-args": ("-Da=1", "-Db=2"), "x": ("",)})
    argv = build_step(TARGET, config, BASE, IN_CONTAINER).argv
    assert [word for word in argv if word.startswith("-C")] == ["-Csetup-args=-Da=1", "-Csetup-args=-Db=2", "-Cx="]


def test_every_command_has_index_and_certificates() -> None:
    assert BASE["PIP_INDEX_URL"] == "https://index.example/simple"
    assert BASE["PIP_CERT"] == BASE["SSL_CERT_FILE"] == CA_BUNDLE
    assert "PIP_CERT" not in base_environment({}, {}, with_ca=False)


def test_no_compiler_variables_are_set() -> None:
    env = build_step(TARGET, Config(), BASE, IN_CONTAINER).env
    assert not {"CC", "CXX", "CFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH", "MAKEFLAGS"} & set(env)


def test_the_interpreter_is_first() -> None:
    path = build_step(TARGET, Config(), BASE, IN_CONTAINER).env["PATH"]
    assert path == "/opt/python/cp313-cp313/bin:/usr/bin"


def test_build_is_pep_517_into_dist() -> None:
    before = before_build_step(TARGET, Config(before_build="make {project}/x"), BASE, IN_CONTAINER)
    build = build_step(TARGET, Config(), BASE, IN_CONTAINER)
    assert before.argv == ("/bin/sh", "-ec", f"make {PROJECT}/x")
    assert build.argv == (
        "/opt/python/cp313-cp313/bin/python",
        "-m",
        "build",
        "--wheel",
        "--outdir",
        IN_CONTAINER.dist,
        PROJECT,
    )
    assert build.cwd == PROJECT


@pytest.mark.parametrize("arch", [arch for arch in Arch if arch.row.personality])
def test_every_command_of_a_32_bit_target_has_its_personality(arch: Arch) -> None:
    target = Target(arch=arch, policy=Policy.MUSLLINUX_1_2, python=PythonTag(3, 11))
    config = Config(before_all="a", before_build="b", test_command="c")
    trials = [stock_trial(target), fresh_trial(target, Places(project="/a/project", work="/a/work"))]
    steps = [
        before_all_step(target, config, BASE, IN_CONTAINER),
        before_build_step(target, config, BASE, IN_CONTAINER),
        build_step(target, config, BASE, IN_CONTAINER),
        *environment_steps(target, config, BASE, "/env", {"build": ("/env/bin/python",)}),
        fresh_step(target, BASE, trials[1]),
        *(install_step(target, config, BASE, trial, "/x.whl") for trial in trials),
        *(import_step(target, BASE, trial, "") for trial in trials),
        *(user_test_step(target, config, BASE, trial) for trial in trials),
    ]
    assert {step.argv[0] for step in steps} == {"linux32"}


def test_a_fresh_environment_gets_the_wheel_from_the_interpreter_s_own_pip() -> None:
    trial = fresh_trial(TARGET, Places(project="/a/project", work="/a/work"))
    venv, install = fresh_step(TARGET, BASE, trial), install_step(TARGET, Config(), BASE, trial, "/x.whl")
    assert venv.argv[-2:] == ("--without-pip", "/a/work/fresh")
    assert venv.argv[0] == install.argv[0] == "/opt/python/cp313-cp313/bin/python"
    assert install.argv[3:6] == ("--python", "/a/work/fresh/bin/python", "install")
    assert import_step(TARGET, BASE, trial, "").argv[0] == "/a/work/fresh/bin/python"
    assert user_test_step(TARGET, Config(), BASE, trial).env["PATH"] == "/a/work/fresh/bin:/usr/bin"


def test_environment_is_expanded_over_what_is_there() -> None:
    env = expand({"A": "1", "PATH": "/mine:$PATH", "B": "${A}$UNKNOWN-$A"}, {"PATH": "/usr/bin"})
    assert env == {"PATH": "/mine:/usr/bin", "A": "1", "B": "1-1"}


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text().filter(lambda text: "$" not in text)))
def test_values_without_references_are_kept(environment: dict[str, str]) -> None:
    assert expand(environment, {}) == environment


def test_what_a_wheel_installs() -> None:
    found = wheel_contents(
        [
            "_yaml/__init__.py",
            "yaml/__init__.py",
            "yaml/_yaml.cpython-313-aarch64-linux-musl.so",
            "single.py",
            "_cffi_backend.cpython-313-aarch64-linux-musl.so",
            "PyYAML-6.dist-info/METADATA",
            "PyYAML-6.data/platlib/other/x.so",
            "PyYAML-6.data/scripts/run.py",
            "pyyaml.libs/libyaml-0-0123.so.2",
            "data-dir/x.py",
        ]
    )
    assert found.modules == ("_cffi_backend", "_yaml", "other", "single", "yaml")
    assert found.libraries == (
        "_cffi_backend.cpython-313-aarch64-linux-musl.so",
        "other/x.so",
        "yaml/_yaml.cpython-313-aarch64-linux-musl.so",
    )
