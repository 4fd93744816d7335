"""Lies in a foreign build environment that has Cython, and has a native interpreter translate what Cython is asked to.

Cython's output is C, the same on every architecture. Imported by a ``.pth`` file when the environment's interpreter
starts, it waits for ``Cython.Build.Dependencies`` and replaces the function that translates one file; run as a program
by the native interpreter, it is the other end. What cannot be handed over is translated where it is. Runs on CPython
3.9 and later, needs nothing but the standard library and, at the other end, the same Cython.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import pickle
import platform
import subprocess
import sys
from typing import Any

NATIVE = "/opt/musllinux-build/python/bin/python3"
MODULE = "Cython.Build.Dependencies"
CANNOT = 75
"""The other end could not begin: nothing was translated."""


def native_packages() -> str:
    """The directory of the Cython for the native interpreter: ``native`` of the environment."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, "native")


def replace(module: Any) -> None:
    """Hand over what ``cythonize_one`` of ``module`` is asked to do."""
    here = module.cythonize_one
    print(f"Cython translates with {NATIVE}", file=sys.stderr)

    def cythonize_one(*arguments: Any, **options: Any) -> Any:
        try:
            request = pickle.dumps((arguments, options, sys.path, os.uname().machine))
        except Exception:  # whatever a project has put into its options
            return here(*arguments, **options)
        done = subprocess.run([NATIVE, "-I", os.path.abspath(__file__)], input=request)
        if done.returncode == CANNOT:
            return here(*arguments, **options)
        if done.returncode:
            from Cython.Compiler.Errors import (  # type: ignore[import-not-found] # noqa: PLC0415 - the environment's
                CompileError,
            )

            raise CompileError(None, f"{arguments[0]}: see above")
        return None

    module.cythonize_one = cythonize_one


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module as everybody does, once, and has it changed when it is loaded."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:  # noqa: ARG002 - the protocol's
        """The module's own spec, with another loader."""
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


class Loader(importlib.abc.Loader):
    """Loads a module as ``inner`` does, and changes it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create_module(self, spec: Any) -> Any:
        """As ``inner`` does."""
        return self.inner.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """As ``inner`` does, and then the change."""
        self.inner.exec_module(module)
        replace(module)


def main() -> None:
    """The other end."""
    sys.path.insert(0, native_packages())
    try:
        arguments, options, path, machine = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that began this
        from Cython.Build.Dependencies import (  # type: ignore[import-not-found] # noqa: PLC0415 - the environment's
            cythonize_one,
        )
    except Exception as error:
        print(f"Cython is not run natively: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    # Where it looks for .pxd files; what is compiled there is of another architecture and is not imported.
    sys.path += [place for place in path if place not in sys.path]
    names = platform.uname()
    platform.uname = lambda: names._replace(machine=machine)
    try:
        cythonize_one(*arguments, **options)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


if __name__ == "__main__":
    main()
elif os.access(NATIVE, os.X_OK):
    sys.meta_path.insert(0, Finder())
