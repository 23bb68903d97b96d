"""Small plots as SVG text, drawn 330 units wide so that they stay readable on a telephone. Colours come from the page."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 330
_LEFT = 40
_RIGHT = 10
_TOP = 10
_BOTTOM = 34


class Bar(NamedTuple):
    """One named amount; `note` is what a pointer that rests on it is told."""

    name: str
    value: float
    note: str


class Dot(NamedTuple):
    """One thing at a place; both coordinates are larger than zero."""

    x: float
    y: float
    note: str


def short(number: float) -> str:
    """A number as short as a label wants it: 950, 1.2k, 34k, 1.1M."""
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}".removesuffix(".0") + sign if scaled < 10 else f"{scaled:.0f}{sign}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def bars(rows: Sequence[Bar], label: str) -> str:
    """Horizontal bars, each under its own name."""
    step = 34
    top = max((row.value for row in rows), default=1) or 1
    out = [_open(label, step * len(rows) + 4)]
    for place, row in enumerate(rows):
        y = place * step
        width = max(2.0, (WIDTH - 50) * row.value / top)
        out.append(
            f"<g><title>{escape(row.note)}</title>"
            f'<text class="name" x="0" y="{y + 13}">{escape(_fit(row.name, 44))}</text>'
            f'<rect class="mark" x="0" y="{y + 18}" width="{width:.1f}" height="10" rx="2"/>'
            f'<text class="value" x="{width + 5:.1f}" y="{y + 27}">{short(row.value)}</text></g>'
        )
    return "".join(out) + "</svg>"


def columns(counts: Sequence[tuple[str, int]], label: str, x_name: str, y_name: str) -> str:
    """A histogram: one column for each (label, count), in order."""
    height = 210
    top = max((count for _, count in counts), default=1) or 1
    plot = _Plot(height, (0, len(counts) or 1), (0, _ceiling(top)))
    out = [_open(label, height), plot.y_axis(_steps(top)), plot.names(x_name, y_name)]
    every = max(1, math.ceil(len(counts) / 7))
    for place, (name, count) in enumerate(counts):
        x0, x1, y = plot.x(place) + 1, plot.x(place + 1) - 1, plot.y(count)
        tall = max(0.0, plot.floor - y)
        out.append(
            f"<g><title>{escape(name)}: {count}</title>"
            f'<rect class="mark" x="{x0:.1f}" y="{y:.1f}" width="{x1 - x0:.1f}" height="{tall:.1f}" rx="1"/></g>'
        )
        if place % every == 0:
            out.append(f'<text class="tick" x="{x0:.1f}" y="{plot.floor + 13:.0f}">{escape(name)}</text>')
    return "".join(out) + "</svg>"


def scatter(dots: Sequence[Dot], label: str, x_name: str, y_name: str, named: int = 40) -> str:
    """Dots on logarithmic axes; the `named` highest can be pointed at, the rest are one quiet cloud."""
    height = 260
    ranked = sorted(dots, key=lambda dot: dot.y, reverse=True)
    high_x = max((dot.x for dot in dots), default=10.0)
    high_y = max((dot.y for dot in dots), default=10.0)
    plot = _Plot(height, (0, math.log10(high_x * 1.2)), (0, math.log10(high_y * 1.2)))
    out = [_open(label, height), plot.names(x_name, y_name)]
    for power in range(math.ceil(math.log10(high_y * 1.2))):
        out.append(plot.level(power, short(10**power)))
    for power in range(math.ceil(math.log10(high_x * 1.2))):
        out.append(f'<text class="tick" x="{plot.x(power):.1f}" y="{plot.floor + 13:.0f}">{short(10**power)}</text>')
    places = [(plot.x(math.log10(dot.x)), plot.y(math.log10(dot.y)), dot) for dot in ranked]
    cloud = "".join(f"M{x:.1f} {y:.1f}h0" for x, y, _ in places[named:])
    out.append(f'<path class="cloud" d="{cloud}"/>')
    for x, y, dot in places[:named]:
        out.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(dot.note)}</title></circle>')
    return "".join(out) + "</svg>"


def curve(points: Sequence[tuple[float, float]], label: str, x_name: str, y_name: str) -> str:
    """A filled line through points in order of x; both axes start at zero."""
    height = 210
    high_x = max((x for x, _ in points), default=1.0) or 1.0
    high_y = max((y for _, y in points), default=1.0) or 1.0
    plot = _Plot(height, (0, high_x), (0, _ceiling(high_y)))
    out = [_open(label, height), plot.y_axis(_steps(high_y)), plot.names(x_name, y_name)]
    for step in _steps(high_x):
        if step <= high_x:
            out.append(f'<text class="tick" x="{plot.x(step):.1f}" y="{plot.floor + 13:.0f}">{short(step)}</text>')
    line = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in points)
    if points:
        first, last = plot.x(points[0][0]), plot.x(points[-1][0])
        out.append(f'<polygon class="area" points="{first:.1f},{plot.floor} {line} {last:.1f},{plot.floor}"/>')
        out.append(f'<polyline class="line" points="{line}"/>')
    return "".join(out) + "</svg>"


class _Plot:
    """The frame of a plot: from values to places."""

    def __init__(self, height: int, xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self.floor = height - _BOTTOM
        self._xs = xs
        self._ys = ys

    def x(self, value: float) -> float:
        low, high = self._xs
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1)

    def y(self, value: float) -> float:
        low, high = self._ys
        return self.floor - (self.floor - _TOP - 12) * (value - low) / ((high - low) or 1)

    def level(self, value: float, name: str) -> str:
        y = self.y(value)
        return (
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" text-anchor="end" x="{_LEFT - 5}" y="{y + 4:.1f}">{escape(name)}</text>'
        )

    def y_axis(self, values: Sequence[float]) -> str:
        return "".join(self.level(value, short(value)) for value in values)

    def names(self, x_name: str, y_name: str) -> str:
        return (
            f'<text class="axis" text-anchor="end" x="{WIDTH - _RIGHT}" y="{self.floor + 29}">{escape(x_name)}</text>'
            f'<text class="axis" x="0" y="{_TOP}">{escape(y_name)}</text>'
        )


def _open(label: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'


def _steps(top: float) -> list[float]:
    """Four or so round levels from zero to just above `top`."""
    step = _round_step(top)
    return [step * each for each in range(math.ceil(top / step) + 1)]


def _ceiling(top: float) -> float:
    return _steps(top)[-1]


def _round_step(top: float) -> float:
    rough = max(top, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(each for each in (1, 2, 5, 10) if each * power >= rough)


def _fit(name: str, length: int) -> str:
    return name if len(name) <= length else "…" + name[-(length - 1) :]
