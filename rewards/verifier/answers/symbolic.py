"""Two LaTeX expressions in, whether they have the same value out. The only module that imports math_verify.

Reading is math_verify's LaTeX parser on the whole string: what it cannot read wholly is refused. Equality is decided by
values at fixed points: exact ones where both sides have them (`rational`), else numbers of 30 digits that must agree
relatively and whose difference must vanish to as many digits as the larger one has and more, so that neither a tiny number
nor one hidden in a huge one is lost. Only where values do not decide, math_verify's own comparison does.

Runs in a worker, whose deadline ends what does not end; caps keep ordinary hostile input from coming that far.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewards.verifier.answers import rational, structure
from rewards.verifier.answers.plain import natural_logarithms
from rewards.verifier.answers.structure import TooDeepError

MAX_DIGITS = 20_000
"""Decimal digits that a number may have when written out."""
MAX_LENGTH = 800
MAX_DEPTH = 12
"""Characters and nesting that the LaTeX parser gets; it is slow in the first and exponential in the second."""
DIGITS = 30
_AGREE = 20
"""Digits that must agree."""
_POINTS = (
    ("0.7391", "1.6180", "2.4142", "0.5671", "1.2020", "3.3598", "0.2614", "1.7548", "2.8077", "0.9159"),
    ("1.8393", "0.4131", "1.1419", "2.6854", "0.6434", "1.4513", "2.2955", "0.3517", "1.9021", "0.8346"),
    ("-0.6601", "-1.3247", "-0.3036", "-1.7320", "-0.8474", "-2.1213", "-0.4387", "-1.5607", "-0.9288", "-1.0986"),
    ("-1.2599", "0.7642", "-0.5226", "1.0903", "-1.8794", "0.6180", "-0.2301", "1.3357", "-2.0801", "0.4471"),
)
_WHOLE = (("7", "4", "11", "5", "3", "9", "6", "8", "10", "12"), ("12", "5", "8", "9", "10", "4", "7", "6", "11", "3"))
_COUNTERS = frozenset("nmkijlNMKpq")
"""Letters that stand for whole numbers below a floor or a ceiling; others stand for real ones."""
_SCIENTIFIC = re.compile(r"(?<![\d.,a-zA-Z_\\])(\d+(?:\.\d+)?)[eE](\d{1,4})(?![\d.a-zA-Z])")
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_GAP = re.compile(r"\d\s+\d")
_OTHER = re.compile(r"\\(?:ldots|text|left|right|begin|end|int|lim|sum|prod|not|forall|exists)(?![a-zA-Z])")
_WRITTEN_OUT = re.compile(
    r"\d{1001}|\^\s*\{?\s*-?\d{6,}|\\(?:gcd|lcm|max|min|mod|bmod|pmod).*\^|\^.*\\(?:gcd|lcm|max|min|mod|bmod|pmod)"
)
"""What the parser itself would write out digit by digit."""


class PartialParseError(ValueError):
    """The string is not wholly mathematics."""


class TooLargeError(ValueError):
    """A number beyond MAX_DIGITS, or too long a text."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression: sympy's tree with decimals made exact, and the names in it."""

    tree: Any
    names: tuple[Any, ...]
    discrete: bool


def _nothing() -> None:
    pass


before_slow_work: Callable[[], None] = _nothing
"""Called before anything that may take long; a worker hands out its finished results there."""


@lru_cache(maxsize=1)
def _sympy() -> Any:
    import sympy

    return sympy


def load() -> None:
    """Import sympy and math_verify and use them once, which takes a second or two."""
    import math_verify  # noqa: F401

    same(read(r"\frac{x+1}{\sqrt{2}}"), read(r"\frac{\sqrt{2}}{2}(1+x)"))


