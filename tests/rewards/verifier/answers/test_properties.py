"""Rewritings that keep a value are accepted, mutations that change it are not: by type, over generated golds."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.records import Answer, AnswerType
from rewards.verifier.answers import equivalence

EXAMPLES = int(os.environ.get("RLFR_EVAL_PROPERTY_EXAMPLES", "25"))
"""Drawn golds per property; a few thousand by hand."""

Rewriting = Callable[[str], str]
KEEPS: dict[str, Rewriting] = {
    "dollars": lambda g: f"${g}$",
    "display": lambda g: f"\\[ {g} \\]",
    "bold": lambda g: f"**{g}**",
    "braces": lambda g: f"{{{g}}}",
    "colour": lambda g: f"\\color{{red}}{{{g}}}",
    "size": lambda g: f"\\large {g}",
    "tag": lambda g: f"{g} \\tag{{1}}",
    "name": lambda g: f"x = {g}",
    "text": lambda g: f"\\text{{The answer is }}{g}",
    "full stop": lambda g: f"{g}.",
    "doubled backslashes": lambda g: g.replace("\\", "\\\\") if "\\frac" in g else g,
}
HEDGES: dict[str, Rewriting] = {
    "or another": lambda g: f"{g} \\text{{ or }} 987654",
    "maybe": lambda g: f"{g}, \\text{{ maybe }} 987654",
    "unless": lambda g: f"{g} \\text{{ unless it is three}}",
    "and a half": lambda g: f"{g} \\text{{ and a half}}",
    "scale word": lambda g: f"{g} \\text{{ thousand}}",
    "scale word with a noun": lambda g: f"{g} \\text{{ million people}}",
    "chinese scale": lambda g: f"{g}\\text{{万}}",
    "ordinal": lambda g: f"{g} \\text{{ tenths}}",
    "coefficient": lambda g: f"2x = {g}",
    "sum": lambda g: f"x - 3 = {g}",
    "squared": lambda g: f"{g} \\text{{ squared}}",
    "factorial": lambda g: f"{g}!",
    "percent of it": lambda g: f"{g} \\cdot 10^3",
    "denied": lambda g: f"\\text{{not }} {g}",
    "one more": lambda g: f"{g} + 1",
}


def right(kind: AnswerType, gold: str, answer: str) -> bool:
    return equivalence.compare(Answer(type=kind, golds=(gold,)), answer)[0] is True


integers = st.integers(min_value=3, max_value=99_999) | st.integers(min_value=-99_999, max_value=-3)


@pytest.mark.parametrize("name", KEEPS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(value=integers)
def test_an_integer_in_another_dress_is_the_same(name: str, value: int) -> None:
    assert right(AnswerType.INTEGER, str(value), KEEPS[name](str(value)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(value=st.integers(min_value=1000, max_value=99_999_999))
def test_grouped_digits_are_the_same_number(value: int) -> None:
    for mark in (",", "\\,", "{,}", " ", "'"):
        assert right(AnswerType.INTEGER, str(value), f"{value:,}".replace(",", mark)), mark


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    value=integers, unit=st.sampled_from(["cm", "meters", "dollars", "apples", "red marbles", "square feet", "people"])
)
def test_a_unit_behind_an_integer_is_allowed(value: int, unit: str) -> None:
    assert right(AnswerType.INTEGER, str(value), f"{value} \\text{{ {unit}}}")


@pytest.mark.parametrize("name", HEDGES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(value=integers)
def test_an_integer_that_is_changed_is_refused(name: str, value: int) -> None:
    assert not right(AnswerType.INTEGER, str(value), HEDGES[name](str(value)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(top=st.integers(1, 400), bottom=st.integers(2, 400))
def test_a_fraction_is_one_value_in_every_spelling(top: int, bottom: int) -> None:
    value = Fraction(top, bottom)
    gold = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    for answer in (
        f"{top}/{bottom}",
        f"\\dfrac{{{top}}}{{{bottom}}}",
        f"{{{top} \\over {bottom}}}",
        f"\\nicefrac{{{top}}}{{{bottom}}}",
        f"x = {top}/{bottom}",
        f"\\frac{{{top}}}{{{bottom}}} \\text{{ cm}}",
    ):
        assert right(AnswerType.EXPRESSION, gold, answer), answer
    assert not right(AnswerType.EXPRESSION, gold, f"\\frac{{{top + bottom}}}{{{bottom}}}")
    assert not right(AnswerType.EXPRESSION, gold, f"-{top}/{bottom}")


@settings(max_examples=EXAMPLES, deadline=None)
@given(low=st.integers(-50, 50), width=st.integers(1, 50), closed=st.tuples(st.booleans(), st.booleans()))
def test_an_interval_is_one_set_in_every_spelling(low: int, width: int, closed: tuple[bool, bool]) -> None:
    high = low + width
    left, right_mark = "[" if closed[0] else "(", "]" if closed[1] else ")"
    gold = f"{left}{low}, {high}{right_mark}"
    below, above = "\\le" if closed[0] else "<", "\\le" if closed[1] else "<"
    spellings = (
        f"{low} {below} x {above} {high}",
        f"x \\in {gold}",
        f"\\{{x \\mid {low} {below} x {above} {high}\\}}",
        f"{left}{low}, {low + width / 2}] \\cup [{low + width / 2}, {high}{right_mark}",
    )
    for answer in spellings:
        assert right(AnswerType.EXPRESSION, gold, answer), answer
    other = f"{'(' if closed[0] else '['}{low}, {high}{right_mark}"
    for answer in (other, f"{low} {below} x {above} {high + 1}", f"({low}, \\infty)", f"x > {low}"):
        assert not right(AnswerType.EXPRESSION, gold, answer), answer


@settings(max_examples=EXAMPLES, deadline=None)
@given(members=st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True), data=st.data())
def test_members_of_a_set_come_in_any_order_and_none_is_added(members: list[int], data: st.DataObject) -> None:
    gold = "\\{" + ", ".join(map(str, members)) + "\\}"
    shuffled = data.draw(st.permutations(members))
    for answer in (
        "\\{" + ", ".join(map(str, shuffled)) + "\\}",
        ", ".join(map(str, shuffled)),
        " \\text{ and } ".join(map(str, shuffled)),
        f"\\{{{shuffled[0]}\\}} \\cup \\{{{', '.join(map(str, shuffled[1:]))}\\}}",
    ):
        assert right(AnswerType.EXPRESSION, gold, answer), answer
    for wrong in ([*shuffled, 987], shuffled[1:], [shuffled[0] + 200, *shuffled[1:]]):
        assert not right(AnswerType.EXPRESSION, gold, "\\{" + ", ".join(map(str, wrong)) + "\\}")


@settings(max_examples=EXAMPLES, deadline=None)
@given(place=st.integers(0, 4), other=st.integers(0, 4))
def test_a_letter_counts_only_when_it_is_the_only_one(place: int, other: int) -> None:
    choices = ("3 cm", "5 cm", "7 cm", "9 cm", "11 cm")
    gold = "ABCDE"[place]
    answer = Answer(type=AnswerType.CHOICE, golds=(gold,), choices=choices)
    for text in (gold, f"({gold})", f"{gold}. {choices[place]}", f"\\text{{{gold}}}", f"**{gold}**", f"Option {gold}"):
        assert equivalence.compare(answer, text)[0] is True, text
    if other != place:
        second = "ABCDE"[other]
        for text in (
            second,
            f"{gold}, maybe {second}",
            f"({gold}) or {second}",
            f"{gold} or possibly {second}",
            f"{gold}{second}",
        ):
            assert equivalence.compare(answer, text)[0] is not True, text


@settings(max_examples=EXAMPLES, deadline=None)
@given(number=st.integers(1, 999), period=st.integers(1, 98))
def test_repeating_decimals_are_exact(number: int, period: int) -> None:
    value = Fraction(period, 99) + number
    gold = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert right(AnswerType.EXPRESSION, gold, f"{number}.\\overline{{{period:02d}}}")
    assert not right(AnswerType.EXPRESSION, gold, f"{number}.\\overline{{{period + 1:02d}}}")
