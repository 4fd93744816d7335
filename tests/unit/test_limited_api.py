import json
from pathlib import Path

import pytest

from musllinux_build.arch import Arch
from musllinux_build.audit.judge import judge_wheel
from musllinux_build.audit.limited_api import derive_limited_api, load_limited_api, parse_limited_api
from tests.unit.auditing import extension, put_wheel


def test_names_of_a_source_tree() -> None:
    items: dict[str, dict[str, dict[str, object]]] = {
        "function": {
            "PyOld": {"added": "3.2"},
            "PyNew": {"added": "3.13"},
            "PyErr_SetFromWindowsErr": {"added": "3.7", "ifdef": "MS_WINDOWS"},
            "PyThread_id": {"added": "3.2", "ifdef": "PY_HAVE_THREAD_NATIVE_ID"},
        },
        "data": {"PyData": {"added": "3.9", "abi_only": True}},
        "macro": {"Py_MACRO": {"added": "3.2"}},
    }
    text = derive_limited_api(items, "3.13.5")
    assert parse_limited_api(text) == {"PyOld": 2, "PyNew": 13, "PyThread_id": 2, "PyData": 9}
    assert list(json.loads(text)["added"]) == ["3.2", "3.9", "3.13"]
    with pytest.raises(ValueError, match="schema"):
        parse_limited_api(text.replace('"schema": 1', '"schema": 2'))


def test_the_committed_names() -> None:
    names = load_limited_api()
    expected = {
        "PyType_FromSpec": 2,
        "PyModule_AddObjectRef": 10,
        "PyObject_GetBuffer": 11,
        "PyType_GetBaseByToken": 14,
    }
    assert {name: names[name] for name in expected} == expected
    assert "_PyObject_GetDictPtr" not in names
    assert len(names) > 900


@pytest.mark.parametrize(
    ("tag", "symbols", "found"),
    [
        ("cp39-abi3", ["PyType_FromSpec", "PyObject_Vectorcall"], {"abi3-too-new": "PyObject_Vectorcall"}),
        ("cp312-abi3", ["PyType_FromSpec", "PyObject_Vectorcall"], {}),
        ("cp39-abi3", ["_PyRuntime", "PyUnstable_X"], {"abi3-outside-limited-api": "PyUnstable_X, _PyRuntime"}),
        ("cp313-cp313", ["_PyRuntime"], {}),
    ],
)
def test_an_abi3_wheel_keeps_to_it(tmp_path: Path, tag: str, symbols: list[str], found: dict[str, str]) -> None:
    wheel = put_wheel(tmp_path, {"x.abi3.so": extension(undefined=symbols)}, Arch.X86_64, tag=f"{tag}-linux_x86_64")
    assert {finding.rule: finding.evidence for finding in judge_wheel(wheel).findings} == found


def test_what_a_wheel_brings_itself_is_not_of_cpython(tmp_path: Path) -> None:
    files = {
        "x.abi3.so": extension(needed=["liba-0123abcd.so"], rpath="$ORIGIN", undefined=["PyPrivate_x"]),
        "liba-0123abcd.so": extension(exports=["PyPrivate_x"]),
    }
    assert judge_wheel(put_wheel(tmp_path, files, tag="cp39-abi3-linux_x86_64")).conforms
