"""Build, graft, tag and prove musllinux wheels on real Alpine.

``read``, ``judge``, ``plan_graft`` and ``apply`` are the auditor as a library; musllinux_build.api has its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musllinux_build.api import apply, judge, plan_graft, read

__version__ = "0.1.0"
__all__ = ["__version__", "apply", "judge", "plan_graft", "read"]


def __getattr__(name: str) -> object:
    """The library's functions, imported when first asked for: the command line starts without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from musllinux_build import api  # noqa: PLC0415 - lazily on purpose

    return getattr(api, name)
