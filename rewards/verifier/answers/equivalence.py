"""A typed gold and an extracted answer in, (status, reason) out: the strict rule's comparisons.

Order: as written, exact numbers, structure, and only then symbolic work. A choice never goes through LaTeX. An integer or a
float gold wants a number, not a sum that still has to be worked out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.core.records import Answer, AnswerType
from rewards.verifier import Reason
from rewards.verifier.answers import choices, exact, measures, normal, structure

MAX_LENGTH = 2000
"""Characters of an extracted answer."""

Outcome = tuple[bool | None, Reason]
"""Right, wrong or not graded, and why."""
_MATCH: Outcome = (True, Reason.MATCH)
_MISMATCH: Outcome = (False, Reason.MISMATCH)


def compare(answer: Answer, extracted: str) -> Outcome:
    """Whether `extracted` is the gold of `answer` (any of its golds; for a list its elements in order)."""
    if len(extracted) > MAX_LENGTH:
        return None, Reason.TOO_LONG
    if structure.depth(extracted) > structure.MAX_DEPTH:
        return None, Reason.TOO_DEEP
    if not extracted.strip():
        return False, Reason.NO_ANSWER
    if answer.type is AnswerType.LIST:
        return _list(answer, extracted)
    check = _CHECKS[answer.type]
    outcomes = []
    for gold in answer.golds:
        outcome = check(gold, extracted, answer)
        if outcome[0]:
            return outcome
        outcomes.append(outcome)
    return _worst(outcomes)


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Of several golds that all failed: an ungraded outcome that is the answer's doing first, then the most telling."""
    order = (
        Reason.TOO_LONG,
        Reason.TOO_DEEP,
        Reason.TOO_LARGE,
        Reason.MISMATCH,
        Reason.PARTIAL_PARSE,
        Reason.NO_ANSWER,
    )
    return min(
        outcomes,
        key=lambda o: order.index(o[1]) if o[1] in order else len(order),
        default=(None, Reason.GOLD_UNPARSEABLE),
    )


def _choice(gold: str, extracted: str, answer: Answer) -> Outcome:
    return _MATCH if choices.right(gold, extracted, answer.choices) else _MISMATCH


# --- numbers


_SEVERAL = re.compile(
    r"[,;<>]|\\(?:ne|le|ge|text|pm|lor|land|vee|wedge)(?![a-zA-Z])|(?<![a-zA-Z\\])(?:or|and|not)(?![a-zA-Z])"
)
"""More than one answer, or another relation than equality."""


def assigned(text: str) -> str:
    """The last side of `x = 24 \\cdot 24 = 576` (of `5 = x` the first), where every other side only names the value.

    A side names a value if it is a name, a call, something measured, or a sum of names; arithmetic must come to the same
    number. So `2x = 5`, which says that x is 2.5, is no 5, and neither is `2 + 4 = 5`.
    """
    sides = [side.strip() for side in re.split(r"=|\\approx(?![a-zA-Z])", text)]
    if len(sides) == 1 or any(_SEVERAL.search(s) and not structure.names_value(s) for s in sides[:-1]):
        return text
    if structure.names_value(sides[-1]) and len(sides) == 2:
        sides.reverse()
    *sides, last = sides
    value = exact.read(last)
    for side in sides:
        if not structure.names_value(side) and (value is None or structure.worked(side) != value.value):
            return text
    return last


_MODULUS = re.compile(r"\s*(?:\\pmod\s*\{?\s*\d+\s*\}?|\(?\s*(?:\\text\s*\{\s*\(?)?\s*\\?mod\s+\d+\s*\)?\s*\}?\)?)$")
"""What a residue is taken by; it names the question's modulus and changes no number."""


def _number(text: str) -> exact.Literal | None:
    return exact.read(assigned(_MODULUS.sub("", normal.clean(text))))


