"""A tidied gold and answer in, the answer's other readings that this gold allows out: notation that depends on its reader.

Each reading is tried only where the gold makes it the natural one (a decimal comma for a decimal gold, j for i in a complex
gold), so none of them lets one answer stand for two golds of a kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from rewards.verifier.answers import exact

_COMMA = re.compile(r"([+-]?\d+),(\d+)")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+")
_MIXED = re.compile(
    r"([+-]?\d+)\s*(?:,?\s*\\text\s*\{\s*and\s*\}|\s+and\s)\s*"
    r"(\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d+)/(\d+))"
)
_REVERSED = re.compile(r"([\[\]])([^\[\](){}]*(?:\{[^\[\]]*\})*[^\[\](){}]*)([\[\]])")
_LONE = r"(?<![\\a-zA-Z])%s(?![a-zA-Z])"
_BARE_LOG = re.compile(r"\\log(?![a-zA-Z])(?!\s*_)")
_NATURAL = re.compile(r"\\ln(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|\([^()]*\))\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")


def decimal_comma(gold: str, answer: str) -> str | None:
    """`1000,99` for a gold with a decimal point."""
    match = _COMMA.fullmatch(answer)
    known = exact.read(gold)
    if match is None or known is None or not known.decimals or _GROUPED.fullmatch(answer):
        return None
    return f"{match[1]}.{match[2]}"


def mixed_number(gold: str, answer: str) -> str | None:
    """`2 and \\frac{2}{3}` for a gold that is one number."""
    match = _MIXED.fullmatch(answer)
    known = exact.read(gold)
    if match is None or known is None or known.value.denominator == 1:
        return None
    above, below = int(match[3] or match[5]), int(match[4] or match[6])
    if not 0 < above < below:
        return None
    value = Fraction(match[1]) + Fraction(above, below) * (-1 if match[1].startswith("-") else 1)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def open_ends(gold: str, answer: str) -> str | None:
    """`]0, 1[` as `(0, 1)`, where the brackets can only be ends of an interval."""
    match = _REVERSED.fullmatch(answer)
    if match is None or "," not in match[2].replace(";", ",") or (match[1], match[3]) == ("[", "]"):
        return None
    return f"{'(' if match[1] == ']' else '['}{match[2].replace(';', ',')}{')' if match[3] == '[' else ']'}"


def engineers_j(gold: str, answer: str) -> str | None:
    """`14 - j` for `14 - i`."""
    i, j = re.compile(_LONE % "i"), re.compile(_LONE % "j")
    if not i.search(gold) or j.search(gold) or i.search(answer) or not j.search(answer):
        return None
    return j.sub("i", answer)


def natural_log(gold: str, answer: str) -> str | None:
    """`\\log` without a base is natural beside a gold with `\\ln`."""
    if _BARE_LOG.search(answer) and _NATURAL.search(gold):
        return _BARE_LOG.sub(r"\\ln ", answer)
    if _BARE_LOG.search(gold) and _NATURAL.search(answer):
        return _NATURAL.sub(r"\\log ", answer)
    return None


def radians(text: str) -> str:
    """Degrees inside trigonometric functions as multiples of pi."""
    if not _TRIGONOMETRIC.search(text):
        return text
    return _DEGREES.sub(r"(\1\\cdot\\pi/180)", text)


def angle(gold: str, answer: str) -> str | None:
    """`\\frac{\\pi}{3}` for `60^\\circ`, and `60^\\circ` for `\\frac{\\pi}{3}`."""
    whole = re.compile(rf"[+-]?\s*{_DEGREES.pattern}")
    if whole.fullmatch(gold) and "\\pi" in answer and "\\circ" not in answer:
        return rf"\frac{{180({answer})}}{{\pi}}"
    if whole.fullmatch(answer) and "\\pi" in gold and "\\circ" not in gold:
        return _DEGREES.sub(r"\\frac{\1\\pi}{180}", answer)
    return None


def vector(gold: str, answer: str) -> str | None:
    """`3i - 5j` for a gold that is a pair or triple of coordinates."""
    pair = re.fullmatch(r"\(([^()]*)\)|\\begin\s*\{[pb]matrix\}(.*)\\end\s*\{[pb]matrix\}", gold, re.DOTALL)
    terms = re.findall(
        r"([+-]?)\s*([^\s+\-ijk]*?)\s*(?:\\(?:hat|vec|text|mathbf)\s*)?\{?\s*\\?([ijk])(?:math)?\s*\}?\s*", answer
    )
    if (
        pair is None
        or not terms
        or re.sub(r"\s", "", "".join(map("".join, terms)))
        != re.sub(r"\\(?:hat|vec|text|mathbf)|\\(?=[ij]math)|(?<=[ij])math|[\s{}]", "", answer)
    ):
        return None
    size = (pair[1].count(",") if pair[1] is not None else pair[2].count(r"\\")) + 1
    parts = {"i": "0", "j": "0", "k": "0"}
    for sign, coefficient, name in terms:
        parts[name] = f"{sign.replace('+', '')}{coefficient or 1}"
    named = {name for _, _, name in terms}
    if len(terms) != len(named) or size not in (2, 3) or (size == 2 and "k" in named):
        return None
    return "(" + ", ".join(parts[n] for n in "ijk"[:size]) + ")"


def blackboard(gold: str, answer: str) -> str | None:
    """`R` or a bold R for a gold that is `\\mathbb{R}`."""
    letter = re.fullmatch(r"\\mathbb\{([RNZQC])\}", gold)
    return gold if letter and re.fullmatch(rf"(?:\\text\s*)?\{{?\s*{letter[1]}\s*\}}?", answer) else None


READINGS: tuple[Callable[[str, str], str | None], ...] = (
    decimal_comma, mixed_number, open_ends, engineers_j, natural_log, angle, vector, blackboard,
)  # fmt: skip


def alternatives(gold: str, answer: str) -> Iterator[str]:
    """The answer as each reading that applies writes it."""
    for reading in READINGS:
        found = reading(gold, answer)
        if found is not None:
            yield found
