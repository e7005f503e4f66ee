"""The charts of a report, drawn as vectors; each says the same in words, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, log10
from zoneinfo import ZoneInfo

from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.colors import Color, HexColor

from reports.layout import LINE, PALE, WIDTH
from reports.lettering import REGULAR

HEIGHT = 118.0
_LEFT, _BOTTOM, _TOP = 58.0, 18.0, 16.0
GOOD = HexColor("#3d8b5f")
WARNED = HexColor("#d9a321")
FAILED = HexColor("#b8402f")
PLAIN = HexColor("#3f6c9b")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: parts from the bottom up."""

    at: datetime
    parts: tuple[tuple[float, Color], ...]


def bar_chart(
    bars: Sequence[Bar],
    *,
    zone: str,
    unit: str,
    label: Callable[[float], str],
    limit: float | None = None,
    steps: Sequence[float] = (),
) -> Drawing:
    """Draw bars over time, with a line for an objective; `label` writes a value of the axis.

    `steps` are the distances of the grid to choose from; none: 1, 2, 5, 10, ….
    """
    drawing = Drawing(WIDTH, HEIGHT)
    highest = max([sum(value for value, _ in bar.parts) for bar in bars] + [limit or 0.0, 1e-9])
    step = _step(highest, steps)
    top = max(ceil(highest / step - 1e-9), 1) * step  # where everything is 0, there is an axis all the same
    room = HEIGHT - _BOTTOM - _TOP

    def height(value: float) -> float:
        return value / top * room

    for number in range(round(top / step) + 1):
        y = _BOTTOM + height(number * step)
        drawing.add(Line(_LEFT, y, WIDTH, y, strokeColor=LINE, strokeWidth=0.4))
        drawing.add(_label(_LEFT - 4, y - 2.5, label(number * step), "end"))
    _draw_bars(drawing, bars, height, zone, unit)
    if limit is not None:
        y = _BOTTOM + height(limit)
        drawing.add(Line(_LEFT, y, WIDTH, y, strokeColor=FAILED, strokeWidth=1, strokeDashArray=[4, 2]))
        drawing.add(_label(WIDTH, y + 2, f"objective {label(limit)}", "end"))
    return drawing


def _draw_bars(drawing: Drawing, bars: Sequence[Bar], height: Callable[[float], float], zone: str, unit: str) -> None:
    room = (WIDTH - _LEFT) / max(len(bars), 1)
    width = min(room * 0.8, 26.0)
    every = max(1, ceil(46 / room))  # a label needs so much room
    for number, bar in enumerate(bars):
        x = _LEFT + room * number + (room - width) / 2
        y = _BOTTOM
        for value, colour in bar.parts:
            if not value:  # a bar without height would still be drawn as a line
                continue
            drawing.add(Rect(x, y, width, height(value), fillColor=colour, strokeColor=None))
            y += height(value)
        if number % every == 0:
            drawing.add(_label(x + width / 2, 6, _name(bar.at, zone, unit), "middle"))


def _label(x: float, y: float, text: str, anchor: str) -> String:
    return String(x, y, text, fontName=REGULAR, fontSize=6.5, fillColor=PALE, textAnchor=anchor)


def _name(at: datetime, zone: str, unit: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%d %b %H:%M}" if unit == "hour" else f"{local:%b %Y}" if unit == "month" else f"{local:%d %b}"


def _step(highest: float, steps: Sequence[float]) -> float:
    """Return the distance of the grid's lines: at most five of them."""
    for step in steps:
        if highest / step <= 5:
            return step
    power = 10.0 ** (ceil(log10(highest)) - 1)
    return next(power * factor for factor in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if highest / (power * factor) <= 5)