def _integer(gold: str, extracted: str, answer: Answer) -> Outcome:
    wanted = _number(gold)
    if wanted is None or wanted.value.denominator != 1:
        return None, Reason.GOLD_UNPARSEABLE
    given = _number(extracted)
    if given is None:
        return _as_written(gold, extracted)
    value = normal.split_tail(normal.clean(extracted))[0]
    written = "\\frac" not in value and "/" not in value
    return _MATCH if written and exact.equal(wanted, given) else _MISMATCH


def _as_written(gold: str, extracted: str) -> Outcome:
    return _MATCH if normal.words(gold) == normal.words(extracted) else (False, Reason.PARTIAL_PARSE)


def _float(gold: str, extracted: str, answer: Answer) -> Outcome:
    wanted = _number(gold)
    if wanted is None:
        return None, Reason.GOLD_UNPARSEABLE
    given = _number(extracted)
    if given is None:
        return _float_value(wanted, extracted, answer.precision)
    factor = measures.factor(wanted.unit, given.unit)
    if factor is None:
        return _MISMATCH
    given = replace(given, value=given.value * factor)
    return _MATCH if _rounds_to(wanted, given, answer.precision) else _MISMATCH


def _rounds_to(wanted: exact.Literal, given: exact.Literal, precision: int | None) -> bool:
    values = [given.value]
    if given.percent and not wanted.percent:
        values = [given.value / 100, *([given.value] if abs(wanted.value) > 1 else [])]
    elif wanted.percent and not given.percent:
        values.append(given.value * 100)
    if precision is None:
        return any(abs(v - wanted.value) * 1_000_000 <= abs(wanted.value) for v in values)
    return any(abs(v - wanted.value) * 2 * 10**precision <= 1 for v in values)


def _float_value(wanted: exact.Literal, extracted: str, precision: int | None) -> Outcome:
    """A closed form such as `2\\pi` for a gold that is its decimal."""
    from rewards.verifier.answers import symbolic

    try:
        given = symbolic.read(normal.split_unit(assigned(normal.clean(extracted)))[0])
    except symbolic.PartialParseError:
        return False, Reason.PARTIAL_PARSE
    except symbolic.TooLargeError:
        return None, Reason.TOO_LARGE
    except structure.TooDeepError:
        return None, Reason.TOO_DEEP
    scale = float(abs(wanted.value)) or 1.0
    tolerance = 1e-6 if precision is None else 0.5 * 10.0**-precision / scale
    return _MATCH if symbolic.near(given, wanted.value, tolerance) else _MISMATCH


# --- lists and text


def _list(answer: Answer, extracted: str) -> Outcome:
    body = normal.separators(normal.clean(extracted)).strip()
    body = assigned(body).replace("\\{", "").replace("\\}", "").strip("[](){} ")
    parts = [p.strip(" '\"") for p in body.split(",")]
    if len(parts) != len(answer.golds):
        return _MISMATCH
    for gold, part in zip(answer.golds, parts, strict=True):
        wanted, given = _number(gold), _number(part)
        if wanted is not None and given is not None:
            right = exact.equal(wanted, given) or (
                answer.precision is not None and _rounds_to(wanted, given, answer.precision)
            )
        else:
            right = normal.words(gold) == normal.words(part)
        if not right:
            return _MISMATCH
    return _MATCH


def _text(gold: str, extracted: str, answer: Answer) -> Outcome:
    if normal.words(gold) == normal.words(extracted):
        return _MATCH
    wanted, given = _number(gold), _number(extracted)
    if wanted is not None and given is not None and exact.equal(wanted, given):
        return _MATCH
    from rewards.verifier.answers import expressions

    return _MATCH if expressions.same_words(gold, extracted) else _MISMATCH


# --- expressions


def _expression(gold: str, extracted: str, answer: Answer) -> Outcome:
    from rewards.verifier.answers import expressions

    return expressions.compare(gold, extracted)


_CHECKS: dict[AnswerType, Callable[[str, str, Answer], Outcome]] = {
    AnswerType.CHOICE: _choice,
    AnswerType.INTEGER: _integer,
    AnswerType.FLOAT: _float,
    AnswerType.TEXT: _text,
    AnswerType.EXPRESSION: _expression,
}
