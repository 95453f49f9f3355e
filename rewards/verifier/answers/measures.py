"""Two canonical units in, the factor between them out: `100 cm` is `1 m`, `4 L` is `4000 ml`, `cm` and `cm2` are not alike.

A unit is one of the table below, with a power and joined by slashes (`km/h`, `cm2`). Extend FACTORS by a line.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

FACTORS: dict[str, tuple[str, int, Fraction]] = {
    # unit: what it measures, in which power, and how many of the base unit it holds
    "m": ("length", 1, Fraction(1)), "km": ("length", 1, Fraction(1000)), "dm": ("length", 1, Fraction(1, 10)),
    "cm": ("length", 1, Fraction(1, 100)), "mm": ("length", 1, Fraction(1, 1000)),
    "µm": ("length", 1, Fraction(1, 10**6)), "nm": ("length", 1, Fraction(1, 10**9)),
    "in": ("length", 1, Fraction(254, 10**4)), "ft": ("length", 1, Fraction(3048, 10**4)),
    "yd": ("length", 1, Fraction(9144, 10**4)), "mi": ("length", 1, Fraction(1609344, 1000)),
    "L": ("length", 3, Fraction(1, 1000)), "ml": ("length", 3, Fraction(1, 10**6)),
    "ha": ("length", 2, Fraction(10**4)),
    "g": ("mass", 1, Fraction(1)), "kg": ("mass", 1, Fraction(1000)), "mg": ("mass", 1, Fraction(1, 1000)),
    "ton": ("tonnes", 1, Fraction(1)),
    "lb": ("pounds", 1, Fraction(1)), "oz": ("pounds", 1, Fraction(1, 16)),
    "gal": ("gallons", 1, Fraction(1)), "qt": ("gallons", 1, Fraction(1, 4)), "pt": ("gallons", 1, Fraction(1, 8)),
    "s": ("time", 1, Fraction(1)), "ms": ("time", 1, Fraction(1, 1000)), "min": ("time", 1, Fraction(60)),
    "h": ("time", 1, Fraction(3600)), "day": ("time", 1, Fraction(86400)), "week": ("time", 1, Fraction(604800)),
    "month": ("months", 1, Fraction(1)), "yr": ("months", 1, Fraction(12)),
    "$": ("dollars", 1, Fraction(1)), "¢": ("dollars", 1, Fraction(1, 100)),
    "hz": ("time", -1, Fraction(1)), "khz": ("time", -1, Fraction(1000)), "mhz": ("time", -1, Fraction(10**6)),
    "J": ("energy", 1, Fraction(1)), "kj": ("energy", 1, Fraction(1000)),
    "W": ("power", 1, Fraction(1)), "kw": ("power", 1, Fraction(1000)),
    "ev": ("electronvolts", 1, Fraction(1)), "kev": ("electronvolts", 1, Fraction(1000)),
    "mev": ("electronvolts", 1, Fraction(10**6)), "gev": ("electronvolts", 1, Fraction(10**9)),
}  # fmt: skip
_PIECE = re.compile(r"(/?)([^\d/-]+)(-?\d)?")


@lru_cache(maxsize=512)
def _dimension(unit: str) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    """What a unit measures, with powers, and its size in base units; None for what the table does not know."""
    powers: dict[str, int] = {}
    size, place = Fraction(1), 0
    while place < len(unit):
        match = _PIECE.match(unit, place)
        if match is None or match[2] not in FACTORS:
            return None
        base, power, factor = FACTORS[match[2]]
        times = int(match[3] or 1) * (-1 if match[1] else 1)
        powers[base] = powers.get(base, 0) + power * times
        size *= factor**times
        place = match.end()
    return tuple(sorted((b, p) for b, p in powers.items() if p)), size


def factor(gold: str, answer: str) -> Fraction | None:
    """By what a number in the answer's unit is multiplied to be one in the gold's; 1 where either has no unit; None
    where the two measure different things."""
    if not gold or not answer or gold == answer:
        return Fraction(1)
    left, right = _dimension(gold), _dimension(answer)
    if left is None or right is None or left[0] != right[0]:
        return None
    return right[1] / left[1]
