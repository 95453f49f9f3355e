"""Prose without its thinking in, its parts out: sentences, plain text, what a mark holds, what follows "the answer is", whether
it refuses. Shared by the rules that stand in for a judge model (tasks/reading.py for options, tasks/numbers.py for numbers).
"""

from __future__ import annotations

import re

from harness.core.records import Answer, AnswerType
from rewards.verifier.answers import choices, equivalence
from rewards.verifier.answers.marks import Kind, find

NESTED_BOXES = 16
"""Boxes around a box that are still read."""
_MARK = re.compile(
    r"(?:(?:final|correct|best|right) )?(?:answer|choice|option)\b|答案|正确选项|(?:故|应|所以|因此)?选(?:择|项)?",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"(?:(?<=[案项选择])\s*(?:应该)?[为是选：:]*|[^.\n]{0,80}?(?:(?<![a-z])(?:is|be|are|was)(?![a-z])|[:=：]))\**\s*"
    r"(?:option|choice|answer|:|approximately|about|therefore)*\s*[:\s]*",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])(?:\*\*|\")?\s+|\n+|(?<=[。！？；])")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")
_REFUSAL = re.compile(
    r"(?:cannot|can ?not|can't|could not|not possible to|impossible to|unable to|difficult to) (?:be )?(?:\w+ly )?"
    r"(?:determin|provid|giv|answer|calculat|process|help|say|find|predict|quantif|compar|give|access|see|be certain)"
    r"|not (?:\w+ )?(?:provide|give|specify|contain|include)|information provided (?:does not|is not|is insufficient)"
    r"|in?sufficient|not enough information|please (?:provide|give|check)|none of (?:the|these)|no (?:correct|given) option"
    r"|not (?:in|available|among|an option|one of|match|given|provided|specified|valid)"
    r"|without (?:the|any|more|further|specific|additional|seeing|knowing)|I'm sorry|(?:do not|don't) know|depends? on the"
    r"|would require|mistake in the",
    re.IGNORECASE,
)


def conclusion(response: str, kind: AnswerType = AnswerType.EXPRESSION) -> str | None:
    """What the response marks as its answer where it has a box or an answer tag, else None."""
    marks = find(response, kind)
    boxed = any(mark.kind in (Kind.BOX, Kind.TAG) for mark in marks.found)
    return (marks.answer or None) if boxed else None


def boxes(text: str) -> list[str] | None:
    """The contents of all boxes in order, inner ones too; None where one is not closed, or where too many are nested."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    for brace in re.finditer(r"[{}]", text):
        if brace.group() == "{":
            opened.append(brace.start())
        elif opened:
            partner[opened.pop()] = brace.start()
    found: list[str] = []
    around: list[int] = []
    for start in re.finditer(r"\\boxed\{", text):
        end = partner.get(start.end() - 1)
        around = [close for close in around if close > start.start()]
        if end is None or len(around) > NESTED_BOXES:
            return None
        around.append(end)
        found.append(text[start.end() : end])
    return found


def compared(answer: Answer, said: str) -> tuple[bool | None, str]:
    """The strict comparison of an answer text with the gold, and its reason."""
    right, reason = equivalence.compare(answer, said)
    return right, str(reason)


def letters_named(text: str, count: int) -> tuple[str, ...]:
    """The option letters that a marked text names, as the strict rule reads them."""
    return choices.letters(text, count)


def after_answer(response: str) -> str | None:
    """What follows the last "answer is" of the response, up to the end of its line."""
    for found in reversed(list(_MARK.finditer(response))):
        link = _LINK.match(response, found.end())
        if link:
            rest = re.split(r"\n|[。；]", response[link.end() :])[0].strip().strip("*").strip()
            if rest:
                return rest
            heading = re.match(r"[*#:\s]*\n+\s*(\S[^\n]*)", response[link.end() :])
            if heading:
                return heading[1].strip()
    heading = re.search(r"^#+\s*(?:final )?answer:?\s*\n+\s*(\S.*)", response, re.IGNORECASE | re.MULTILINE)
    return heading[1].strip() if heading else None


def opening(text: str) -> str:
    """The first sentence of a phrase."""
    return _SENTENCE.split(text.strip())[0]


def denied(text: str) -> bool:
    """Whether the text says somewhere that there is no answer."""
    return bool(_REFUSAL.search(text))


def refuses(response: str) -> bool:
    """Whether the response ends by saying that there is no answer."""
    return any(_REFUSAL.search(s) for s in sentences(response)[-2:])


def refusal(response: str) -> str | None:
    """What the last sentence says of an answer that cannot be given, as a judge quotes it; None where it says nothing."""
    last = (sentences(response) or [""])[-1]
    cannot = re.search(r"\bcan(?:not|'t| not) be (determined|answered)\b", last, re.IGNORECASE)
    if cannot:
        return f"Cannot be {cannot[1].lower()}"
    if re.search(r"\bcannot determine\b", last, re.IGNORECASE):
        return "Cannot determine"
    none = re.search(r"\bnone of the (?:\w+ )?(?:options|choices|answers)[^.]*\.?", last, re.IGNORECASE)
    return none.group()[:1].upper() + none.group()[1:] if none else None


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, also where Chinese stops end them."""
    return [s for s in _SENTENCE.split(text.strip()) if s and s.strip()]


def flat(text: str) -> str:
    """LaTeX as plain text: fractions of numbers as quotients, roots as √, wrappers and braces gone."""
    text = _FRACTION.sub(r" \1/\2", text).replace(r"\sqrt", "√").replace("√{", "√").replace("√(", "√")
    return re.sub(r"\\(?:text|mathrm|boxed)|[{}$*\\]|\^\s*\\?circ", " ", text)
