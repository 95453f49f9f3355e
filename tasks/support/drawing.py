"""Small charts on a pixel grid: a `Chart` in, an RGB picture out, the same bytes with every version of Pillow.

Bars, points and their labels stand in columns 28 pixels wide (one image token of Qwen2.5-VL), values are multiples of one
unit, colours are far apart and letters are a bitmap of their own, so that both a person and a very small vision tower
can read them. Pictures are 112x84 to 168x112 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

COLOURS = {
    "red": (222, 45, 38),
    "blue": (33, 102, 222),
    "green": (35, 155, 60),
    "orange": (255, 150, 0),
    "purple": (140, 60, 190),
}
LABELS = "ABCDE"
SLOT = 28
TOP = 8
"""The largest value of bars and lines."""
PARTS = 12
"""Into how many parts a pie is cut."""
_BLACK, _GREY = (0, 0, 0), (200, 200, 200)
_GLYPHS = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e", "E": "1f10101e10101f",
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "4": "02060a121f0202", "6": "0608101e11110e",
    "8": "0e11110e11110e",
}  # fmt: skip
"""5 x 7 bitmaps: seven rows, two hexadecimal digits each, five bits from left to right."""


@dataclass(frozen=True, slots=True)
class Chart:
    """kind: bar, line, grouped or pie. `values`: one per label; `second`: the blue series of a grouped chart."""

    kind: str
    values: tuple[int, ...]
    second: tuple[int, ...] = ()

    @property
    def labels(self) -> str:
        return LABELS[: len(self.values)]


def draw(chart: Chart) -> Image.Image:
    """The picture of a chart (RGB)."""
    from PIL import Image, ImageDraw

    height = 112 if chart.kind == "grouped" else 84
    width = 112 if chart.kind == "pie" else SLOT * (len(chart.values) + 1)
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    if chart.kind == "pie":
        _pie(pen, chart)
        return image
    unit = 11 if chart.kind == "grouped" else 8
    base = height - 15
    _axes(pen, width, base, unit)
    palette = list(COLOURS.values())
    points = []
    for i, value in enumerate(chart.values):
        left = SLOT * (i + 1)
        _write(pen, chart.labels[i], left + 12, base + 4)
        if chart.kind == "bar":
            _bar(pen, left + 5, 18, base, unit * value, palette[i])
        elif chart.kind == "grouped":
            _bar(pen, left + 3, 10, base, unit * value, COLOURS["red"])
            _bar(pen, left + 15, 10, base, unit * chart.second[i], COLOURS["blue"])
        else:
            points.append((left + 14, base - unit * value))
    if points:
        pen.line(points, fill=_BLACK, width=1)
        for (x, y), colour in zip(points, palette, strict=False):
            pen.rectangle((x - 4, y - 4, x + 4, y + 4), fill=colour)
    return image


def _axes(pen: ImageDraw.ImageDraw, width: int, base: int, unit: int) -> None:
    """Grid lines and numbers at 0, 2, ... 8."""
    for value in range(0, TOP + 1, 2):
        y = base - unit * value
        pen.line((20, y, width - 1, y), fill=_GREY)
        _write(pen, str(value), 10, y - 3)
    pen.line((20, base - unit * TOP, 20, base), fill=_BLACK)
    pen.line((20, base, width - 1, base), fill=_BLACK)


def _bar(pen: ImageDraw.ImageDraw, x: int, width: int, base: int, height: int, colour: tuple[int, int, int]) -> None:
    pen.rectangle((x, base - height, x + width - 1, base - 1), fill=colour)


def _pie(pen: ImageDraw.ImageDraw, chart: Chart) -> None:
    """Sectors clockwise from the top, every part outlined; the legend stands on the right."""
    centre, radius, start = (42, 42), 38, 0
    box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    for i, (value, colour) in enumerate(zip(chart.values, COLOURS.values(), strict=False)):
        angles = [360 * part / PARTS - 90 for part in (start, start + value)]
        pen.pieslice(box, angles[0], angles[1], fill=colour)
        pen.rectangle((88, 6 + 16 * i, 96, 14 + 16 * i), fill=colour)
        _write(pen, chart.labels[i], 100, 7 + 16 * i)
        start += value
    for part in range(PARTS):
        angle = 2 * math.pi * part / PARTS
        pen.line(
            (*centre, centre[0] + radius * math.sin(angle), centre[1] - radius * math.cos(angle)), fill="white", width=2
        )


def _write(pen: ImageDraw.ImageDraw, text: str, x: int, y: int) -> None:
    """One letter or digit, its upper left corner at (x, y)."""
    rows = bytes.fromhex(_GLYPHS[text])
    pen.point([(x + c, y + r) for r, row in enumerate(rows) for c in range(5) if row >> (4 - c) & 1], fill=_BLACK)
