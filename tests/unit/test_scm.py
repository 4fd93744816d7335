from __future__ import annotations

import tomllib

import pytest

from musllinux_build.scm import PRETEND, Scheme, describe_version, read_scheme

NODE = "g" + "0123456789" * 4
SCM = '[build-system]\nrequires = ["setuptools>=64", "setuptools_scm[toml]>=8"]\n[project]\nname = "My.pkg"\n'
HATCH = '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n[tool.hatch.version]\nsource = "vcs"\n'


@pytest.mark.parametrize(
    ("described", "version"),
    [
        # What setuptools-scm 10.3 says of repositories in these states.
        (f"v1.2.3-0-{NODE}", "1.2.3"),
        (f"v1.2.3-0-{NODE}-dirty", "1.2.4.dev0+g012345678.d20260102"),
        (f"1.2-5-{NODE}", "1.3.dev5+g012345678"),
        (f"1.2.3-5-{NODE}-dirty", "1.2.4.dev5+g012345678.d20260102"),
        (f"my-proj-2.0rc1-1-{NODE}", "2.0rc2.dev1+g012345678"),
        (f"2.0.dev0-1-{NODE}", "2.0.dev1+g012345678"),
        (f"3.0.post1-2-{NODE}", "3.0.post2.dev2+g012345678"),
        (f"5.0+local-0-{NODE}", "5.0+local"),
        (f"0.0-7-{NODE}", "0.1.dev7+g012345678"),
    ],
)
def test_the_default_scheme(described: str, version: str) -> None:
    assert describe_version(described, Scheme(variable=PRETEND), "20260102") == version


def test_no_local_version() -> None:
    scheme = Scheme(variable=PRETEND, local=False)
    assert describe_version(f"v1.0-3-{NODE}-dirty", scheme, "20260102") == "1.1.dev3"


@pytest.mark.parametrize("tag", ["release/2024-01", "1.0.dev4"])
def test_a_tag_that_setuptools_scm_refuses_too(tag: str) -> None:
    with pytest.raises(ValueError, match="the tag"):
        describe_version(f"{tag}-1-{NODE}", Scheme(variable=PRETEND), "20260102")


@pytest.mark.parametrize(
    ("pyproject", "scheme"),
    [
        (f"{SCM}[tool.setuptools_scm]", Scheme(variable=f"{PRETEND}_FOR_MY_PKG")),
        ("[tool.setuptools_scm]", Scheme(variable=PRETEND)),
        (
            f'{SCM}[tool.setuptools_scm]\nroot = ".."\nversion_file = "v.py"',
            Scheme(variable=f"{PRETEND}_FOR_MY_PKG", root=".."),
        ),
        ('[tool.setuptools_scm]\nlocal_scheme = "no-local-version"', Scheme(variable=PRETEND, local=False)),
        ("[tool.setuptools_scm]\nsearch_parent_directories = true", Scheme(variable=PRETEND, root=None)),
        (HATCH, Scheme(variable=PRETEND)),
        (
            f'{HATCH}fallback-version = "2.0"\nraw-options = {{ root = ".." }}',
            Scheme(variable=PRETEND, root="..", untagged="2.0"),
        ),
        ('[build-system]\nrequires = ["setuptools-scm[simple]"]', Scheme(variable=PRETEND)),
        (f'{SCM}version = "1.0"', None),
        ('[build-system]\nrequires = ["hatchling", "not a requirement!"]', None),
        ("build-system = 3", None),
        ("", None),
    ],
)
def test_what_pyproject_says(pyproject: str, scheme: Scheme | None) -> None:
    assert read_scheme(tomllib.loads(pyproject)) == scheme


@pytest.mark.parametrize(
    ("pyproject", "named"),
    [
        ('[tool.setuptools_scm]\nversion_scheme = "calver-by-date"', "version_scheme"),
        ('[tool.setuptools_scm]\nlocal_scheme = "dirty-tag"', "local_scheme"),
        ('[tool.setuptools_scm]\ntag_regex = "x"', "tag_regex"),
        (f'{HATCH}tag-pattern = "x"', "tag-pattern"),
        (SCM, "without"),
        ('[tool.pdm.version]\nsource = "scm"', "pdm"),
        ('[build-system]\nrequires = ["versioningit"]', "versioningit"),
    ],
)
def test_what_is_left_to_git_in_the_image(pyproject: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_scheme(tomllib.loads(pyproject))
