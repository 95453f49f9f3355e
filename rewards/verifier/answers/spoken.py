"""Numbers in words in, exact fractions out: `twenty-one`, `five hundred`, `two thirds`, `one half`. Whole texts only."""

from __future__ import annotations

import re
from fractions import Fraction

_UP_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_ONES = {word: value for value, word in enumerate(_UP_TO_NINETEEN.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * value for value, word in enumerate(_TENS_WORDS.split(), start=2)}
_LARGE = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
          "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100}  # fmt: skip
_MOST = 12
"""Words of one number."""


def read(text: str) -> Fraction | None:
    """The number that a text says in words, None where it says anything else."""
    words = re.findall(r"[a-z]+", text.casefold())
    if not words or len(words) > _MOST or re.search(r"[^A-Za-z\s-]", text.strip()):
        return None
    sign = -1 if words[0] in ("minus", "negative") else 1
    words = words[1:] if sign < 0 else words
    if len(words) > 1 and (size := _PARTS.get(words[-1]) or _PARTS.get(words[-1].removesuffix("s"))):
        above = 1 if words[:-1] in (["a"], ["an"]) else _whole(words[:-1])
        return None if above is None else Fraction(sign * above, size)
    whole = _whole(words)
    return None if whole is None else Fraction(sign * whole)


def _whole(words: list[str]) -> int | None:
    """A whole number; parts must come from large to small."""
    total = group = 0
    last = None
    for word in words:
        if word == "and" and last in ("hundred", "thousand"):
            continue
        if word in _ONES and last not in _ONES and not (last in _TENS and not 0 < _ONES[word] < 10):
            group += _ONES[word]
        elif word in _TENS and last not in _ONES and last not in _TENS:
            group += _TENS[word]
        elif word == "hundred" and 0 < group < 100:
            group *= 100
        elif word in _LARGE and group:
            total, group = total + group * _LARGE[word], 0
        else:
            return None
        last = word
    return total + group if words and last is not None else None
