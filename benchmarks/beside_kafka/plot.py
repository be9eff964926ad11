"""The plot beside the table: how many times better or worse than Apache Kafka, a dot a line, as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from benchmarks.beside_kafka.results import Verdict

ROW, HEAD, FOOT = 18, 46, 30
LABELS, CHART, MARGIN = 400, 520, 20
FEWEST_OCTAVES = 3
COLOURS = {Verdict.MET: "#1a7f37", Verdict.EVEN: "#bf8700", Verdict.UNMET: "#cf222e", Verdict.FREE: "#57606a"}
CAPTIONS = {
    Verdict.MET: "target met",
    Verdict.EVEN: "even",
    Verdict.UNMET: "target not met",
    Verdict.FREE: "no target",
}


class Dot(NamedTuple):
    """One line: times better than Apache Kafka (below 1: worse), in the median, the worst and the best round."""

    section: str
    words: str
    median: float
    low: float
    high: float
    verdict: Verdict


def svg(dots: Sequence[Dot]) -> str:
    """The whole file. Sections are headings above their dots; the axis is in powers of two."""
    octaves = _octaves(dots)
    rows: list[str | Dot] = []
    for dot in dots:
        if not rows or (isinstance(rows[-1], Dot) and rows[-1].section != dot.section):
            rows.append(dot.section)
        rows.append(dot)
    height = HEAD + ROW * len(rows) + FOOT
    width = LABELS + CHART + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LABELS}" y="16" font-weight="bold">times better than Apache Kafka (below 1: worse)</text>',
        *_grid(octaves, height),
    ]
    for place, row in enumerate(rows):
        y = HEAD + ROW * place + ROW // 2
        parts += _dot(row, octaves, y) if isinstance(row, Dot) else [_text(8, y, row, "start", "bold")]
    for place, (verdict, words) in enumerate(CAPTIONS.items()):
        x, y = LABELS + 120 * place, height - FOOT // 2
        parts += [f'<circle cx="{x}" cy="{y}" r="4" fill="{COLOURS[verdict]}"/>', _text(x + 9, y, words, "start")]
    return "\n".join([*parts, "</svg>", ""])


def _octaves(dots: Sequence[Dot]) -> tuple[int, int]:
    """The axis, as powers of two; 1 is always on it."""
    logarithms = [math.log2(value) for dot in dots for value in (dot.low, dot.high)]
    return (
        min(-FEWEST_OCTAVES, math.floor(min(logarithms, default=0))),
        max(FEWEST_OCTAVES, math.ceil(max(logarithms, default=0))),
    )


def _x(value: float, octaves: tuple[int, int]) -> float:
    low, high = octaves
    return round(LABELS + (math.log2(value) - low) / (high - low) * CHART, 1)


def _grid(octaves: tuple[int, int], height: int) -> list[str]:
    parts = []
    for power in range(octaves[0], octaves[1] + 1):
        x, colour = _x(2.0**power, octaves), "#24292f" if power == 0 else "#d8dee4"
        words = str(2**power) if power >= 0 else f"1/{2**-power}"
        parts.append(f'<line x1="{x}" y1="{HEAD - 6}" x2="{x}" y2="{height - FOOT}" stroke="{colour}"/>')
        parts.append(_text(x, HEAD - 14, words, "middle"))
    return parts


def _dot(dot: Dot, octaves: tuple[int, int], y: int) -> list[str]:
    low, middle, high = (_x(value, octaves) for value in (dot.low, dot.median, dot.high))
    colour = COLOURS[dot.verdict]
    return [
        _text(LABELS - 10, y, dot.words, "end"),
        f'<line x1="{low}" y1="{y}" x2="{high}" y2="{y}" stroke="{colour}" stroke-width="2" opacity="0.5"/>',
        f'<circle cx="{middle}" cy="{y}" r="4" fill="{colour}"><title>{dot.median:.2f}</title></circle>',
    ]


def _text(x: float, y: float, words: str, anchor: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y + 4}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
