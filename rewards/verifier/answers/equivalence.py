"""A typed gold and an extracted answer in, (status, reason) out: the strict rule's comparisons.

Order: as written, exact numbers, structure, and only then symbolic work. A choice never goes through LaTeX. An integer or a
float gold wants a number, not a sum that still has to be worked out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.core.records import Answer, AnswerType
from rewards.verifier import Reason
from rewards.verifier.answers import exact, normal, structure

MAX_LENGTH = 2000
"""Characters of an extracted answer."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

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


# --- choices


_LETTER_FORM = re.compile(
    r"(?:(?i:the\s+)?(?i:answer|option|choice)\s*(?:is|:)?\s*)?([A-Z])(?:$|[.:,)\]](?:\s|$)|\s+[-–—]\s)"
)
_BRACKETED = re.compile(r"(?<![A-Za-z\\])[(\[]\s*\{?\s*([A-Z])\s*\}?[.:]?\s*[)\]]")
_DENIED = re.compile(r"\b(?:not|neither|nor|except|isn't|cannot)\b", re.IGNORECASE)
_HEDGED = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|either|unsure|might|could|unless|guess|or\s+(?:else\s+)?[(\[]?[A-Z](?![A-Za-z])|instead)\b|\?",
    re.IGNORECASE,
)
"""Words that take a letter back; a hedged choice names none."""
_LETTER_LIST = re.compile(r"[A-Z](?:\s*(?:,|\band\b|&|;|\s)\s*[A-Z])+")


def choice_text(text: str) -> str:
    """An answer to a multiple-choice question without LaTeX and Markdown wrappers."""
    text = normal.printable(text).replace("$", "").replace("\\(", "").replace("\\)", "")
    text = re.sub(
        r"\\(?:text|mathrm|mathbf|textbf|textit|textrm|mathit|mathsf|rm|bf|mbox|operatorname|boxed)\b\s*", "", text
    )
    text = re.sub(r"\\[,;:! ]|~|\*\*|__|`|\"", " ", text)
    text = re.sub(r"\s+", " ", text).strip(" .")
    wrapped = re.fullmatch(r"\{+([^{}]*)\}+", text)
    return wrapped[1].strip(" .") if wrapped else text


def letters(text: str, count: int) -> tuple[str, ...]:
    """The option letters that a marked answer names: `C`, `(C) 12`, `12 (C)`, `C. 12`, `option C`, `A and C`."""
    text = choice_text(text)
    allowed = LETTERS[: count or 10]
    if len(text) == 1 and text.upper() in allowed:
        return (text.upper(),)
    if _DENIED.search(text) or _HEDGED.search(text):
        return ()
    bracketed = sorted({letter for letter in _BRACKETED.findall(text) if letter in allowed})
    if bracketed:
        return tuple(bracketed)
    bare = re.sub(r"[()\[\]{}]", " ", text).strip()
    if _LETTER_LIST.fullmatch(bare):
        found = re.findall(r"[A-Z]", re.sub(r"\band\b", " ", bare))
        return tuple(sorted({*found})) if all(f in allowed for f in found) else ()
    small = re.fullmatch(r"\(([a-z])\)", text)
    found_one = _LETTER_FORM.match(text.lstrip("([{"))
    letter = small[1].upper() if small else found_one[1] if found_one else ""
    return (letter,) if letter and letter in allowed else ()


def _choice(gold: str, extracted: str, answer: Answer) -> Outcome:
    wanted = tuple(sorted({*re.findall(r"[A-Z]", gold)}))
    named = letters(extracted, len(answer.choices))
    if named:
        return _MATCH if named == wanted and not _contradicted(named, extracted, answer.choices) else _MISMATCH
    if re.fullmatch(r"[A-Z]", gold) is None:
        return _MATCH if normal.words(gold) == normal.words(extracted) else _MISMATCH
    place = LETTERS.index(gold)
    if place >= len(answer.choices) or not answer.choices[place].strip():
        return _MISMATCH
    return _MATCH if _same_option(answer.choices[place], extracted) else _MISMATCH


