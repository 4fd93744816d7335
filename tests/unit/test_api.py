"""docs/api.md tells the truth: its examples are run, and what it calls stable is there."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import musllinux_build
from musllinux_build import api
from tests.elfgen import Obj, build
from tests.unit.auditing import DictSysroot, extension, module_name, put_wheel

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
LIBRARY = "usr/lib/libyaml-0.so.2.0.9"


def prepare(directory: Path) -> Path:
    """The files that the examples are about; the wheel that needs a library."""
    root = directory / "root"
    (root / LIBRARY).parent.mkdir(parents=True)
    (root / LIBRARY).write_bytes(build(Obj(soname="libyaml-0.so.2", exports=["yaml_parse"])))
    (root / "usr/lib/libyaml-0.so.2").symlink_to("libyaml-0.so.2.0.9")
    newer = {module_name(): extension(undefined=["qsort_r"])}
    put_wheel(directory, newer, distribution="new", tag="cp313-cp313-musllinux_1_2_x86_64")
    return put_wheel(directory, {module_name(): extension(needed=["libyaml-0.so.2"])})


def test_the_examples_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = DOCUMENT.read_text().split("```python\n")[1:]
    examples = "".join(block.split("```")[0] for block in blocks)
    test = doctest.DocTestParser().get_doctest(examples, {}, "api.md", str(DOCUMENT), 0)
    assert len(test.examples) > 15
    told: list[str] = []
    assert doctest.DocTestRunner().run(test, out=told.append).failed == 0, "".join(told)


def test_every_stable_name_is_there_and_documented_or_a_value() -> None:
    for name in api.__all__:
        assert inspect.getdoc(getattr(api, name))
    for name in ("read", "judge", "plan_graft", "apply"):
        assert getattr(musllinux_build, name) is getattr(api, name)
    with pytest.raises(AttributeError):
        _ = musllinux_build.nothing


def test_any_root_and_any_spelling_will_do(tmp_path: Path) -> None:
    path = prepare(tmp_path)
    root = DictSysroot(files={"/lib/libyaml-0.so.2": build(Obj(soname="libyaml-0.so.2"))})
    wheel = api.read(str(path))
    assert api.plan_graft(wheel, root=root).groups
    assert not api.judge(wheel, root=root).conforms
    assert [finding.rule for finding in api.judge(path, root=root).errors] == ["library-outside"]
    assert api.judge(wheel, arch="x86_64", policy=api.Policy.MUSLLINUX_1_1, whitelist=["libyaml-0.so.2"]).conforms
    for wrong in ({"arch": "x86"}, {"floor": "new"}, {"policy": "musllinux"}):
        with pytest.raises(api.UsageError):
            api.judge(wheel, **wrong)
    many = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-manylinux_2_17_x86_64")
    for refused in (api.judge, api.plan_graft):
        with pytest.raises(api.UsageError, match="promises no musllinux"):
            refused(many)
    with pytest.raises(api.UsageError, match="promises no musllinux"):
        api.apply(many, tmp_path / "out")
    assert api.judge(many, policy="musllinux_1_2").conforms
    pure = put_wheel(tmp_path, {"pure.py": b""}, distribution="pure", tag="py3-none-any")
    with pytest.raises(api.PureProjectError):
        api.judge(pure)


def test_the_version_costs_no_import() -> None:
    code = "import sys, musllinux_build; musllinux_build.__version__; print(sum('musllinux' in n for n in sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1"
