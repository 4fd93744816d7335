"""The main job inside an image of ours: what takes the engine's place, and what ``doctor`` looks at there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from musllinux_build.adapters.host import ca_bundle
from musllinux_build.cli.options import option
from musllinux_build.config import Config
from musllinux_build.plan import Plan, plan
from musllinux_build.ports import Engine, ImageInfo, Progress
from musllinux_build.project import Project
from musllinux_build.python import PythonTag
from musllinux_build.surroundings import PYTHONS, OwnImage, choose, own_environment, own_pythons

TYPE_CHECKING = False
if TYPE_CHECKING:
    from musllinux_build.builds.steps import Places
    from musllinux_build.builds.workshop import Supply

F = TypeVar("F", bound=Callable[..., Any])
IDENTITY = "this image"
WITHOUT_MEANING = ("pull", "registry", "offline", "lock", "apk_mirror", "source_mirror", "base_archives", "rebuild")


def inside_option(command: F) -> F:
    """``--inside/--no-inside``."""
    return option(
        "--inside/--no-inside",
        default=None,
        help="Build in the image that this runs in, without an engine (default: in a musllinux image without"
        " DOCKER_HOST), or with an engine.",
    )(command)


def own_image(wanted: bool | None) -> OwnImage | None:  # noqa: FBT001 - the option's three values
    """The image to build in, None where an engine is to be used.

    Raises:
        UsageError: ``wanted``, and this is no such image.
    """
    return choose(os.environ, os.path.exists, wanted=wanted)


def pythons_here() -> Sequence[PythonTag]:
    """The interpreters of this image."""
    return own_pythons(sorted(os.listdir(PYTHONS)) if os.path.isdir(PYTHONS) else (), os.path.exists)  # noqa: PTH208, PTH112 - names


def plan_inside(project: Project, config: Config, here: OwnImage) -> Plan:
    """What can be built in this image, and why the rest is not."""
    return plan(
        config,
        pythons=pythons_here(),
        requires_python=project.requires_python,
        native=here.arch,
        images={(here.policy, here.arch): ""},
        elsewhere=here.elsewhere,
    )


def warn_of_options(given: Mapping[str, Any], lines: Progress) -> None:
    """Say which options do nothing here."""
    for name in WITHOUT_MEANING:
        if given[name]:
            lines.warn(f"--{name.replace('_', '-')} has no meaning inside an image")


def trusted(chosen: Path | None) -> Mapping[str, str]:
    """The variables that make every client trust ``--ca-bundle``; without it they trust what they trust here.

    Raises:
        UsageError: it holds no certificate.
    """
    if chosen is None:
        return {}
    from musllinux_build.builds.steps import CA_VARIABLES  # noqa: PLC0415 - as all of builds

    ca_bundle(chosen, {})
    return dict.fromkeys(CA_VARIABLES, str(chosen.absolute()))


def own_engine(here: OwnImage) -> Engine:
    """What takes the engine's place."""
    from musllinux_build.adapters.own_root import OwnRoot  # noqa: PLC0415 - not with an engine
    from musllinux_build.builds.session import undisturbed  # noqa: PLC0415

    row = here.arch.row
    image = ImageInfo(
        id=IDENTITY, architecture=row.oci_architecture, variant=row.oci_variant, env=own_environment(os.environ)
    )
    return OwnRoot(image, Path(tempfile.gettempdir()), undisturbed)


def own_supply(engine: Engine) -> Supply:
    """The image is there, its compilers are its own, and there is no other Alpine."""
    from musllinux_build.adapters.sysroot import DirectorySysroot  # noqa: PLC0415 - as in own_engine
    from musllinux_build.audit.apply import built_in  # noqa: PLC0415
    from musllinux_build.builds.workshop import Supply  # noqa: PLC0415

    image = engine.image(IDENTITY)
    assert image is not None
    return Supply(
        image=lambda _policy, _arch: image,
        stock=None,
        toolchain=None,
        apk_mirror=lambda _policy, _arch: None,
        patcher=built_in,
        sysroot=lambda _: DirectorySysroot(Path("/")),
        places=_places,
    )


def _places(directory: str) -> Places:
    from musllinux_build.builds.steps import Places  # noqa: PLC0415 - as in own_engine

    return Places(project=f"{directory}/project", work=f"{directory}/work")
