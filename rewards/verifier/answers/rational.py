"""A sympy tree and rational values of its names in, its exact value out: no digit is rounded away, however long the number.

Covers what whole numbers and fractions are made with (sums, products, whole powers, factorials, binomials, floor, ceiling,
absolute values); anything else has no exact value here. Never raises; capped, so that it returns within milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

MAX_BITS = 140_000
"""Numerator and denominator together, about 42,000 decimal digits."""
_MAX_FACTORIAL = 5000


def value(tree: Any, point: Mapping[Any, Fraction]) -> Fraction | None:
    """The value of `tree` with its symbols at `point`; None where there is none or it is beyond MAX_BITS."""
    if tree.is_Rational:
        return _fits(Fraction(int(tree.p), int(tree.q)))
    if tree.is_Symbol:
        return point.get(tree)
    parts = [value(argument, point) for argument in tree.args]
    numbers = [p for p in parts if p is not None]
    if not parts or len(numbers) < len(parts):
        return None
    name = tree.func.__name__
    if name in _ONE:
        return _fits(_ONE[name](numbers[0])) if len(numbers) == 1 else None
    if name not in _TWO:
        return None
    found: Fraction | None = numbers[0]
    for number in numbers[1:]:
        found = None if found is None else _fits(_TWO[name](found, number))
    return found


def _fits(number: Fraction | None) -> Fraction | None:
    if number is None or number.numerator.bit_length() + number.denominator.bit_length() > MAX_BITS:
        return None
    return number


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1 or (not base and exponent < 0):
        return None
    if abs(base) != 1 and base and _bits(base) * abs(exponent.numerator) > MAX_BITS:
        return None
    found = base ** (int(exponent) if abs(base) != 1 else int(exponent) % 2)
    return Fraction(found)


def _bits(number: Fraction) -> int:
    return number.numerator.bit_length() + number.denominator.bit_length()


def _whole(number: Fraction) -> int | None:
    return int(number) if number.denominator == 1 and 0 <= number <= _MAX_FACTORIAL else None


def _factorial(number: Fraction) -> Fraction | None:
    n = _whole(number)
    return None if n is None else Fraction(math.factorial(n))


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
    n, k = _whole(top), _whole(bottom)
    return None if n is None or k is None else Fraction(math.comb(n, k))


_TWO: Mapping[str, Callable[[Fraction, Fraction], Fraction | None]] = {
    "Add": lambda a, b: a + b,
    "Mul": lambda a, b: a * b,
    "Pow": _power,
    "binomial": _binomial,
}
_ONE: Mapping[str, Callable[[Fraction], Fraction | None]] = {
    "factorial": _factorial,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceiling": lambda a: Fraction(math.ceil(a)),
    "Abs": abs,
}
"""By the name of a tree's class."""
