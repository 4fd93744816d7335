"""Sent into a build container and run by the build environment's interpreter: ``run_hooks.py JSON``.

The hooks of PEP 517 in one start of the interpreter, which is what takes time under emulation. The backend is imported
once; its wishes are asked for in a child, so that the process that builds the wheel has run nothing before. Ends with
status 77 and a list in the file ``answer`` when the backend wants more than the environment has. Runs on CPython 3.9
and later, needs nothing but the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

WANTS_MORE = 77


def load(name: str, paths: list[str]) -> Any:
    """The backend object; one in the tree lies below one of ``paths`` (PEP 517, "In-tree build backends")."""
    roots = [os.path.realpath(path) for path in paths]
    sys.path[:0] = roots
    module, _, attributes = name.partition(":")
    backend = importlib.import_module(module)
    source = os.path.realpath(getattr(backend, "__file__", None) or "")
    if roots and not any(os.path.commonpath([source, root]) == root for root in roots):
        sys.exit(f"the backend {module} is {source}, not below backend-path")
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    return backend


def wishes(backend: Any, settings: dict[str, Any], answer: str) -> list[str]:
    """What the backend wants for a wheel, asked for in a child."""
    hook = getattr(backend, "get_requires_for_build_wheel", None)
    if hook is None:
        return []
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            with open(answer, "w") as file:
                json.dump(list(hook(settings)), file)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)  # as the interpreter does
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        # As a shell tells of a signal: what ended the backend is seen from outside.
        sys.exit(status if status > 0 else 128 - status)
    with open(answer) as file:
        return list(json.load(file))


def main() -> None:
    asked = json.loads(sys.argv[1])
    del sys.path[0], sys.argv[1:]
    backend = load(asked["backend"], asked["paths"])
    missing = [wish for wish in wishes(backend, asked["settings"], asked["answer"]) if wish not in asked["known"]]
    if missing:
        with open(asked["answer"], "w") as file:
            json.dump(missing, file)
        sys.exit(WANTS_MORE)
    os.makedirs(asked["dist"], exist_ok=True)
    name = backend.build_wheel(asked["dist"], asked["settings"])
    print("built", name)
    if asked["machine"] and not name.endswith((f"_{asked['machine']}.whl", "-any.whl")):
        os.unlink(os.path.join(asked["dist"], name))
        sys.exit(f"the backend took the machine for another one: {name}")


if __name__ == "__main__":
    main()
