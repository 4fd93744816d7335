"""``musllinux-build images publish``: built images to registries, or to a directory in the OCI layout."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from musllinux_build.adapters.registry import HttpRegistry
from musllinux_build.builds.session import Session, signals_as_errors
from musllinux_build.cli.options import option, progress, supply_options, variant_option, verbosity_options
from musllinux_build.cli.say import write_text
from musllinux_build.cli.signing import chosen_signer, sign_options
from musllinux_build.errors import ImageError, UsageError
from musllinux_build.images.describe import HOME
from musllinux_build.images.join import format_pushed, pushed
from musllinux_build.images.lock import MEASURE, Lock
from musllinux_build.images.measure import unmeasured
from musllinux_build.images.oci import Layout
from musllinux_build.images.package import package_image
from musllinux_build.images.publish import Image, Kind, default_tags, plan_images, plan_publication, publish
from musllinux_build.images.reference import DEFAULT_REGISTRY, Variant, image_reference
from musllinux_build.images.supplies import Supplies
from musllinux_build.images.targets import chosen_targets
from musllinux_build.ports import Progress


@click.command("publish", short_help="Push images to registries.")
@option("--policy", multiple=True, help="Only this policy. Repeatable.")
@option("--arch", multiple=True, help="Only this architecture. Repeatable.")
@option("--registry", multiple=True, help=f"Where to: {DEFAULT_REGISTRY} by default. Repeatable.")
@option("--built-as", default=DEFAULT_REGISTRY, show_default=True, help="What the local images are called after.")
@variant_option
@option("--tag", multiple=True, help="Tags (default: the date, as 2026.11.22-1, and latest). Repeatable.")
@option(
    "--digests",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Push by digest only and note here what `images join` makes an index of.",
)
@option("--layout", type=click.Path(file_okay=False, path_type=Path), help="Also keep the OCI layout here.")
@option("--builder", default=HOME, help="The URI of whoever builds, for the provenance.")
@click.option("--plain-http", is_flag=True, help="Speak HTTP, to a registry on this machine.")
@click.option("--allow-unmeasured", is_flag=True, help="Publish although the lock is not wholly measured (for tests).")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@sign_options
@supply_options
@verbosity_options
def publish_command(**given: Any) -> int:
    """Push images by digest, then an index per policy, tags last; what is there already is not sent again."""
    from musllinux_build.adapters.docker_sdk import connect, stored_credentials  # noqa: PLC0415 - start-up

    chosen = {name: given[name] for name in ("offline", "base_archives", "source_mirror", "apk_mirror", "lock")}
    lock = Supplies.chosen(**chosen).lock
    if not given["allow_unmeasured"]:
        refuse_unmeasured(lock)
    lines = progress(given["verbose"], given["quiet"])
    sign = chosen_signer(given, os.environ, lines)
    registry = HttpRegistry(stored_credentials, plain=given["plain_http"])
    with TemporaryDirectory(prefix="musllinux-build-") as scratch, signals_as_errors():
        layout = Layout(root=given["layout"] or Path(scratch))
        with closing(Session(connect(), lines)) as session:
            images = _packaged(session, lock, layout, given, lines)
        layout.write_index([image.manifest for image in images])
        for where in given["registry"] or (DEFAULT_REGISTRY,):
            if given["digests"] is not None:
                steps = plan_images(images, where)
            else:
                steps = plan_publication(
                    images, where, given["tag"] or default_tags(time.time(), Variant(given["variant"]))
                )
            if given["dry_run"]:
                for step in steps:
                    click.echo(step.line())
                    if step.signed and sign is not None:
                        click.echo(f"sign {step.repository}@{step.reference}")
                continue
            with lines.step(f"publish to {where}"):
                changed = publish(steps, registry, lines, sign)
            for step in steps:
                if step.kind is Kind.TAG:
                    click.echo(f"{step.repository}:{step.reference} {step.about}")
            lines.note(f"{where}: {changed} of {len(steps)} steps changed something")
        if given["digests"] is not None and not given["dry_run"]:
            write_text(given["digests"], format_pushed(pushed(images, Variant(given["variant"]))))
    return 0


def _packaged(session: Session, lock: Lock, layout: Layout, given: Any, lines: Progress) -> Sequence[Image]:
    targets = chosen_targets(lock, given["policy"], given["arch"])
    images = []
    for policy, arch in targets:
        reference = image_reference(given["built_as"], policy, arch, Variant(given["variant"]))
        if session.engine.image(reference) is None and not (given["policy"] or given["arch"]):
            lines.warn(f"{reference} is not built and is left out")
            continue
        with lines.step(f"layout of {policy.platform_tag(arch)}"):
            images.append(
                package_image(session.engine, reference, (policy, arch), lock, layout, builder=given["builder"])
            )
    if not images:
        raise ImageError("no image is built", resolution="Build them: musllinux-build images build")
    return images


def refuse_unmeasured(lock: Lock) -> None:
    """What is published was made of nothing that nobody measured.

    Raises:
        UsageError: the lock has such values.
    """
    if count := unmeasured(lock):
        raise UsageError(
            f"the lock has {count} value(s) that nobody has measured",
            resolution=f"Measure them where the mirrors are reachable: {MEASURE}\n"
            "Then build and publish with --lock lock.toml",
        )
