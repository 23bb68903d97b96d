"""Bars as SVG, drawn by hand: a panel for each metric, a bar for each queue, readable on light and dark pages alike."""

from collections.abc import Sequence
from html import escape

from benchmarks.rivals.figures import OWN, Metric, Row, plain

WIDTH = 860
LABELS, VALUES = 190, 90
BAR, GAP, TITLE, PANEL_GAP, MARGIN = 16, 6, 26, 18, 12

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .bar { fill: #8c959f } .own { fill: #0969da } .none { fill: #6e7781; font-style: italic }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9 } .bar { fill: #6e7681 } .own { fill: #58a6ff } .none { fill: #8b949e }
}
"""


def _panel(metric: Metric, rows: Sequence[Row], top: int) -> tuple[list[str], int]:
    """One metric's bars from `top` down, and where they end."""
    better = "more is better" if metric.more_is_better else "less is better"
    parts = [f'<text class="title" x="{MARGIN}" y="{top + 14}">{escape(metric.title)}, {metric.unit} ({better})</text>']
    values = {row["name"]: metric.value(row) for row in rows}
    largest = max((value for value in values.values() if value), default=1.0)
    room = WIDTH - 2 * MARGIN - LABELS - VALUES
    y = top + TITLE
    for name, value in values.items():
        middle = y + BAR - 4
        parts.append(f'<text x="{MARGIN + LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
        if value is None:
            parts.append(f'<text class="none" x="{MARGIN + LABELS}" y="{middle}">not measured</text>')
        else:
            length = max(1.0, room * value / largest)
            kind = "own" if name == OWN else "bar"
            parts.append(f'<rect class="{kind}" x="{MARGIN + LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{MARGIN + LABELS + length + 6:.1f}" y="{middle}">{plain(value)}</text>')
        y += BAR + GAP
    return parts, y + PANEL_GAP


def draw(title: str, metrics: Sequence[Metric], rows: Sequence[Row]) -> str:
    """An SVG document with a panel for each metric that any of these queues has a figure for."""
    body: list[str] = []
    y = MARGIN
    for metric in metrics:
        if any(metric.value(row) is not None for row in rows):
            parts, y = _panel(metric, rows, y)
            body += parts
    drawn = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{drawn}\n</svg>\n'
    )