@lru_cache(maxsize=4096)
def read(text: str) -> Expression:
    """The expression that the whole string is. Raises PartialParseError or TooLargeError."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy

    from harness.core.errors import attempt

    source = _prepare(text)
    before_slow_work()
    settings = ConversionConfig(lowercase_symbols=False)
    tree, error = attempt(
        latex2sympy, source, is_real=True, convert_degrees=False, normalization_config=None, conversion_config=settings
    )
    sympy = _sympy()
    if isinstance(error, MemoryError | RecursionError):
        raise error
    if error is not None or not isinstance(tree, sympy.Expr):
        raise PartialParseError(text)
    if _log10(tree) > MAX_DIGITS:
        raise TooLargeError(text)
    return _expression(tree)


golds: Any = None
"""A `cache.Golds`, set by a worker for the job at hand."""


def read_gold(text: str) -> Expression:
    """As `read`, through the cache of parsed golds."""
    kept = golds.get(text) if golds is not None else None
    if isinstance(kept, Expression):
        return kept
    found = read(text)
    if golds is not None:
        golds.put(text, found)
    return found


def _prepare(text: str) -> str:
    """The parser's dialect; refuses what it would misread or what would keep it busy."""
    if len(text) > MAX_LENGTH:
        raise TooLargeError(text)
    text = natural_logarithms(text)
    if _GAP.search(text) or _LONG_WORD.search(re.sub(r"\\text\s*\{[^{}]*\}", "", text)) or _OTHER.search(text):
        raise PartialParseError(text)
    text = _single_brackets(text)
    if structure.depth(text) > MAX_DEPTH:
        raise TooDeepError
    if _WRITTEN_OUT.search(text) or ("\\binom" in text and _small_binomials(text) != text.count("\\binom")):
        raise TooLargeError(text)
    # as `exact` reads it; the parser would take the letter for Euler's number
    text = _SCIENTIFIC.sub(r"(\1\\cdot 10^{\2})", text)
    return text.replace(r"\angle", "").replace("\\%", "*0.01").replace("'", "_{prime}")


def _small_binomials(text: str) -> int:
    return len(re.findall(r"\\binom\s*\{\s*[\da-zA-Z+-]{1,4}\s*\}\s*\{\s*[\da-zA-Z+-]{1,4}\s*\}", text))


def _single_brackets(text: str) -> str:
    """`((x))` as `(x)`: the parser needs time exponential in needless brackets."""
    pairs: list[int] = []
    partner: dict[int, int] = {}
    for place, char in enumerate(text):
        if char == "(":
            pairs.append(place)
        elif char == ")" and pairs:
            partner[pairs.pop()] = place
    gone = {
        k for opening, closing in partner.items() if partner.get(opening + 1) == closing - 1 for k in (opening, closing)
    }
    return "".join(c for k, c in enumerate(text) if k not in gone)


