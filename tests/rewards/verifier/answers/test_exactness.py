"""Long numbers: not one digit is rounded away, whether a literal, a power or inside a larger expression."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

from harness.core.records import Answer, AnswerType
from rewards.verifier import Reason
from rewards.verifier.answers import equivalence, rational

LONG = "314159265358979323846264338327950288419716939937510582097494"
HIDDEN = [
    ("2^{1009}", "2^{1009}+987654", "2\\cdot 2^{1008}"),
    ("7e37", "7e37 + 987654", "7\\cdot 10^{37}"),
    ("10^{40}", "10^{40}+1", "100^{20}"),
    (LONG, LONG[:-1] + "5", LONG + "+1-1"),
    (f"\\frac{{{LONG}}}{{7}}", f"\\frac{{{LONG[:-1]}5}}{{7}}", f"\\frac{{{LONG}\\cdot 3}}{{21}}"),
    ("2^{5000}", "2^{5000}-1", "4^{2500}"),
    ("30!", "30!+1", "30\\cdot 29!"),
    ("0", "2^{1009}+5-2^{1009}", "2^{1009}+5-2^{1009}-5"),
    ("987654", "2^{1009}+987655-2^{1009}", "2^{1009}+987654-2^{1009}"),
    ("x+10^{40}", "x+10^{40}+1", "10^{40}+x"),
    ("\\sqrt{2}\\cdot 10^{40}", "\\sqrt{2}\\cdot 10^{40}+1", "\\frac{2\\cdot 10^{40}}{\\sqrt{2}}"),
    ("0", "10^{200}\\sqrt{2}+1-10^{200}\\sqrt{2}", "10^{200}\\sqrt{2}-10^{199}\\sqrt{200}"),
    ("y=2x+10^{40}", "y=2x+10^{40}+1", "2y=4x+2\\cdot 10^{40}"),
    ("\\pi+10^{60}", "\\pi+10^{60}+\\frac{1}{3}", "10^{60}+\\pi"),
    ("(10^{40},1)", "(10^{40}+1,1)", "(100^{20},1)"),
]


@pytest.mark.parametrize(("gold", "near", "same"), HIDDEN)
def test_no_digit_of_a_long_number_is_rounded_away(gold: str, near: str, same: str) -> None:
    answer = Answer(type=AnswerType.EXPRESSION, golds=(gold,))
    assert equivalence.compare(answer, near)[0] is False
    assert equivalence.compare(answer, same) == (True, Reason.MATCH)


@pytest.mark.parametrize("kind", [AnswerType.INTEGER, AnswerType.EXPRESSION, AnswerType.TEXT])
def test_the_last_of_sixty_digits_counts(kind: AnswerType) -> None:
    answer = Answer(type=kind, golds=(LONG,))
    assert equivalence.compare(answer, LONG)[0] is True
    for digit in "0123456789":
        assert (equivalence.compare(answer, LONG[:-1] + digit)[0] is True) == (digit == LONG[-1])


def test_exact_values_of_trees() -> None:
    n, x = sympy.Symbol("n"), sympy.Symbol("x")
    at = {n: Fraction(7), x: Fraction(-2, 3)}
    for tree, wanted in (
        (sympy.Integer(2) ** 1009 + 987654, Fraction(2**1009 + 987654)),
        (x**3 / 4 - n, Fraction(-8, 27) / 4 - 7),
        (sympy.factorial(n) / sympy.binomial(n, 2), Fraction(5040, 21)),
        (sympy.floor(n / 2) - sympy.ceiling(n / 2) + sympy.Abs(x), Fraction(3 - 4) + Fraction(2, 3)),
        ((-1) ** n, Fraction(-1)),
        (sympy.sqrt(n), None),
        (sympy.pi, None),
        (x ** (10**9), None),
        (1 / (n - 7), None),
        (sympy.Symbol("y"), None),
    ):
        assert rational.value(tree, at) == wanted
