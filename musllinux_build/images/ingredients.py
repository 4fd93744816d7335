"""What goes into a stage's build context beside pinned files: the shipped Dockerfile, its scripts, packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from musllinux_build.errors import ImageError
from musllinux_build.images.recipe import ImageRecipe, apk_branch
from musllinux_build.images.supplies import Supplies
from musllinux_build.shipped import shipped


def declared_arguments(dockerfile: str) -> frozenset[str]:
    """The build arguments that a Dockerfile takes; an engine warns of others."""
    return frozenset(re.findall(r"^ARG (\w+)$", dockerfile, re.MULTILINE))


def shipped_files(dockerfile: str = "Dockerfile") -> Mapping[str, Path]:
    """A Dockerfile and the scripts it names, by their path in the context."""
    root = shipped("dockerfiles")
    named = re.findall(r"scripts/([\w.-]+)", (root / dockerfile).read_text(encoding="utf-8"))
    scripts = {f"scripts/{name}": root / "scripts" / name for name in named if (root / "scripts" / name).is_file()}
    return {dockerfile: root / dockerfile, **scripts}


def package_files(supplies: Supplies, recipe: ImageRecipe) -> Mapping[str, Path]:
    """The packages and keys of a mirror directory that this architecture needs, by their path in the context.

    Raises:
        ImageError: the directory has no index for it.
    """
    root = supplies.apk_directory()
    if root is None:
        return {}
    branch = apk_branch(recipe.policy.row.base)
    packages = root / branch / "main" / recipe.arch.row.apk
    if not (packages / "APKINDEX.tar.gz").is_file():
        raise ImageError(
            f"the package mirror has nothing for {recipe.policy.platform_tag(recipe.arch)}",
            details=f"{packages / 'APKINDEX.tar.gz'} is missing",
            resolution="Name a mirror with this architecture.",
        )
    inside = f"apk/{branch}/main/{recipe.arch.row.apk}"
    return {
        **{f"{inside}/{path.name}": path for path in packages.iterdir() if path.suffix in (".apk", ".gz")},
        **{f"apk/keys/{path.name}": path for path in (root / "keys").glob("*.rsa.pub")},
    }
