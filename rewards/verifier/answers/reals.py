"""Sets of real numbers, however they are written, as one canonical union of intervals.

In: the parsed structure of an answer (an interval, a union, inequalities, `x \\ne 2`, set-builder notation, words). Out:
disjoint intervals in order, touching ones joined; or None for what is no set of reals or has ends that are no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rewards.verifier.answers import exact, structure, symbolic
from rewards.verifier.answers.structure import Node

_WHOLE = re.compile(
    r"\\mathbb\{R\}|(?:\\text\s*\{\s*)?(?:all|any|the|every)\s+(?:set\s+of\s+)?(?:all\s+)?reals?(?:\s+numbers?)?(?:\s+x)?(?:\s*\})?",
    re.IGNORECASE,
)
_EXCEPT = re.compile(
    r"^(.*?)\s*(?:\\setminus|\\text\s*\{\s*(?:except(?:\s+for)?|but\s+not|excluding|other\s+than)\s*\}|\bexcept(?:\s+for)?\b"
    r"|\bother than\b|\}\s*except)\s*(.*)$"
)
_BUILDER = re.compile(r"^\\\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.*)\\\}$", re.DOTALL)
_OR, _AND = re.compile(r"\s+or\s+|\\text\s*\{\s*or\s*\}"), re.compile(r"\s+and\s+|\\text\s*\{\s*and\s*\}")
_COMMA = re.compile(",")
_INFINITY = re.compile(r"([+-]?)\s*\\infty")
_NAME = re.compile(r"\\?[a-zA-Z]+(?:_(?:\{[^{}]*\}|\w))?")


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high` (mpmath numbers, infinities included); whether each end belongs to it."""

    low: Any
    low_in: bool
    high: Any
    high_in: bool


Union = tuple[Interval, ...]


def read(text: str) -> tuple[Union, str] | None:
    """(canonical union, name of the variable or "") of a cleaned answer, None for what is none."""
    text = text.strip().removeprefix("\\text{ }").strip()
    builder = _BUILDER.match(text)
    if builder:
        found = read(builder[2])
        return found if found and found[1] in ("", builder[1]) else None
    if _WHOLE.fullmatch(text):
        return _all(), ""
    for pattern, combine in ((_OR, _join), (_AND, _meet)):
        parts = [p for p in pattern.split(text) if p.strip()]
        if len(parts) > 1:
            return _combined([read(p) for p in parts], combine)
    both = [p for p in structure.split(text, _COMMA) if p.strip()]
    if len(both) > 1 and re.search(r"\\(?:ne|in)(?![a-zA-Z])", text) and not re.match(r"[(\[\\]", text):
        return _combined([read(p) for p in both], _meet)
    without = _EXCEPT.match(text)
    if without and without[2].strip():
        return _without(read(without[1]), without[2])
    return _node(structure.parse(text))


def same(gold: str, answer: str) -> bool | None:
    """Whether two cleaned answers are the same set of reals; None where either is none, or says so of another variable."""
    wanted, given = read(gold), read(answer)
    if wanted is None or given is None:
        return None
    if wanted[1] and given[1] and wanted[1] != given[1]:
        return False
    left, right = wanted[0], given[0]
    return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))


def covers(conditions: Sequence[str]) -> bool:
    """Whether conditions on one variable together hold for every real number."""
    found = _combined([read(c) for c in conditions], _join)
    return found is not None and found[0] == _all()


def is_set_like(text: str) -> bool:
    """Whether an answer is written as a set of reals beyond doubt: a pair of numbers alone may be a point."""
    return bool(
        re.search(
            r"\\(?:infty|cup|in|le|ge|ne|lt|gt|setminus)(?![a-zA-Z])|[<>]|\\mathbb\{R\}|\breals?\b|\]\s*$|^\s*\[", text
        )
    )


def _all() -> Union:
    import mpmath

    return (Interval(mpmath.ninf, False, mpmath.inf, False),)


def _node(node: Node) -> tuple[Union, str] | None:
    if node.kind == "tuple" and len(node.items) == 2:
        return _interval(node.items[0].text, node.marks[0] == "[", node.items[1].text, node.marks[1] == "]", "")
    if node.kind == "union":
        return _combined([read(i.text) for i in node.items], _join)
    if node.kind == "set":
        points = [_number(i.text) for i in node.items]
        return None if None in points or not points else (_join([(Interval(p, True, p, True),) for p in points]), "")
    return _relation(node) if node.kind == "relation" else None


