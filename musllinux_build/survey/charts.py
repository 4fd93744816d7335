"""The charts of a survey as SVG: drawn at the size a phone shows, so that their text is never scaled down.

Every figure stands in the chart as text, and colours are told apart by those who confuse red and green (the page's
style sheet has them: ``good``, ``bad``, ``warn``, ``quiet``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from musllinux_build.arch import Arch
from musllinux_build.audit.verdict import Severity
from musllinux_build.plaintext import plain_line
from musllinux_build.survey.tally import FloorCount, RuleCount, Share

WIDTH = 340
STEP = 40
"""Height of one line: its label, its bar, and the gap to the next."""
COLUMNS_HEIGHT = 190
MOST_RULES = 12
FULL_SIZE = 5
"""Columns up to which the names below them have room."""
SHADES = {Severity.ERROR: "bad", Severity.WARNING: "warn", Severity.NOTE: "quiet"}


def text(value: str) -> str:
    """``value`` as HTML or XML text or attribute: nothing in it is markup, a command, or invisible."""
    return escape(plain_line(value), quote=True)


def share_chart(shares: Mapping[Arch, Share]) -> str:
    """One bar per architecture: the part of its wheels that conforms."""
    lines = []
    for at, (arch, share) in enumerate(shares.items()):
        told = f"{share.conforming} of {share.audited} · {percent(share.conforming, share.audited)}"
        lines.append(_label(at, arch.value, told if share.audited else "no wheels"))
        lines.append(_track(at))
        if share.audited:
            edge = WIDTH * share.conforming / share.audited
            lines.append(_bar(at, 0, edge, "good"))
            lines.append(_bar(at, edge, WIDTH - edge, "bad"))
    spoken = (f"{arch.value}: {share.conforming} of {share.audited}" for arch, share in shares.items())
    return _svg("share", "Wheels that conform, by architecture", spoken, lines, STEP * len(shares))


def rule_chart(counts: Sequence[RuleCount]) -> str:
    """One bar per rule: in how many wheels it found something."""
    shown = counts[:MOST_RULES]
    most = max((count.wheels for count in shown), default=1)
    lines = []
    for at, count in enumerate(shown):
        lines.append(_label(at, count.rule, f"{count.wheels}"))
        lines.append(_track(at))
        lines.append(_bar(at, 0, WIDTH * count.wheels / most, SHADES[count.severity]))
    spoken = (f"{count.rule} ({count.severity.value}): {count.wheels} wheels" for count in shown)
    return _svg("rules", "Wheels by what was found in them", spoken, lines, STEP * len(shown))


def floor_chart(counts: Sequence[FloorCount]) -> str:
    """One column per musl release: how many wheels need it."""
    most = max((count.within + count.above for count in counts), default=1)
    base, room = COLUMNS_HEIGHT - 24, COLUMNS_HEIGHT - 24 - 22
    pitch = WIDTH / max(len(counts), 1)
    width = min(56.0, pitch * 0.7)
    lines = [f'<line class="axis" x1="0" y1="{base}.5" x2="{WIDTH}" y2="{base}.5"/>']
    for at, count in enumerate(counts):
        middle = pitch * (at + 0.5)
        above, within = room * count.above / most, room * count.within / most
        lines.extend(_column(middle - width / 2, width, base, within, "good"))
        lines.extend(_column(middle - width / 2, width, base - within, above, "bad"))
        top = base - within - above - 6
        lines.append(_centred(middle, top, f"{count.within + count.above}", "value"))
        name = f"{'≤' if count.or_older else ''}{count.floor}"
        lines.append(_centred(middle, base + 18, name, "label small" if len(counts) > FULL_SIZE else "label"))
    spoken = (
        f"musl {count.floor}: {count.within + count.above} wheels, {count.above} of them promise less"
        for count in counts
    )
    return _svg("floors", "Wheels by the lowest musl they load on", spoken, lines, COLUMNS_HEIGHT)


def percent(part: int, whole: int) -> str:
    """``25%``; all and none are said only when they are."""
    if not whole:
        return "0%"
    rounded = round(100 * part / whole)
    return f"{min(max(rounded, int(part > 0)), 100 - int(part < whole))}%"


def _svg(name: str, title: str, spoken: Iterator[str], lines: Sequence[str], height: int) -> str:
    words = "; ".join(spoken) or "nothing"
    return (
        f'<svg viewBox="0 0 {WIDTH} {max(height, 1)}" role="img" aria-labelledby="{name}-title {name}-words">'
        f'<title id="{name}-title">{text(title)}</title><desc id="{name}-words">{text(words)}</desc>'
        f"{''.join(lines)}</svg>"
    )


def _label(at: int, left: str, right: str) -> str:
    y = at * STEP + 14
    return (
        f'<text class="label" x="0" y="{y}">{text(left)}</text>'
        f'<text class="value" x="{WIDTH}" y="{y}" text-anchor="end">{text(right)}</text>'
    )


def _track(at: int) -> str:
    return f'<rect class="track" x="0" y="{at * STEP + 20}" width="{WIDTH}" height="10"/>'


def _bar(at: int, left: float, width: float, shade: str) -> str:
    if width <= 0:
        return ""
    return f'<rect class="{shade}" x="{left:.1f}" y="{at * STEP + 20}" width="{width:.1f}" height="10"/>'


def _column(left: float, width: float, bottom: float, height: float, shade: str) -> Iterator[str]:
    if height > 0:
        top = bottom - height
        yield f'<rect class="{shade}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _centred(x: float, y: float, value: str, shade: str) -> str:
    return f'<text class="{shade}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text(value)}</text>'
