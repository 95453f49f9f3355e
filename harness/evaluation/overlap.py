"""How many evaluated items share wording with training items: n-gram overlap, counted into every result.

Questions are compared as lower-case words. An item counts as overlapping when it shares a run of `n` words with any
training question; a shorter text question must be equal as a whole. A short question about a picture says nothing
without the picture and is counted as unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness.core.records import Example

_WORD = re.compile(r"\w+|[^\w\s]")


def overlap(evaluated: Sequence[Example], trained: Sequence[Example], n: int = 13) -> dict[str, Any]:
    """`{"n", "items", "overlapping", "unchecked", "ids"}`; `ids` are the first 20 overlapping ones."""
    seen = {gram for example in trained for gram in _grams(example, n)}
    hits, unchecked = [], 0
    for example in evaluated:
        grams = list(_grams(example, n))
        unchecked += not grams
        if any(gram in seen for gram in grams):
            hits.append(example.id)
    return {"n": n, "items": len(evaluated), "overlapping": len(hits), "unchecked": unchecked, "ids": hits[:20]}


def _grams(example: Example, n: int) -> Iterator[tuple[str, ...]]:
    words = _WORD.findall(example.question.lower())
    if len(words) < n:
        if words and not example.images:
            yield tuple(words)
        return
    for start in range(len(words) - n + 1):
        yield tuple(words[start : start + n])
