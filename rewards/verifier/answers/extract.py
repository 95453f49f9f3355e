"""A response in, its marked final answer out, or None. Reads from the end, linear in the length that is looked at.

What counts as a mark: the last `\\boxed{..}` (or `\\fbox`), `<answer>..</answer>`, and, only without these, a sentence such
as "the final answer is .." or a `####` line. The last mark wins; several boxes are never read as a set. A box that is not
closed marks nothing. After `</think>` only what follows counts.
"""

from __future__ import annotations

import re

from harness.core.records import AnswerType
from rewards.verifier.answers import equivalence, normal

MAX_RESPONSE = 400_000
"""Characters read, counted from the end."""
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?:final\s+|correct\s+)?(?:answer|choice|option)\s*\**\s*(?:(?:is|should\s+be|would\s+be|must\s+be|:|=)\s*)+\**\s*(?:(?:is|option|choice)\s+)?",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####\s*")
_SENTENCES = 8
"""How many of the last "answer" words are tried."""


def final_answer(response: str, kind: AnswerType, choices: int = 0) -> str | None:
    """The content of the last mark, unwrapped; "" when the mark is empty; None when nothing is marked."""
    text = response[-MAX_RESPONSE:]
    text = text.rpartition("</think>")[2]
    box, tag = _last_box(text), _last_tag(text)
    if box is not None and (tag is None or box[0] > tag[0]):
        return box[1].strip()
    if tag is not None:
        inner = _last_box(tag[1])
        return inner[1].strip() if inner is not None else _tagged(tag[1], kind, choices)
    if _BOX.search(text):
        return None
    return _sentence(text, kind, choices)


def _last_box(text: str) -> tuple[int, str] | None:
    """(start, content) of the last box, None when there is none or it is not closed."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"), text.rfind("\\framebox"))
    if start < 0:
        return None
    opening = _BOX.match(text, start)
    if opening is None:
        return None
    place = opening.end()
    if text[place : place + 1] != "{":
        single = re.match(r"[A-Za-z0-9]", text[place : place + 1])
        return (start, single.group()) if single else None
    level, escaped = 0, False
    for end in range(place, len(text)):
        char = text[end]
        if escaped:
            escaped = False
            continue
        escaped = char == "\\"
        level += (char == "{") - (char == "}")
        if level == 0:
            return start, text[place + 1 : end]
    return None


def _last_tag(text: str) -> tuple[int, str] | None:
    start = text.lower().rfind("<answer>")
    if start < 0:
        return None
    match = _TAG.match(text, start)
    return (start, match[1]) if match else None


def _tagged(content: str, kind: AnswerType, choices: int) -> str:
    """The content of an answer tag; a sentence in it is read as one."""
    content = content.strip()
    return _sentence(content, kind, choices) or content


def _sentence(text: str, kind: AnswerType, choices: int) -> str | None:
    """What follows the last "answer is" (or `####`), up to the end of its sentence."""
    places = [m.end() for m in _HASHES.finditer(text)][-1:] or []
    starts = [m.start() for m in re.finditer(r"answer|choice|option", text, re.IGNORECASE)]
    for start in starts[-_SENTENCES:]:
        match = _SENTENCE.match(text, start)
        if match and re.search(r"is|be|:|=", match.group()[6:]):
            places.append(match.end())
    for place in sorted(places, reverse=True):
        found = _clip(text[place : place + 600], kind, choices)
        if found:
            return found
    return None


_ONE_FORMULA = r"(?:\$\$(?:\\\$|[^$])+\$\$|\$(?:\\\$|[^$])+\$|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\])"
_FORMULA = re.compile(rf"\s*({_ONE_FORMULA}(?:\s*(?:,|,?\s*and|,?\s*or)\s*{_ONE_FORMULA})*)", re.DOTALL)
_STOP = re.compile(r"\n|[.!?](?=\s+[A-Z\"'*(]|\s*$|\s*\n)|\.\s|<", re.MULTILINE)
_FIRST_NUMBER = re.compile(
    r"(?:(?:approximately|about|exactly|equal\s+to|equals)\s+)?([+-]?(?:\\?\$)?\s*[\d.,]*\d(?:[eE][+-]?\d+)?%?)"
)


def _clip(rest: str, kind: AnswerType, choices: int) -> str | None:
    """The answer at the start of the text behind a mark."""
    rest = rest.lstrip(" :*\n\t") if kind is not AnswerType.TEXT else rest.lstrip(" :*")
    if kind is AnswerType.CHOICE:
        letter = re.match(r"[*($\[{\\a-z]{0,12}?([A-Z])(?![A-Za-z'’])", rest) or re.match(r"\(([a-z])\)", rest)
        if letter and equivalence.letters(letter[1], choices):
            several = re.match(r"[(\[]?[A-Z][)\]]?(?:\s*(?:,|and|&)\s*[(\[]?[A-Z](?![A-Za-z])[)\]]?)+", rest)
            return several.group() if several else letter[1].upper()
    formula = _FORMULA.match(rest)
    if formula:
        return formula[1].strip()
    stop = _STOP.search(rest)
    sentence = (rest[: stop.start()] if stop else rest).strip().strip("*").strip()
    if kind in (AnswerType.INTEGER, AnswerType.FLOAT) and equivalence._number(sentence) is None:
        number = _FIRST_NUMBER.match(rest)
        if number and re.match(r"\s*(?:$|[.,;:!)*]|[^\W\d]|\$)", rest[number.end() :]):
            return number[1]
    return normal.printable(sentence) or None
