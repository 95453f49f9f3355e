"""MMMU's rule of 2023 as its authors wrote it, on the whole reply: what was published with MMMU's own script.

Choice: a letter in brackets, else between blanks, else (in more than five words) an option's text; the latest of several.
Where there is none they draw an option at random; here such a reply is not graded (`random_draw`), so that its share is seen.
Open: the shortest tail of each line behind "so", "is", "answer" ... (and "=" in the last line), else the whole response, and
every number in them, as lower-case strings or numbers rounded to two decimals. A single character is padded with a blank, so
that it is not found inside words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.core.errors import attempt
from harness.core.records import Answer, AnswerType
from rewards.verifier import Reason
from rewards.verifier.protocols import Outcome, Protocol, Work, protocol

LETTERS = "ABCDEFGHIJ"
_TAIL = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)


@protocol.register("mmmu-2023")
class Mmmu2023(Protocol):
    """MMMU's rule of 2023 on the whole reply; its random draw is not graded."""

    about = "the letter or statement that MMMU's script finds anywhere in the reply; where it draws one, not graded"
    source = "MMMU-Benchmark/MMMU mmmu/utils/eval_utils.py"

    def refuses(self, task: Any) -> str:
        return "" if task.key.startswith("mmmu") else "the rule belongs to MMMU"

    def grade(self, work: Work) -> Outcome:
        answer, response = work.job.answer, work.job.response
        if answer.type is not AnswerType.CHOICE:
            return stated(answer, response)
        letter = letter_of(response, answer.choices)
        if letter is None:
            return None, None, "random_draw"
        return letter in answer.golds, letter, Reason.MATCH if letter in answer.golds else Reason.MISMATCH


def stated(answer: Answer, response: str) -> Outcome:
    """The outcome of an open question: a statement holds a gold string or equals a gold number."""
    found = statements(response)
    golds = [value for gold in answer.golds for value in normal(gold)]
    right = any(any(isinstance(g, str) and g in f for g in golds) if isinstance(f, str) else f in golds for f in found)
    return right, "; ".join(map(str, found))[:500] or None, Reason.MATCH if right else Reason.MISMATCH


def statements(response: str) -> list[str | float]:
    """What an open response may have meant, normalised."""
    return [value for piece in _pieces(response) for part in (piece, *_numbers(piece)) for value in normal(part)]


def letter_of(response: str, options: Sequence[str]) -> str | None:
    """The letter that the authors read, or None where they draw one at random."""
    for char in ",.!?;:'":
        response = response.strip(char)
    text, letters = f" {response} ", LETTERS[: len(options)]
    low = text.lower()
    for places in (
        {c: text.rfind(f"({c})") for c in letters},
        {c: text.rfind(f" {c} ") for c in letters},
        {c: low.rfind(o.lower()) for c, o in zip(letters, options, strict=False)} if len(text.split()) > 5 else {},
    ):
        found = {c: place for c, place in places.items() if place >= 0}
        if found:
            return max(found, key=lambda c: found[c])
    return None


def _pieces(response: str) -> list[str]:
    text = response.strip().strip(".").lower()
    lines, pieces = text.split("\n"), []
    for number, line in enumerate(lines):
        marks = (*_TAIL, "=") if number == len(lines) - 1 else _TAIL
        tails = [line.split(mark)[-1].strip() for mark in marks if mark in line]
        tail = min(tails, key=len, default="")
        if tail and tail not in ":,.!?;'":
            pieces.append(tail)
    return pieces or [text]


_LONG_RUN = re.compile(r"(?<!\d)(\d{200})\d+")
"""No gold has so many digits, and the authors' patterns take quadratic time in them."""


def _numbers(text: str) -> list[str]:
    text = _LONG_RUN.sub(r"\1", text[:20_000])
    return [n for pattern in _NUMBERS for n in re.findall(pattern, text)]


def normal(text: str) -> list[str | float]:
    """A number to two decimals, or a lower-case string (two padded ones for a single character)."""
    value, _ = attempt(float, text.strip().replace(",", ""))
    if value is not None:
        return [round(value, 2)]
    low = text.strip().lower()
    return [f" {low}", f"{low} "] if len(low) == 1 else [low] if low else []
