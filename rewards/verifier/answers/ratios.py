"""Ratios against ratios, and against values: `9:6` and `3/2` are `3:2`; a time of day is no ratio."""

from __future__ import annotations

import re

from rewards.verifier.answers import exact, times
from rewards.verifier.answers.structure import Node

_PADDED = re.compile(r"0\d")
"""A part of a time; no part of a ratio is padded with a zero."""


def padded(node: Node) -> tuple[str, ...]:
    """The parts that are written as those of a time: `3:02` is not `3:2`."""
    return tuple(i.text for i in node.items if _PADDED.match(i.text))


def proportional(gold: Node, answer: Node) -> bool:
    """`9:6` is `3:2`; what reads as a time of day is that."""
    if gold.kind != "ratio" or times.read(gold.text) is not None or len(gold.items) != len(answer.items):
        return False
    wanted, given = ([exact.read(i.text) for i in node.items] for node in (gold, answer))
    numbers = [(w.value, g.value) for w, g in zip(wanted, given, strict=True) if w is not None and g is not None]
    if len(numbers) < len(gold.items) or not all(w and g for w, g in numbers):
        return False
    return len({w / g for w, g in numbers}) == 1


def quotient(gold: Node, answer: Node) -> bool:
    """`3:2` is `3/2` where one side is a ratio of two and the other a value."""
    ratio, other = (gold, answer) if gold.kind == "ratio" else (answer, gold)
    if len(ratio.items) != 2 or other.kind != "leaf" or times.read(ratio.text) is not None:
        return False
    above, below, value = (exact.read(t) for t in (ratio.items[0].text, ratio.items[1].text, other.text))
    if above is None or below is None or value is None or not below.value or value.percent:
        return False
    return above.value / below.value == value.value