def _relation(node: Node) -> tuple[Union, str] | None:
    if node.marks == (r"\in",) and _NAME.fullmatch(node.items[0].text):
        found = read(node.items[1].text)
        return (found[0], node.items[0].text) if found else None
    if node.marks == (r"\ne",):
        name, value = node.items[0].text, node.items[1].text
        return _without((_all(), name), value) if _NAME.fullmatch(name) else None
    if node.marks == ("=",) and _NAME.fullmatch(node.items[0].text):
        point = _number(node.items[1].text)
        return None if point is None else ((Interval(point, True, point, True),), node.items[0].text)
    items, marks = node.items, node.marks
    if all(m in (">", r"\ge") for m in marks):
        items, marks = items[::-1], tuple({">": "<", r"\ge": r"\le"}[m] for m in marks[::-1])
    if not all(m in ("<", r"\le") for m in marks):
        return None
    closed = [m == r"\le" for m in marks]
    if len(items) == 3 and _NAME.fullmatch(items[1].text):
        return _interval(items[0].text, closed[0], items[2].text, closed[1], items[1].text)
    if len(items) == 2 and _NAME.fullmatch(items[0].text):
        return _interval(r"-\infty", False, items[1].text, closed[0], items[0].text)
    if len(items) == 2 and _NAME.fullmatch(items[1].text):
        return _interval(items[0].text, closed[0], r"\infty", False, items[1].text)
    return None


def _interval(low: str, low_in: bool, high: str, high_in: bool, name: str) -> tuple[Union, str] | None:
    import mpmath

    left, right = _number(low), _number(high)
    if left is None or right is None or left > right or (left == right and not (low_in and high_in)):
        return None
    if (left == mpmath.ninf and low_in) or (right == mpmath.inf and high_in):
        return None
    return (Interval(left, low_in, right, high_in),), name


def _number(text: str) -> Any:
    """An end as an mpmath number; None for what is no number."""
    import mpmath

    infinite = _INFINITY.fullmatch(text.strip())
    if infinite:
        return mpmath.ninf if infinite[1] == "-" else mpmath.inf
    literal = exact.read(text)
    if literal is not None:
        return symbolic.rounded(literal.value)
    try:
        found = symbolic.read(text)
    except (symbolic.PartialParseError, symbolic.TooLargeError, structure.TooDeepError):
        return None
    value = None if found.names else symbolic.value(found.tree, {})
    return None if value is None or abs(value[1]) > 0 else value[0]


def _without(whole: tuple[Union, str] | None, values: str) -> tuple[Union, str] | None:
    """A set less some points."""
    import mpmath

    body = re.sub(r"^\\text\s*\{[^{}]*\}|\\[{}]|^[a-zA-Z]\s*=", "", values).strip(" {}.")
    points = [
        _number(p.strip().removeprefix("x =").removeprefix("x="))
        for p in re.split(r",|\s+and\s+|\s+or\s+", body)
        if p.strip()
    ]
    if whole is None or not points or None in points:
        return None
    union = whole[0]
    for point in points:
        union = _meet([union, (Interval(mpmath.ninf, False, point, False), Interval(point, False, mpmath.inf, False))])
    return union, whole[1]


def _combined(parts: Sequence[tuple[Union, str] | None], combine: Any) -> tuple[Union, str] | None:
    found = [p for p in parts if p is not None]
    names = {name for _, name in found if name}
    if len(found) != len(parts) or len(names) > 1:
        return None
    return combine([union for union, _ in found]), next(iter(names), "")


def _join(unions: Sequence[Union]) -> Union:
    """The union, touching intervals joined."""
    pieces = sorted((i for union in unions for i in union), key=lambda i: (i.low, not i.low_in))
    found: list[Interval] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last is not None and (piece.low < last.high or (piece.low == last.high and (piece.low_in or last.high_in))):
            high, high_in = max((last.high, last.high_in), (piece.high, piece.high_in))
            found[-1] = Interval(last.low, last.low_in, high, high_in)
        else:
            found.append(piece)
    return tuple(found)


def _meet(unions: Sequence[Union]) -> Union:
    """The intersection."""
    found = unions[0]
    for other in unions[1:]:
        pieces = []
        for a in found:
            for b in other:
                low, low_out = max((a.low, not a.low_in), (b.low, not b.low_in))
                high, high_in = min((a.high, a.high_in), (b.high, b.high_in))
                if low < high or (low == high and not low_out and high_in):
                    pieces.append(Interval(low, not low_out, high, high_in))
        found = _join([tuple(pieces)])
    return found


def _equal(left: Interval, right: Interval) -> bool:
    same_ends = (left.low_in, left.high_in) == (right.low_in, right.high_in)
    return same_ends and _close(left.low, right.low) and _close(left.high, right.high)


def _close(left: Any, right: Any) -> bool:
    import mpmath

    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return symbolic.close((left, mpmath.mpf(0)), (right, mpmath.mpf(0)))
