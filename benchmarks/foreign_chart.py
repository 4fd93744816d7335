"""The chart of foreign.md: where its bars are is said once, and drawn as SVG in a page of its own and as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.foreign_rows import NATIVE, Mode, Row

COLOURS = {
    Mode.NATIVE: "#4d4d4d",
    Mode.FULL: "#2a6f97",
    Mode.PYTHON: "#8ab6d6",
    Mode.COMPILER: "#7fb069",
    Mode.PLAIN: "#bc6c25",
}
INK, FAINT, FAILED = "#1a1a1a", "#d9d9d9", "#b00020"
WIDTH, LEFT, RIGHT, STEP, THICK, TEXT = 900, 150, 90, 20, 14, 13
TOP = 64
SCALE = 2
"""Pixels of the PNG for each unit, so that it is sharp on dense screens."""
MARKS = tuple(mark * 10.0**power for power in range(-2, 7) for mark in (1, 2, 5))
"""Seconds at which the axis may begin and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A line of text, its left end at the middle of its height."""

    x: float
    y: float
    text: str
    colour: str = INK
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is drawn, the first below what follows."""

    height: int
    shapes: tuple[Box | Label, ...]


def draw(rows: Sequence[Row]) -> Drawing:
    """Bars of all cells that were measured, by project; natively once for each project."""
    times = [cell.median for row in rows for cell in row.cells.values() if cell.median is not None]
    axis = Axis.around(times)
    shapes: list[Box | Label] = []
    y = float(TOP)
    seen = ""
    for row in rows:
        if row.project.name != seen:
            seen = row.project.name
            y += STEP / 2
            title = f"{seen} {row.project.version} ({row.project.kind})"
            shapes.append(Label(x=8, y=y + STEP / 2, text=title, bold=True))
            y += STEP
            native = _bar(axis, row, Mode.NATIVE, NATIVE, y)
            shapes += native
            y += STEP if native else 0
        for mode in (Mode.FULL, Mode.PYTHON, Mode.COMPILER, Mode.PLAIN):
            bar = _bar(axis, row, mode, row.arch, y)
            shapes += bar
            y += STEP if bar else 0
    height = math.ceil(y + STEP)
    shown = [mode for mode in Mode if any(row.cells[mode].text != "-" for row in rows)]
    return Drawing(height=height, shapes=(*_frame(axis, y, shown), *shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Seconds on a logarithmic scale."""

    least: float
    most: float

    @classmethod
    def around(cls, times: Sequence[float]) -> Axis:
        """Whole ticks around all times."""
        if not times:
            return cls(least=1.0, most=10.0)
        least = max((mark for mark in MARKS if mark < min(times)), default=MARKS[0])
        return cls(least=least, most=min((mark for mark in MARKS if mark >= max(times)), default=MARKS[-1]))

    def at(self, seconds: float) -> float:
        """Where that is."""
        part = math.log(seconds / self.least) / math.log(self.most / self.least)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    @property
    def ticks(self) -> list[float]:
        """Round times from end to end."""
        return [mark for mark in MARKS if self.least <= mark <= self.most]


def _frame(axis: Axis, bottom: float, modes: Sequence[Mode]) -> list[Box | Label]:
    """Title, legend of ``modes`` and the lines of the axis."""
    title = "Seconds of one build, logarithmic: shorter is better"
    shapes: list[Box | Label] = [Label(x=8, y=14, text=title, bold=True)]
    x = 8.0
    for mode in modes:
        shapes.append(Box(x=x, y=30, width=12, height=12, colour=COLOURS[mode]))
        shapes.append(Label(x=x + 18, y=36, text=mode.title))
        x += 40 + 7.2 * len(mode.title)
    for tick in axis.ticks:
        shapes.append(Box(x=axis.at(tick), y=TOP, width=1, height=bottom - TOP, colour=FAINT))
        shapes.append(Label(x=axis.at(tick) - 4, y=TOP - 8, text=f"{tick:g}"))
    return shapes


def _bar(axis: Axis, row: Row, mode: Mode, arch: str, y: float) -> list[Box | Label]:
    """A bar and its number; the failure of a build in its place; nothing for what was not measured."""
    cell = row.cells[mode]
    middle = y + STEP / 2
    if cell.text == "-":
        return []
    label = Label(x=24, y=middle, text=f"{arch} {mode.value}")
    if cell.median is None:
        return [label, Label(x=LEFT + 4, y=middle, text=cell.text, colour=FAILED)]
    length = axis.at(cell.median) - LEFT
    bar = Box(x=LEFT, y=middle - THICK / 2, width=length, height=THICK, colour=COLOURS[mode])
    return [label, bar, Label(x=LEFT + length + 6, y=middle, text=cell.text)]


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG element."""
    parts = [f'<rect width="{WIDTH}" height="{drawing.height}" fill="white"/>']
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
            parts.append(f'<rect {place} fill="{shape.colour}"/>')
        else:
            weight = ' font-weight="bold"' if shape.bold else ""
            place = f'x="{shape.x:.1f}" y="{shape.y + TEXT * 0.35:.1f}"'
            parts.append(f'<text {place} fill="{shape.colour}"{weight}>{escape(shape.text)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {drawing.height}"'
    return f'{head} font-family="sans-serif" font-size="{TEXT}">\n' + "\n".join(parts) + "\n</svg>"


def html(drawing: Drawing) -> str:
    """A page that needs nothing else."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Foreign builds beside native ones</title>\n"
        f"<style>body {{ margin: 1em auto; max-width: {WIDTH}px; background: white; }}</style>\n"
        f"</head>\n<body>\n{svg(drawing)}\n</body>\n</html>\n"
    )


def write_png(drawing: Drawing, path: Path) -> None:
    """The same drawing as pixels."""
    image = Image.new("RGB", (WIDTH * SCALE, drawing.height * SCALE), "white")
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default(TEXT * SCALE)
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            left, top = shape.x * SCALE, shape.y * SCALE
            right, bottom = left + shape.width * SCALE - 1, top + shape.height * SCALE - 1
            canvas.rectangle((left, top, max(left, right), max(top, bottom)), fill=shape.colour)
        else:
            # The font that comes with the library has one weight; a stroke of one pixel is its bold.
            place, stroke = (shape.x * SCALE, shape.y * SCALE), 1 if shape.bold else 0
            canvas.text(place, shape.text, fill=shape.colour, font=font, anchor="lm", stroke_width=stroke)
    image.save(path, optimize=True)