def _expression(tree: Any) -> Expression:
    sympy = _sympy()
    tree = tree.replace(lambda n: isinstance(n, sympy.Float), lambda n: sympy.Rational(str(n)))
    opaque = (sympy.core.function.AppliedUndef, sympy.Derivative, sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
    tree = tree.replace(lambda n: isinstance(n, opaque), lambda n: sympy.Symbol(f"<{n}>"))
    tree = tree.subs({s: sympy.I for s in tree.free_symbols if s.name == "i"})
    names = tuple(sorted(tree.free_symbols, key=lambda s: s.name))
    steps = (sympy.floor, sympy.ceiling, sympy.factorial, sympy.binomial, sympy.Mod, sympy.gamma)
    return Expression(tree, names, tree.has(*steps) or _alternates(tree))


def _alternates(tree: Any) -> bool:
    """A power of a negative number with a name in the exponent: real at whole numbers only."""
    sympy = _sympy()
    return any(p.base.is_number and p.base.is_negative and p.exp.free_symbols for p in tree.atoms(sympy.Pow))


def _log10(tree: Any) -> float:
    """A bound on the decimal digits of any number inside the tree; names count as one digit."""
    sympy = _sympy()
    if tree.is_Integer:
        return tree.p.bit_length() * 0.302
    if tree.is_Rational:
        return max(tree.p.bit_length(), tree.q.bit_length()) * 0.302
    if not tree.args:
        return 1.0
    parts = [_log10(a) for a in tree.args]
    if tree.is_Pow or isinstance(tree, sympy.exp):
        exponent = tree.args[-1]
        return max(*parts, 1.0, parts[0] * _size(exponent, parts[-1]))
    if isinstance(tree, sympy.factorial):
        n = _size(tree.args[0], parts[0])
        return n * max(1.0, math.log10(n + 1))
    if isinstance(tree, sympy.binomial):
        return min(_size(a, p) for a, p in zip(tree.args, parts, strict=True)) * max(parts)
    return sum(parts) if tree.is_Mul else max(parts) + 1


def _size(tree: Any, digits: float) -> float:
    """An upper bound of a number's magnitude as a float; infinity beyond 300 digits."""
    if tree.is_Rational and digits < 300:
        return abs(float(tree))
    return math.inf if digits > 300 else 10.0 ** min(digits, 300) if tree.is_number else 10.0


def same(gold: Expression, answer: Expression) -> bool:
    """Whether both have the same value wherever it can be compared. Raises nothing of its own."""
    if gold.tree == answer.tree:
        return True
    if gold.tree.is_Rational and answer.tree.is_Rational:
        return False
    before_slow_work()
    names = tuple(sorted({*gold.names, *answer.names}, key=lambda s: s.name))
    verdicts = [_agree(gold, answer, dict(zip(names, p, strict=False))) for p in _points(gold, answer, names)]
    if False in verdicts:
        return False
    if verdicts.count(True) >= min(2, len(verdicts)):
        return True
    return _by_library(gold.tree, answer.tree)


def _points(gold: Expression, answer: Expression, names: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    sympy = _sympy()
    if not names:
        return [()]
    if not (gold.discrete or answer.discrete):
        return [tuple(sympy.Rational(row[k % len(row)]) + k // len(row) for k in range(len(names))) for row in _POINTS]
    counting = (sympy.factorial, sympy.binomial, sympy.Mod, sympy.gamma)
    counted = any(e.tree.has(*counting) or _alternates(e.tree) for e in (gold, answer))
    return [
        tuple(
            sympy.Rational((whole if counted or n.name[0] in _COUNTERS else real)[k % 10]) + k // 10
            for k, n in enumerate(names)
        )
        for whole, real in zip((*_WHOLE, *_WHOLE), _POINTS, strict=True)
    ]


def _agree(gold: Expression, answer: Expression, point: dict[Any, Any]) -> bool | None:
    """None where one side has no finite value, or at a negative point no real one."""
    at = {name: Fraction(int(p.p), int(p.q)) for name, p in point.items()}
    known = rational.value(gold.tree, at), rational.value(answer.tree, at)
    if None not in known:
        return known[0] == known[1]
    left, right = value(gold.tree, point), value(answer.tree, point)
    if left is None or right is None:
        return None
    if any(p < 0 for p in point.values()) and (_complex(left) or _complex(right)):
        return None
    return close(left, right) and _vanishes(gold.tree - answer.tree, point)


def _vanishes(difference: Any, point: dict[Any, Any]) -> bool:
    """Whether two values that agree to many digits leave no difference that more digits would show."""
    from harness.core.errors import attempt

    sympy = _sympy()
    if point and all(p.is_Integer for p in point.values()):
        difference, _ = attempt(difference.subs, point)
        point = {}
    if difference is None or difference.is_zero:
        return True
    number, error = attempt(difference.evalf, 5, subs=point, strict=True, maxn=_digits(difference))
    if isinstance(error, MemoryError | RecursionError):
        raise error
    if error is not None or number.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return True
    return not number.is_number or bool(number == 0)


def _digits(tree: Any) -> int:
    """Digits with which cancellation inside a tree cannot be mistaken for zero: those of its largest number, and more."""
    return int(min(_log10(tree), MAX_DIGITS)) + 4 * DIGITS


def _complex(number: tuple[Any, Any]) -> bool:
    return bool(abs(number[1]) > abs(number[0]) * 1e-20)


def value(tree: Any, point: dict[Any, Any]) -> tuple[Any, Any] | None:
    """(real, imaginary) as mpmath numbers of 30 digits, or None. A sum that cancels to nothing is zero."""
    import mpmath

    from harness.core.errors import attempt

    sympy = _sympy()
    if point and all(p.is_Integer for p in point.values()):
        # steps such as floor need the exact number, not one of 30 digits
        tree, error = attempt(tree.subs, point)
        if error is not None:
            return None
        point = {}
    number, error = attempt(tree.evalf, DIGITS, subs=point, strict=True, maxn=_digits(tree))
    if isinstance(error, sympy.core.evalf.PrecisionExhausted):
        return mpmath.mpf(0), mpmath.mpf(0)
    if isinstance(error, MemoryError | RecursionError):
        raise error
    if error is not None or not number.is_number or number.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return None
    real, imaginary = number.as_real_imag()
    if not (real.is_Number and imaginary.is_Number):
        return None
    return real._to_mpmath(DIGITS * 4), imaginary._to_mpmath(DIGITS * 4)


def rounded(number: Fraction) -> Any:
    """An exact number as one of 30 digits."""
    import mpmath

    with mpmath.workdps(DIGITS + 5):
        return mpmath.mpf(number.numerator) / number.denominator


def close(left: tuple[Any, Any], right: tuple[Any, Any]) -> bool:
    """Agreement to 20 digits of the larger number."""
    import mpmath

    with mpmath.workdps(DIGITS + 5):
        size = max(mpmath.hypot(*left), mpmath.hypot(*right))
        return bool(mpmath.hypot(left[0] - right[0], left[1] - right[1]) <= size * mpmath.mpf(10) ** -_AGREE)


def _by_library(gold: Any, answer: Any) -> bool:
    from math_verify import verify

    return bool(verify(gold, answer, timeout_seconds=None))


def proportional(gold: Expression, answer: Expression) -> bool:
    """Whether the two are equal up to a factor that is no function of the names: the same equation `= 0`."""
    import mpmath

    names = tuple(sorted({*gold.names, *answer.names}, key=lambda s: s.name))
    if set(gold.names) != set(answer.names):
        return False
    points = [dict(zip(names, row, strict=True)) for row in _points(gold, answer, names)]
    pairs = [(p, value(gold.tree, p), value(answer.tree, p)) for p in points]
    real = [
        (p, a[0], b[0]) for p, a, b in pairs if a is not None and b is not None and not (_complex(a) or _complex(b))
    ]
    if len(real) < 2 or any(not a or not b for _, a, b in real):
        return False
    with mpmath.workdps(DIGITS + 5):
        first = real[0][2] / real[0][1]
        if not all(abs(b / a - first) <= abs(first) * mpmath.mpf(10) ** -_AGREE for _, a, b in real[1:]):
            return False
    ends = [(gold.tree.subs(p), answer.tree.subs(p)) for p, _, _ in real]
    return all(_vanishes(a * ends[0][1] - ends[0][0] * b, {}) for a, b in ends[1:])


def difference(left: Expression, right: Expression) -> Expression:
    """`left - right`, for an equation."""
    return _expression(left.tree - right.tree)


def near(gold: Expression, answer: Any, tolerance: float) -> bool:
    """Whether a rational answer rounds a constant gold to a relative tolerance."""
    import mpmath

    number = value(gold.tree, {})
    if gold.names or number is None or _complex(number):
        return False
    with mpmath.workdps(DIGITS + 5):
        written = mpmath.mpf(answer.numerator) / answer.denominator
        return bool(abs(number[0] - written) <= abs(number[0]) * tolerance)
