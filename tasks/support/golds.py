"""Gold answers of mathematics sets, as published, in; typed answers out.

The type follows from how the gold is written: a whole number is INTEGER, a lettered option CHOICE, plain words TEXT, all
else EXPRESSION (which covers lists, tuples, intervals and matrices). Only the type and the spelling of plain integers are
decided here; equality is the verifier's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.errors import DataError
from harness.core.records import Answer, AnswerType

_INTEGER = re.compile(r"[-+]?\d+(?:\.0+)?|[-+]?\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+")
_OPTION = re.compile(r"(?:\\text|\\textbf|\\mathrm)\s*\{\s*\(?([A-H])\)?\s*\}|\(([A-H])\)")
_WORDS = re.compile(r"\\text\s*\{\s*[A-Za-z][A-Za-z ,'-]*\}|[A-Za-z][a-z]{3,}(?: [a-z]+)*")


def typed(*golds: str | int | float) -> Answer:
    """The answer that any one of `golds` gives. Types must agree, or the whole is an EXPRESSION."""
    texts = tuple(_plain(g) for g in golds)
    kinds = {_type(t) for t in texts}
    kind = kinds.pop() if len(kinds) == 1 else AnswerType.EXPRESSION
    if kind is AnswerType.INTEGER:
        texts = tuple(integer(t) for t in texts)
    elif kind is AnswerType.CHOICE:
        texts = tuple(next(g for g in _OPTION.fullmatch(t).groups() if g) for t in texts)  # type: ignore[union-attr]
    return Answer(type=kind, golds=tuple(dict.fromkeys(texts)))


def _plain(gold: str | int | float) -> str:
    if isinstance(gold, float) and gold.is_integer():
        return str(int(gold))
    text = re.sub(r"(?<!\\)\$", "", str(gold)).strip()
    return re.sub(r"^\\q?quad(?![a-zA-Z])\s*", "", text).removesuffix(".").strip()


def _type(text: str) -> AnswerType:
    if _INTEGER.fullmatch(text):
        return AnswerType.INTEGER
    if _OPTION.fullmatch(text):
        return AnswerType.CHOICE
    return AnswerType.TEXT if _WORDS.fullmatch(text) else AnswerType.EXPRESSION


def integer(text: str) -> str:
    """`025`, `142.0`, `1{,}000` and `10,\\!080` as plain digits."""
    digits = re.sub(r"\\!|[{},+]", "", text)
    return str(int(digits.partition(".")[0]))


def choice(letter: str, options: Sequence[str] = ()) -> Answer:
    """A lettered gold with the texts of its options (empty where they stand in the picture)."""
    return Answer(type=AnswerType.CHOICE, golds=(letter,), choices=tuple(options))


def whole(gold: str | int | float, where: str) -> Answer:
    """An integer gold in any published spelling (`025`, 142.0, `336^\\circ`). Raises DataError naming `where`."""
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", "", _plain(gold)).strip()
    if not _INTEGER.fullmatch(text):
        raise DataError(f"{where}: the gold {gold!r} is not an integer", "check the file")
    return Answer(type=AnswerType.INTEGER, golds=(integer(text),))


def gold_text(answer: Answer, gold: str) -> str:
    """A gold as it stands in a box: a letter, a number, an expression (some golds bring a box), or a list's elements."""
    if answer.type is AnswerType.LIST:
        return "[" + ", ".join(answer.golds) + "]"
    boxed = re.fullmatch(r"\\boxed\s*\{(.*)\}", gold)
    return boxed[1] if boxed else gold


def marked(answer: Answer) -> tuple[str, ...]:
    """One right response for each gold."""
    golds = answer.golds[:1] if answer.type is AnswerType.LIST else answer.golds
    return tuple(f"The final answer is \\boxed{{{gold_text(answer, g)}}}." for g in golds)