def _contradicted(named: tuple[str, ...], extracted: str, choices: tuple[str, ...]) -> bool:
    """Whether a letter is followed by the text of another option: `C. 15` where 15 is D."""
    behind = re.match(r"[(\[{]*[A-Z]\s*(?:[)\]}.:]+|\s[-–—]\s)\s*(?=\S)(.+)", choice_text(extracted))
    if len(named) > 1 or behind is None or not choices:
        return False
    texts = [normal.squeeze(choice_text(c)) for c in choices]
    given = normal.squeeze(behind[1])
    return given in texts and given not in texts[LETTERS.index(named[0])]


def _same_option(option: str, extracted: str) -> bool:
    """The option's own text, or the number that it is. A text that tidying empties (`=`, `?`) counts only as written."""
    given, wanted = choice_text(extracted), choice_text(option)
    if given and given == wanted:
        return True
    tidied = (normal.words(given), normal.squeeze(normal.clean(given)))
    if any(
        g and g == w for g, w in zip(tidied, (normal.words(wanted), normal.squeeze(normal.clean(wanted))), strict=True)
    ):
        return True
    left, right = exact.read(normal.clean(option)), exact.read(normal.clean(extracted))
    return left is not None and right is not None and exact.equal(left, right)


# --- numbers


_SEVERAL = re.compile(
    r"[,;<>]|\\(?:ne|le|ge|text|pm|lor|land|vee|wedge)(?![a-zA-Z])|(?<![a-zA-Z\\])(?:or|and|not)(?![a-zA-Z])"
)
"""More than one answer, or another relation than equality."""


def assigned(text: str) -> str:
    """The last side of `x = 24 \\cdot 24 = 576` (of `5 = x` the first), where every other side only names the value.

    A side names a value if it is a name, a call, something measured, or a sum of names; a worked number must agree. So
    `2x = 5`, which says that x is 2.5, is no 5.
    """
    sides = [side.strip() for side in re.split(r"=|\\approx(?![a-zA-Z])", text)]
    if len(sides) == 1 or _SEVERAL.search("=".join(sides[:-1])):
        return text
    if structure.names_value(sides[-1]) and len(sides) == 2:
        sides.reverse()
    *sides, last = sides
    value = exact.read(last)
    for side in sides:
        earlier = exact.read(side)
        if earlier is not None and value is not None and earlier.value == value.value:
            continue
        if not structure.names_value(side) and (earlier is not None or not structure.is_sum(side)):
            return text
    return last


def _number(text: str) -> exact.Literal | None:
    return exact.read(assigned(normal.clean(text)))


def _integer(gold: str, extracted: str, answer: Answer) -> Outcome:
    wanted = _number(gold)
    if wanted is None or wanted.value.denominator != 1:
        return None, Reason.GOLD_UNPARSEABLE
    given = _number(extracted)
    if given is None:
        return _as_written(gold, extracted)
    return (
        _MATCH
        if exact.equal(wanted, given) and "\\frac" not in extracted and "/" not in extracted.partition(" ")[0]
        else _MISMATCH
    )


def _as_written(gold: str, extracted: str) -> Outcome:
    return _MATCH if normal.words(gold) == normal.words(extracted) else (False, Reason.PARTIAL_PARSE)


def _float(gold: str, extracted: str, answer: Answer) -> Outcome:
    wanted = _number(gold)
    if wanted is None:
        return None, Reason.GOLD_UNPARSEABLE
    given = _number(extracted)
    if given is None:
        return _float_value(wanted, extracted, answer.precision)
    if wanted.unit and given.unit and wanted.unit != given.unit:
        return _MISMATCH
    return _MATCH if _rounds_to(wanted, given, answer.precision) else _MISMATCH


def _rounds_to(wanted: exact.Literal, given: exact.Literal, precision: int | None) -> bool:
    values = [given.value]
    if given.percent != wanted.percent:
        values.append(given.value / 100 if given.percent else given.value * 100)
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
    return _MATCH if wanted is not None and given is not None and exact.equal(wanted, given) else _MISMATCH


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
