"""Two answer strings in, whether they are equal when numbers are rounded to two decimals: MATH-V's comparison.

Follows `is_equal` of mathllm/MATH-V (evaluation/utils.py), which evaluates both sides with latex2sympy2: its parser ignores
`$`, stops at a closing brace or a full stop, and gives no number for anything with a name in it, e and i included.
"""

from __future__ import annotations

import re

from rewards.verifier.answers import numeric

DECIMALS = 2
_NAME = re.compile(r"(?<![a-z\\])[ei](?![a-z])|(?<!\\)%")
_IGNORED = re.compile(r"\$|\\displaystyle|\\;")


def equal(gold: str, found: str) -> bool:
    """Equal as strings, as bracketed lists of numbers, or as numbers rounded to two decimals. The gold is not cleaned."""
    left, right = gold.lower(), found.lower()
    if not left.replace(" ", "") or not right.replace(" ", ""):
        return False
    if left.strip() == right.strip() or _elements(left) == _elements(right):
        return True
    one, two = number(left), number(right)
    return one is not None and two is not None and round(one, DECIMALS) == round(two, DECIMALS)


def _elements(text: str) -> str:
    """`(1/2,3)` as `(0.5,3.0)`; a text that is no such list stays as it is."""
    parts = text[1:-1].split(",")
    if len(parts) == 1 or text[0] + text[-1] not in ("()", "[]"):
        return text
    values = [p if "infty" in p or p in ("a", "-a") else number(p) for p in parts]
    if None in values:
        return text
    return text[0] + ",".join(v if isinstance(v, str) else str(round(v or 0.0, DECIMALS)) for v in values) + text[-1]


def number(text: str) -> float | None:
    """The value of a LaTeX text without names, None when it has none."""
    text = _IGNORED.sub("", text).replace("π", r"\pi ")
    if _NAME.search(text):
        return None
    try:
        value = complex(numeric.at(numeric.parse(text, prefix=True), {}))
    except (numeric.UnreadableError, OverflowError):
        return None
    return None if value.imag else value.real
