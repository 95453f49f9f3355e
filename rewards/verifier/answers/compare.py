"""Two LaTeX expressions in, whether their values at fixed points are equal, out: no sympy, no math_verify.

`differ` is the strict rule's quick way out for wrong answers; it says yes only where both readings are beyond doubt. `equal`
is the second opinion that `audit` compares with the strict rule.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.verifier.answers import numeric
from rewards.verifier.answers.numeric import Number, UnreadableError

_POINTS = ((0.7391, 0.9137), (1.6180, 0.3319), (2.4142, 1.2071))
"""First value and step between the values of the names, in the order of the alphabet."""
_TOLERANCE = 1e-9
_DIFFERENT = 1e-5
_DOUBTFUL = re.compile(
    # a quotient that goes on without a sign, an argument without brackets, whole-number functions, heavy cancellation, words
    r"/\s*(?:\d+|[a-zA-Z]|\\pi)\s*[\\a-zA-Z({]|\\(?:sin|cos|tan|cot|sec|csc|ln|log|exp|arc[a-z]+|sinh|cosh|tanh)\s*[^({\s_^]"
    r"|floor|ceil|!|binom|\(\s*-|\d{7}|\^\s*\{?\s*-?\d{2}|\[|'|:|[<>=]|\|"
    r"|(?<![\\a-zA-Z])[a-zA-Z]{4,}"
)


def equal(left: str, right: str) -> bool | None:
    """Whether the values agree wherever both have one; None where they cannot be compared."""
    try:
        one, two = numeric.parse(left), numeric.parse(right)
    except UnreadableError:
        return None
    names = sorted({*one.names, *two.names})
    verdicts = []
    for first, step in _POINTS if names else _POINTS[:1]:
        at = {name: complex(first + step * k) for k, name in enumerate(names)}
        try:
            verdicts.append(_same(numeric.at(one, at), numeric.at(two, at)))
        except UnreadableError:
            continue
    return all(verdicts) if verdicts else None


def differ(left: str, right: str) -> bool:
    """Whether two expressions certainly have different values."""
    if _DOUBTFUL.search(left) or _DOUBTFUL.search(right):
        return False
    try:
        one, two = numeric.parse(left), numeric.parse(right)
    except UnreadableError:
        return False
    names = sorted({*one.names, *two.names})
    first, step = _POINTS[0]
    at = {name: complex(first + step * k) for k, name in enumerate(names)}
    try:
        return not _close(numeric.at(one, at), numeric.at(two, at), _DIFFERENT)
    except UnreadableError:
        return False


def _same(left: Number, right: Number) -> bool:
    """Whole numbers exactly, however long; others to nine digits."""
    if all(isinstance(n, Fraction) and n.denominator == 1 for n in (left, right)):
        return left == right
    return _close(left, right, _TOLERANCE)


def _close(left: Number, right: Number, tolerance: float) -> bool:
    if left == right:
        return True
    try:
        one, two = complex(left), complex(right)
    except OverflowError:
        return False
    return abs(one - two) <= tolerance * max(abs(one), abs(two))
