"""Charts as SVG, with a title and a description for those who do not see them. No style attribute: the page's policy
allows none; colours are the style sheet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

__all__ = ["Line", "Mark", "chart", "marked", "spark"]

_WIDTH, _HEIGHT = 640, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 8, 10, 22
_SPARK: Final = (96, 20)
_NOTHING: Final = Markup()


@dataclass(frozen=True, slots=True)
class Line:
    """One line: value by place, None = nothing is known there."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, at a fraction of the width."""

    at: float
    words: str


def spark(values: Sequence[float], words: str) -> Markup:
    """A small line without axes."""
    width, height = _SPARK
    most = max(values, default=0.0)
    if most <= 0:
        return Markup('<span class="quiet">no requests</span>')
    step = width / max(1, len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{height - 1 - value / most * (height - 2):.1f}" for i, value in enumerate(values)
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{words}">'
        '<polyline points="{points}"/></svg>'
    ).format(w=width, h=height, words=words, points=points)


def marked(marks: Iterable[Mark]) -> Markup:
    """What happened, as lines across a chart; the same in each chart of a page."""
    line = Markup('<line class="mark" x1="{x}" x2="{x}" y1="{a}" y2="{b}"><title>{words}</title></line>')
    places = ((f"{_LEFT + mark.at * (_WIDTH - _LEFT - _RIGHT):.1f}", mark.words) for mark in marks)
    return _NOTHING.join(line.format(x=x, a=_TOP, b=_HEIGHT - _BOTTOM, words=words) for x, words in places)


def chart(
    name: str, title: str, words: str, lines: Sequence[Line], times: Sequence[str], *, limit: float | None = None,
    marks: Markup = _NOTHING, is_percent: bool = True,
) -> Markup:  # fmt: skip
    """A guard's values over time, with its limit.

    Args:
        name: Makes the ids of title and description.
        title: What it is, and
        words: what it shows, for those who do not see it.
        times: The first, and the last.
        marks: Of `marked`.
    """
    known = [value for line in lines for value in line.values if value is not None]
    top = max([*known, *([limit] if limit is not None else []), 0.0]) * 1.15 or 1.0
    if is_percent:
        top = min(top, 1.0)
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{n}-title {n}-desc">'
            '<title id="{n}-title">{title}</title><desc id="{n}-desc">{words}</desc>'
        ).format(w=_WIDTH, h=_HEIGHT, n=escape(name).replace(" ", "-"), title=title, words=words)
    ]
    for value in (0.0, top / 2, top):
        at = _y(value, top)
        text = f"{100 * value:.3g} %" if is_percent else f"{value:.3g}"
        parts.append(
            Markup(
                '<line class="grid" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/><text x="{t}" y="{y4}">{text}</text>'
            ).format(a=_LEFT, b=_WIDTH - _RIGHT, y=f"{at:.1f}", y4=f"{at + 4:.1f}", t=2, text=text)
        )
    parts.append(marks)
    if limit is not None:
        y = f"{_y(limit, top):.1f}"
        parts.append(
            Markup('<line class="limit" x1="{a}" x2="{b}" y1="{y}" y2="{y}"><title>limit</title></line>').format(
                a=_LEFT, b=_WIDTH - _RIGHT, y=y
            )
        )
    for number, line in enumerate(lines):
        for points in _runs(line.values, top):
            parts.append(Markup('<polyline class="line-{n}" points="{points}"/>').format(n=number, points=points))
    for text, anchor, x in ((times[0], "start", _LEFT), (times[-1], "end", _WIDTH - _RIGHT)):
        parts.append(
            Markup('<text x="{x}" y="{y}" text-anchor="{a}">{text}</text>').format(
                x=x, y=_HEIGHT - 6, a=anchor, text=text
            )
        )
    return _NOTHING.join([*parts, Markup("</svg>")])


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)


def _runs(values: Sequence[float | None], top: float) -> Iterable[str]:
    """The line in pieces: where nothing is known there is none; a single point is a short one."""
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(values) - 1)
    run: list[tuple[float, float]] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            run.append((_LEFT + place * step, _y(value, top)))
        elif run:
            if len(run) == 1:
                run.append((min(run[0][0] + 4, _WIDTH - _RIGHT), run[0][1]))
            yield " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            run = []
