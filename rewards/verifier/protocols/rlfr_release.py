"""The grader of RLFR's release for language sets (eval/lm_eval/math_grader.py, taken from understand-r1-zero).

The answer is the last brace-matched box (`\\fbox` only where there is no `\\boxed`); without one the reply is wrong.
Right, with any of the golds, by one of three steps: equal strings after a normalisation as for MATH; equal by the
rules of PRM800K (elements of a tuple in order, an unreduced fraction only as written, an integer only for an integer,
else a difference that simplifies to zero, of short expressions without powers); equal for math-verify with both sides
in `$` and limits of one second. There is no tolerance but math-verify's six decimals. Their golds of minerva end in a
line break, which their script means to remove and does not, so that the third step misreads some; the golds here have
none, so this rule is theirs as it was meant.
"""

from __future__ import annotations

import re
import signal
from typing import Any

from harness.core.records import AnswerType
from rewards.verifier import Reason
from rewards.verifier.protocols import Outcome, Protocol, Work, latex_values, protocol

_UNITS = ("degree", "cm", "centimeter", "meter", "mile", "second", "minute", "hour", "day", "week", "month", "year",
          "foot", "feet", "inch", "yard")  # fmt: skip
_UNIT = re.compile(rf"(?:{'|'.join(_UNITS)})(?:es)?s? *(?:\^[0-9]+)?")
_FRACTION = re.compile(r"-?[0-9]+/0*[1-9][0-9]*")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


@protocol.register("rlfr-release")
class RlfrRelease(Protocol):
    """The release's grader for language sets: the last box, by three comparisons."""

    about = "the last box, equal as a string, by PRM800K's rules or for math-verify"
    source = "Jinghaoleven/RLFR eval/lm_eval/math_grader.py, as described in its origin sail-sg/understand-r1-zero"
    seconds = 8.0
    imports = ("math_verify", "latex2sympy2_extended")

    def refuses(self, task: Any) -> str:
        return "" if task.modality == "language" else "the release grades pictures with a judge model"

    def grade(self, work: Work) -> Outcome:
        answer, said = work.job.answer, box(work.job.response)
        if said is None:
            return False, None, Reason.NO_ANSWER
        golds = [", ".join(answer.golds)] if answer.type is AnswerType.LIST else answer.golds
        right = any(equal(said, gold) for gold in golds)
        return right, said, Reason.MATCH if right else Reason.MISMATCH


def box(response: str) -> str | None:
    """The content of the last box, None where there is none or it is not closed."""
    start = response.rfind("\\boxed")
    start = start if start >= 0 else response.rfind("\\fbox")
    opening = response.find("{", start) if start >= 0 else -1
    level = 0
    for place in range(opening, len(response)) if opening >= 0 else ():
        level += (response[place] == "{") - (response[place] == "}")
        if level == 0:
            return response[opening + 1 : place]
    return None


def equal(said: str, gold: str) -> bool:
    """One of the three comparisons."""
    return written(said) == written(gold) or by_parts(said, gold) or _verified(said, gold)


def written(text: str) -> str:
    """A string as MATH's authors normalise it."""
    inner = re.fullmatch(r"\\text\{(.+?)\}", text.strip())
    text = (inner[1] if inner else text).strip().replace("\n", "").replace(r"\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac").replace(r"\left", "").replace(r"\right", "")
    text = re.sub(r"\^\{\\circ\}|\^\\circ|\\\$|\\%", "", text).replace(" .", " 0.").replace("{.", "{0.")
    text = text.split(r"\text{ ")[0] if text.count(r"\text{ ") == 1 else text
    text = "0" + text if text.startswith(".") else text
    sides = text.split("=")
    text = sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{])\{", r"\\frac{\1}{", text)
    text = r"\frac{1}{2}" if text == "0.5" else text
    slash = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    return f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text


def by_parts(said: str, gold: str) -> bool:
    """PRM800K's comparison."""
    left, right = _plain(said), _plain(gold)
    if left == right:
        return True
    if not left or not right:
        return False
    one, two = _elements(left), _elements(right)
    if len(two) > 1 and (left[0], left[-1]) != (right[0], right[-1]):
        return False
    return len(one) == len(two) and all(map(_element, one, two))


def _element(said: str, gold: str) -> bool:
    if _FRACTION.fullmatch(gold) and _FRACTION.fullmatch(said):
        return gold == said
    if _whole(gold) != _whole(said):
        return False
    difference = f"({gold})-({said})"
    letters = set(re.sub(r"\\[a-z]+|sqrt|frac", "", difference)) & set("abcdefghijklmnopqrstuvwxyz")
    if len(letters) > 2 or re.search(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]+", difference):
        return False
    return latex_values.equal(said, gold)


def _plain(text: str) -> str:
    inner = re.fullmatch(r"\\text\{(.+?)\}", text)
    text = re.sub(r"\\?[$%]", "", inner[1] if inner else text).replace(" or ", " , ").replace(" and ", " , ")
    for word, power in (("million", 6), ("billion", 9), ("trillion", 12)):
        text = text.replace(word, f"*10^{power}")
    text = re.sub(r"\^ *\\circ", "", _UNIT.sub("", text))
    text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    text = re.sub(r",\\! *", "", text)
    text = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r" \1/\2", text)
    text = re.sub(r"(?<=[0-9]) +(?=[0-9])", "+", re.sub(r"- *", "-", text).strip())
    text = re.sub(r"[ {}]", "", text).lower() if "\\" not in text else text.replace(" ", "").lower()
    return str(int(float(_GROUPED.sub("", text)))) if _whole(text) else text


def _whole(text: str) -> bool:
    try:
        value = float(_GROUPED.sub("", text))
        return abs(value - round(value)) <= 1e-7
    except (ValueError, OverflowError):
        return False


def _elements(text: str) -> list[str]:
    text = _GROUPED.sub("", text)
    inside = text[1:-1]
    if len(text) > 2 and text[0] in "([" and text[-1] in ")]" and not set("()[]") & set(inside):
        return [part.strip() for part in inside.split(",")]
    return [text]


def _verified(said: str, gold: str) -> bool:
    """math-verify on both sides in `$`, one second each."""
    from math_verify import parse, verify

    alarm = signal.getitimer(signal.ITIMER_REAL)
    try:
        one, two = (parse(f"${text}$", parsing_timeout=1) for text in (said, gold))
        return bool(one and two and verify(two, one, timeout_seconds=1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, *alarm)
