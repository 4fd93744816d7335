"""Lies in a build environment whose interpreter is native, and has it answer as the target's would.

Imported by a ``.pth`` file when the interpreter starts; what to answer lies beside it as JSON. Build backends ask for
the machine, the platform, the suffix of extensions and where the headers are: all of that is the target's. What the
interpreter imports itself stays native. For targets with the native word size and byte order. Runs on CPython 3.9 and
later, needs nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

with open(os.path.splitext(os.path.abspath(__file__))[0] + ".json") as _file:
    TARGET = json.load(_file)


def answer_uname() -> None:
    """uname(2) of a native process names the engine's machine; ``platform`` asks this function, too."""
    system = os.uname

    def uname() -> os.uname_result:
        found = system()
        return os.uname_result((found.sysname, found.nodename, found.release, found.version, TARGET["machine"]))

    os.uname = uname


def answer_sysconfig() -> None:
    """The build-time variables of the target's interpreter, its platform, and where its headers are."""
    name = f"_sysconfigdata_{sys.abiflags}_linux_{TARGET['multiarch']}"
    path = os.path.join(TARGET["home"], "lib", TARGET["library"], f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = name
    os.environ["_PYTHON_HOST_PLATFORM"] = f"linux-{TARGET['machine']}"
    sys.base_prefix = sys.base_exec_prefix = TARGET["home"]
    sys.implementation._multiarch = TARGET["multiarch"]  # type: ignore[attr-defined] # noqa: SLF001 - sysconfig's name
    if (sysconfig := sys.modules.get("sysconfig")) is not None:
        for variable in ("_BASE_PREFIX", "_BASE_EXEC_PREFIX"):
            setattr(sysconfig, variable, TARGET["home"])
        setattr(sysconfig, "_CONFIG_VARS", None)  # noqa: B010 - a private name
        setattr(sysconfig, "_CONFIG_VARS_INITIALIZED", False)  # noqa: B010 - as above


answer_uname()
answer_sysconfig()
