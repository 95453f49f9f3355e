"""A response in, the part of it that is not private reasoning out, with places in the response.

One table of reasoning tags serves every protocol. A closed block is removed. A closing tag without an opening one ends
reasoning that began in the prompt, so everything before it is removed. A block that is never closed means that the response
ended while it was still reasoning: nothing in it is an answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<thought process>", "</thought process>"),
    ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Opening and closing tags of reasoning; capitals do not matter."""

_PARTNER = {opening.lower(): closing.lower() for opening, closing in TAGS}
_CLOSING = frozenset(_PARTNER.values())
_TAG = re.compile("|".join(re.escape(tag) for pair in TAGS for tag in pair), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Visible:
    """`text` without reasoning; `open`: a reasoning block was never closed.

    `starts`: where each kept piece begins in `text` and in the response, in order.
    """

    text: str
    open: bool
    starts: tuple[tuple[int, int], ...]

    def place(self, position: int) -> int:
        """The place in the response of a position in `text`."""
        found = max(0, bisect_right(self.starts, (position, 1 << 62)) - 1)
        kept, origin = self.starts[found]
        return origin + position - kept


def visible(response: str) -> Visible:
    """The response without reasoning blocks. Linear in its length."""
    pieces: list[tuple[int, int]] = []
    awaited: list[str] = []
    start = 0
    for match in _TAG.finditer(response):
        tag = match.group().lower()
        if awaited:
            if tag == awaited[-1]:
                awaited.pop()
                start = match.end()
            elif _PARTNER.get(tag) == awaited[-1]:
                awaited.append(awaited[-1])
        elif tag in _CLOSING:
            pieces, start = [], match.end()
        else:
            pieces.append((start, match.start()))
            awaited.append(_PARTNER[tag])
    if not awaited:
        pieces.append((start, len(response)))
    return _joined(response, pieces or [(0, 0)], bool(awaited))


def _joined(response: str, pieces: list[tuple[int, int]], unfinished: bool) -> Visible:
    starts, length = [], 0
    for first, last in pieces:
        starts.append((length, first))
        length += last - first
    return Visible("".join(response[a:b] for a, b in pieces), unfinished, tuple(starts))
