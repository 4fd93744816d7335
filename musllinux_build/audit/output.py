"""Writing what a repair decided: beside the target, judged as written, and only then put in place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from musllinux_build.audit.apply import Applied
from musllinux_build.audit.options import RepairOptions
from musllinux_build.audit.subject import Inventory
from musllinux_build.audit.verdict import Finding, Verdict
from musllinux_build.errors import DiskFullError, RepairError
from musllinux_build.tags import WheelName
from musllinux_build.wheel.assemble import Product, Recipe, Written, assemble, copy
from musllinux_build.wheel.contents import Wheel, read_wheel
from musllinux_build.wheel.layout import installed_path, shown_path
from musllinux_build.wheel.source import opened

NO_SPACE = (28, 122)  # ENOSPC, EDQUOT
SHOWN_FINDINGS = 40
Judge = Callable[[Wheel, Inventory], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The wheel to write: its ``name``, the ``inventory`` of the old one, and what was ``applied`` to it."""

    name: WheelName
    inventory: Inventory
    applied: Applied
    epoch: int
    options: RepairOptions

    def tags(self, wheel: Wheel) -> tuple[str, ...]:
        """The tags of its WHEEL file."""
        return self.name.expanded if self.options.update_tags else wheel.wheel_file.tags

    def is_input(self, wheel: Wheel) -> bool:
        """Whether it is ``wheel`` byte for byte: there is nothing to change in it."""
        fields, applied = wheel.wheel_file, self.applied
        impure = (fields.first("Root-Is-Purelib") or "").lower() == "false"
        touched = applied.products or applied.removed
        return not touched and impure and self.name == wheel.name and fields.tags == self.tags(wheel)


def write_result(wheel: Wheel, result: Result, directory: Path, judged: Judge) -> tuple[Written, Verdict]:
    """Write the wheel into ``directory``; a failure leaves nothing there.

    Raises:
        RepairError: it does not conform, or cannot be written.
        DiskFullError: there is no room for it.
    """
    target = directory / str(result.name)
    try:
        with _present(directory), tempfile.TemporaryDirectory(dir=directory, prefix=".repair-") as scratch:
            path = Path(scratch) / target.name
            with path.open("w+b") as out, tempfile.TemporaryFile(dir=scratch) as spool:
                if result.is_input(wheel):
                    written = copy(wheel.archive.source, out)
                else:
                    written = assemble(_recipe(wheel, result), out, spool)
            path.chmod(0o644)
            verdict = _judge_written(path, result, judged)
            if not verdict.conforms:
                raise refused(target.name, verdict.errors)
            os.replace(path, target)  # noqa: PTH105 - the atomic one, by its own name
    except OSError as reason:
        if reason.errno in NO_SPACE:
            raise DiskFullError(f"no room for {target}", resolution="Free some space and run it again.") from reason
        raise RepairError(f"{target} cannot be written: {reason.strerror}", resolution="Choose another -w.") from reason
    return written, verdict


@contextmanager
def _present(directory: Path) -> Iterator[None]:
    """``directory`` is there; what had to be made for it goes again with a failure."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _recipe(wheel: Wheel, result: Result) -> Recipe:
    applied, inventory = result.applied, result.inventory
    about = wheel.wheel_file.retagged(result.tags(wheel)).format()
    scripts = f"{wheel.data_dir}/scripts/"
    loadable = {inventory.members[path] for path in inventory.objects} | applied.executable
    return Recipe(
        wheel=wheel,
        products=(*applied.products, Product(member=f"{wheel.dist_info}/WHEEL", weight=0, make=partial(bytes, about))),
        removed=applied.removed,
        executable=loadable | {member for member in wheel.files if member.startswith(scripts)},
        epoch=result.epoch,
        level=result.options.level,
    )


def _judge_written(path: Path, result: Result, judged: Judge) -> Verdict:
    """The verdict on the file as it is now on the disk.

    Its directory, names, RECORD and WHEEL are read from it. The facts of its objects are those read from the contents
    that went in: ``assemble`` has proven that these, and nothing else, come out.
    """
    with opened(path) as source:
        written = read_wheel(source, path.name)
        old = {result.inventory.members[where]: facts for where, facts in result.inventory.objects.items()}
        made = {product.member for product in result.applied.products}
        facts = {member: found for member, found in old.items() if member not in made} | result.applied.facts
        members = {installed_path(member, written.data_dir): member for member in written.files}
        objects = {
            where: replace(facts[member], path=shown_path(where))
            for where, member in members.items()
            if member in facts
        }
        return judged(written, Inventory(objects=objects, members=members))


def refused(wheel: str, problems: Sequence[Finding]) -> RepairError:
    """The error for a wheel with ``problems`` that no repair mends."""
    lines = [problem.line() for problem in problems[:SHOWN_FINDINGS]]
    if len(problems) > SHOWN_FINDINGS:
        lines.append(f"... and {len(problems) - SHOWN_FINDINGS} more")
    first = problems[0]
    return RepairError(
        f"{wheel} cannot be repaired: {first.file} {first.message}",
        details="\n".join(lines),
        resolution=f"{first.remedy}.",
    )
