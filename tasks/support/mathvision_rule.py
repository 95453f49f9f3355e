"""How MATH-V's authors read an answer out of any text (mathllm/MATH-V, evaluation/evaluate.py and utils.py)."""

from __future__ import annotations

import contextlib
import re

from harness.core.records import Answer
from rewards.verifier.answers.marks import Kind, find
from tasks.support.prose import letters_named

LETTERS = "ABCDE"


def boxed(response: str, answer: Answer) -> str:
    """A response that marks its answer with a tag, with the authors' mark in its place: a box around what the tag marks, and of
    an option its letter. Their own mark stays as it is."""
    mark = find(response, answer.type).chosen
    if mark is None or mark.kind is not Kind.TAG or not mark.content:
        return response
    named = letters_named(mark.content, len(LETTERS)) if answer.golds[0] in LETTERS else ()
    return f"\\boxed{{{named[0] if len(named) == 1 else mark.content}}}"


_GONE = (
    "\n", r"\text", r"\mbox", r"\left", r"\right", r"^{\circ}", r"^\circ", "{m}^3", "m^3", "{units}", "units", "{km}", "km",
)  # fmt: skip
_FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")


def read(response: str) -> str:
    """What the authors take for the answer: a letter at either end, a number at the end, what follows a phrase or a box."""
    text = response.strip()
    for letter in LETTERS:
        ends, starts = (f" {letter}.", f" ({letter})."), (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            text = letter
    tail = text.rpartition("is ")[2].rstrip(".")
    with contextlib.suppress(ValueError):
        text = tail if float(tail) is not None else text
    if "oxed{" not in text:
        for flag in (form for lower in _FLAGS for form in (lower, lower.capitalize())):
            _, mark, after = text.rpartition(flag)
            text = after.strip().split("\n")[0].split(". ")[0] if mark else text.strip()
    elif text.count("oxed{") > 1:
        text = "\\boxed{" + text.rpartition("oxed{")[2]
    text = _content(text)
    for mark in ("({})", "{{{}}}"):
        for letter in "abcde":
            text = text.replace(mark.format(letter), letter)
    return text.rstrip(".").lstrip(":").strip()


def _content(text: str) -> str:
    """The box's content (greedily to the last brace, as theirs) or the whole text, cleaned of units and spacing."""
    text = text.lower().replace("{}", "")
    boxed = re.search(r"oxed{(.*)}", text, re.DOTALL)
    text = boxed[1] if boxed else text
    close, opening = text.find("}"), text.find("{")
    if close != -1 and (opening == -1 or close < opening):
        text = text[:close]
    text = text.rpartition("=")[2].rpartition("\\approx")[2]
    for old, new in (("∞", "\\infty"), ("+\\infty", "\\infty"), ("\\\\", "\\")):
        text = re.sub(r" |\\,", "", text).replace(old, new)
    for gone in _GONE:
        text = text.replace(gone, "")
    return _tidy(text)


def _tidy(text: str) -> str:
    """Their string clean-up, as far as a text without blanks can meet it."""
    text = re.sub(
        r"\\!|\\?\$|\\%", "", text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    ).replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    if "sqrt" in text:
        text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text)
        text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    slash = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text)
    return "\\frac{1}{2}" if text == "0.5" else f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text
