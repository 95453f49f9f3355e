"""Number literals in, exact fractions out: `025`, `142.0`, `-\\frac{3}{4}`, `1\\frac12`, `4.5e33`, `7 \\times 10^{37}`.

Reads literals only, never arithmetic, so that an answer that merely repeats the question's sum is not a number. Caps keep
every result small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rewards.verifier.answers import measures, normal, spoken

MAX_DIGITS = 1000
MAX_EXPONENT = 400

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_LITERAL = re.compile(rf"([+-]?)\s*({_DECIMAL})")
_SCIENTIFIC = re.compile(
    rf"([+-]?)\s*(?:({_DECIMAL})\s*(?:[eE]\s*([+-]?\d+)|(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*([+-]?\s*\d+)\s*\}}|([+-]?\d+)))"
    rf"|10\s*\^\s*(?:\{{\s*([+-]?\d+)\s*\}}|([+-]?\d+)))"
)
_FRACTION = re.compile(r"([+-]?)\s*(?:(\d+)\s*)?\\frac\s*\{\s*([+-]?)\s*(\d+)\s*\}\s*\{\s*([+-]?)\s*(\d+)\s*\}")
_SLASH = re.compile(r"([+-]?)\s*(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_PERCENT = re.compile(r"\s*(?:\\?%|\\text\s*\{\s*(?:\\?%|percent)\s*\}|percent(?:age)?)\s*$", re.IGNORECASE)


_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:[ '’]\d{3})+(?=(?:\.\d+)?(?![\d.]))|(?:\.\d{3}){2,}(?![\d.]))")
"""Digits grouped by blanks or apostrophes, or twice or more by points."""
_REPEATING = re.compile(r"([+-]?)\s*(\d+)?\.(\d*)(?:\\(?:overline|bar|dot)\s*\{?\s*(\d+)\s*\}?|\((\d+)\))")
_GOING_ON = re.compile(r"([+-]?)\s*(\d+)?\.(\d*?)(?:(\d)\4{2,}|(\d{2,})\5+(\d*))\s*(?:\.\.\.|\\ldots)")


@dataclass(frozen=True, slots=True)
class Literal:
    """An exact number as written. `decimals`: digits after the point, None where no point stands. `percent`: the written
    number stands before a percent sign (`value` is the written number, not its hundredth)."""

    value: Fraction
    decimals: int | None = None
    percent: bool = False
    unit: str = ""


def read(text: str) -> Literal | None:
    """The literal in a cleaned answer, or None. Never raises."""
    if len(text) > MAX_DIGITS:
        return None
    percent = _PERCENT.search(text)
    scale, unit = Fraction(1), ""
    body = text
    if percent:
        body = text[: percent.start()]
    elif _SCIENTIFIC.fullmatch(_unwrap(text.strip())) is None:
        body, tail = normal.split_tail(text)
        if tail is None:
            return None
        scale, unit = tail.scale, tail.unit
    body = _unwrap(_GROUPS.sub(lambda m: re.sub(r"[^\d]", "", m.group()), body.strip()))
    number = _decimal(body) or _scientific(body) or _fraction(body) or _repeating(body)
    if number is None:
        said = (
            spoken.read(normal.words(text)) if re.search(r"[A-Za-z]{3}", text) and not re.search(r"\d", text) else None
        )
        return None if said is None else Literal(said)
    value, decimals = number
    return Literal(value * scale, decimals if scale == 1 else None, percent is not None, unit)


def _unwrap(body: str) -> str:
    """`(5)`, `{5}`, `+5` and `\\text{5}` as 5."""
    body = re.sub(r"^\\text\s*(?=\{)", "", body)
    while len(body) > 2 and body[0] + body[-1] in ("()", "{}") and not re.search(r"[(){}]", body[1:-1]):
        body = body[1:-1].strip()
    return body


def _decimal(body: str) -> tuple[Fraction, int | None] | None:
    match = _LITERAL.fullmatch(body)
    if not match:
        return None
    return _signed(match[1], Fraction(_digits(match[2]))), _decimals(match[2])


def _digits(text: str) -> str:
    return text.replace(",", "").rstrip(".") or "0"


def _decimals(text: str) -> int | None:
    return len(text.partition(".")[2]) if "." in text and not text.endswith(".") else None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def _scientific(body: str) -> tuple[Fraction, int | None] | None:
    match = _SCIENTIFIC.fullmatch(body)
    if not match:
        return None
    exponent = int(re.sub(r"\s", "", next(g for g in match.groups()[2:] if g is not None)))
    if abs(exponent) > MAX_EXPONENT:
        return None
    mantissa = Fraction(_digits(match[2])) if match[2] else Fraction(1)
    decimals = max(0, (_decimals(match[2] or "") or 0) - exponent) or None
    return _signed(match[1], mantissa * Fraction(10) ** exponent), decimals


def _repeating(body: str) -> tuple[Fraction, None] | None:
    """`0.\\overline{27}`, `0.1(6)`, `0.2727...`: a decimal whose last digits go on for ever."""
    match = _REPEATING.fullmatch(body) or _GOING_ON.fullmatch(body)
    period = match and (match[4] or match[5])
    if not match or not period or (match.re is _GOING_ON and match[6] and not period.startswith(match[6])):
        return None
    start = match[3] or ""
    value = Fraction(int((match[2] or "0") + start), 10 ** len(start))
    value += Fraction(int(period), 10 ** len(start) * (10 ** len(period) - 1))
    return _signed(match[1], value), None


def _fraction(body: str) -> tuple[Fraction, None] | None:
    match = _FRACTION.fullmatch(body)
    if match:
        sign, whole, top_sign, top, bottom_sign, bottom = match.groups()
    else:
        plain = _SLASH.fullmatch(body)
        if not plain:
            return None
        (sign, whole, top, bottom), top_sign, bottom_sign = plain.groups(), "", ""
    if int(bottom) == 0 or (whole and (top_sign or bottom_sign or int(top) >= int(bottom))):
        return None
    value = Fraction(int(top), int(bottom)) * (-1 if (top_sign == "-") != (bottom_sign == "-") else 1)
    return _signed(sign, value + int(whole or 0)), None


def terminating(value: Fraction) -> bool:
    """Whether a decimal can write the value exactly."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def equal(gold: Literal, answer: Literal) -> bool:
    """Exact, except that a decimal may round a gold that no decimal can write (relative 1e-6).

    A percent sign counts for a hundredth where the values then agree (`50\\%` and 1/2), and for nothing where the gold has
    one (`50\\%` and 50) or is above one, and so no share (50 and `50\\%`, but not 1 and `1\\%`). Units of one kind are
    converted, others are two different answers.
    """
    factor = measures.factor(gold.unit, answer.unit)
    if factor is None:
        return False
    if (gold.percent and answer.unit) or (answer.percent and gold.unit):
        return False
    if factor != 1:
        return gold.value == answer.value * factor
    if gold.percent == answer.percent:
        return close(gold.value, answer)
    if gold.percent:
        return close(gold.value, answer) or close(gold.value / 100, answer)
    return answer.value / 100 == gold.value or (abs(gold.value) > 1 and close(gold.value, answer))


def close(gold: Fraction, answer: Literal) -> bool:
    if gold == answer.value:
        return True
    if answer.decimals is None or terminating(gold):
        return False
    return abs(answer.value - gold) * 1_000_000 <= abs(gold)
