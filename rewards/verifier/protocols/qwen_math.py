"""Qwen2.5-Math's evaluation rule, which simpleRL and the rho and ToRA harnesses share: an unmarked last number counts.

Taken for the answer, in this order: `final answer is $..$. I hope`, what follows the last "boxed", "he answer is",
"final answer is", 答案是, the last number of the reply. Both sides lose spacing, units, `\\text`, degree and dollar
signs, percent and short left sides. Right: equal strings; numbers within 1e-4 of the gold, its hundredth or its
hundredfold (so 2.04 counts for 204); lists and matrices element by element in order; equations by the difference of
their sides; else equal for sympy, or within 1e-4.
Unit words are those of measures, money, time and people; the further words of their list (from MathQA) are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from harness.core.records import AnswerType
from rewards.verifier import Reason
from rewards.verifier.protocols import Outcome, Protocol, Work, latex_values, protocol

_RELATIVE = 1e-4
_LAST_NUMBER = re.compile(r"-?\d*\.?\d+")
_UNITS = """
degree deg mph kmph kmh ft feet inch inches mile yard yr year month day hour hr minute min second sec lb gm kg g km
m cm mm dm mtr meter metre liter litre gal gallon cc ohm acre hectare percent unit square cubic cube sq rs rupee
coin apple toy tile men man women woman soldier monkey number way per s
"""
_UNIT = re.compile(
    rf"(^|\W)(?:{'|'.join(sorted([word + end for word in _UNITS.split() for end in ('', 's')], key=len, reverse=True))})(?=$|\W)"
)
_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
_RAW_GOLDS = ("minerva",)
"""Tasks in which their harness leaves the units of answers alone and the golds as they are."""
_UNREAD = re.compile(r"\{,\}|\\circ|^[^(\[]*,", re.MULTILINE)
"""What their LaTeX parser does not read."""


@protocol.register("qwen-math")
class QwenMath(Protocol):
    """Qwen2.5-Math's rule: the box, an answer sentence or the last number, within 1e-4."""

    about = "the last box, answer sentence or number of the reply, as string, number within 1e-4, list or for sympy"
    source = "QwenLM/Qwen2.5-Math evaluation/parser.py and grader.py"
    imports = ("latex2sympy2_extended",)

    def refuses(self, task: Any) -> str:
        return "" if task.modality == "language" else "the harness has no sets with pictures"

    def grade(self, work: Work) -> Outcome:
        job = work.job
        raw = job.task.startswith(_RAW_GOLDS)
        said = clean(extract(job.response), units=raw)
        answer = job.answer
        golds = [", ".join(answer.golds)] if answer.type is AnswerType.LIST else answer.golds
        if not said:
            return False, None, Reason.NO_ANSWER
        right = any(equal(said, gold if raw else clean(gold)) for gold in golds)
        return right, said, Reason.MATCH if right else Reason.MISMATCH


def extract(response: str) -> str:
    """What the harness takes for the answer, before cleaning."""
    if "final answer is $" in response and "$. I hope" in response:
        found = response.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()
    elif "boxed" in response:
        found = _behind_box(response.rpartition("boxed")[2])
    elif "he answer is" in response:
        found = response.rpartition("he answer is")[2].strip()
    elif "final answer is" in response:
        found = response.rpartition("final answer is")[2].strip()
    elif "答案是" in response:
        found = response.split("答案是")[1].strip().split("\n\n")[0].strip()
    else:
        found = (_LAST_NUMBER.findall(response.replace(",", "")) or [""])[-1]
    found = re.sub(r"\n\s*", "", found).removeprefix(":")
    return found.removesuffix(".").removesuffix("/")


def _behind_box(tail: str) -> str:
    """The braces behind the command, up to their partner or the end; without braces up to the next dollar sign."""
    if not tail.startswith("{"):
        return tail.split("$")[0].strip()
    level = 0
    for place, char in enumerate(tail):
        level += (char == "{") - (char == "}")
        if level == 0:
            return tail[1:place]
    return tail[1:]


def clean(text: str, units: bool = False) -> str:
    """An answer or gold without spacing, units, wrappers and a short left side. `units`: leave units alone."""
    text = text.strip().replace("\n", "").rstrip(".").replace(r"\!", "")
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text).replace(r"\end{array}", r"\end{pmatrix}")
    for old, new in (
        ("bmatrix", "pmatrix"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        (r"\neq", r"\ne"),
        (r"\leq", r"\le"),
    ):
        text = text.replace(old, new)
    text = (
        text.replace(r"\geq", r"\ge")
        .replace(r"\left", "")
        .replace(r"\right", "")
        .replace(r"\{", "{")
        .replace(r"\}", "}")
    )
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    for _ in range(0 if units else 2):
        text = _UNIT.sub(r"\1", text) or text
    text = re.sub(r"\^\{\\circ\}|\^\\circ|\\?\$|\\\(|\\\)", "", text)
    text = str(_WORDS.split().index(text.strip())) if text.strip() in _WORDS.split() else text
    text = re.sub(r"\\text\{(.*?)\}", r"\1", text)
    text = re.sub(r"[xyz](?:=|\s*\\in(?![a-z])|\\to(?![a-z]))", "", text).replace(r"\emptyset", "{}")
    text = text.replace(r"(-\infty,\infty)", r"\mathbb{R}").replace(r"\%", "").replace("%", "")
    text = (
        text.replace(" .", " 0.")
        .replace("{.", "{0.")
        .replace("infinity", r"\infty")
        .replace("and", "")
        .replace(r"\mathbf", "")
    )
    text = re.sub(r"\\mbox{.*?}", "", text)
    text = text.replace("j", "i") if "j" in text and "i" not in text else text
    text = re.sub(r"(\d+)\.0*([^\d])", r"\1\2", text)
    text = re.sub(r"(\d+)\.0*$", r"\1", text)
    return _short(("0" if text.startswith(".") else "") + text)


def _short(text: str) -> str:
    """Without a left side of at most two characters and blanks; roots and fractions with braces."""
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = _braced(text).replace(" ", "")
    slash = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    return f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text


def _braced(text: str) -> str:
    """Roots and fractions with their braces."""
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac([^{\s])([^{\s])", r"\\frac{\1}{\2}", text)
    return re.sub(r"\\frac([^{\s])\{", r"\\frac{\1}{", text)


def equal(said: str, gold: str) -> bool:
    """Whether an answer counts for a gold, both cleaned."""
    if said.strip().lower() == gold.strip().lower():
        return True
    if gold in ("A", "B", "C", "D", "E") and re.findall(r"\b[A-E]\b", said.upper())[-1:] == [gold]:
        return True
    left, right = _number(said), _number(gold)
    if left is not None and right is not None:
        return any(math.isclose(left, value, rel_tol=_RELATIVE) for value in (right / 100, right, right * 100))
    if not said or _bare(said, gold).lower() == _bare(gold, said).lower():
        return bool(said)
    if _is_list(said) and _is_list(gold):
        return _each(said[1:-1].split(","), gold[1:-1].split(","))
    if _is_matrix(said) and _is_matrix(gold):
        return _each_row(_rows(said), _rows(gold))
    return _equation(said, gold)


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    percent = re.fullmatch(r"(.*?)\\?%", text)
    try:
        return float(percent[1]) / 100 if percent else float(text)
    except ValueError:
        return None


def _bare(text: str, other: str) -> str:
    """Without brackets where the two sides do not both have them, and without braces and parentheses."""
    kinds = [t[:1] + t[-1:] for t in (text, other)]
    if kinds.count("[]") + kinds.count("()") == 1:
        text = text.strip("[]()")
    return re.sub(r"[{}()]", "", text)


def _is_list(text: str) -> bool:
    return re.match(r"[(\[].+[)\]]", text) is not None


def _is_matrix(text: str) -> bool:
    return text.startswith(r"\begin{pmatrix}") and text.endswith(r"\end{pmatrix}")


def _rows(text: str) -> list[list[str]]:
    inner = text[len(r"\begin{pmatrix}") : -len(r"\end{pmatrix}")]
    return [row.strip().split("&") for row in inner.split("\\\\") if row.strip()]


def _each(said: Sequence[str], gold: Sequence[str]) -> bool:
    return len(said) == len(gold) and all(equal(s.strip(), g.strip()) for s, g in zip(said, gold, strict=True))


def _each_row(said: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> bool:
    return len(said) == len(gold) and all(_each(s, g) for s, g in zip(said, gold, strict=True))


def _equation(said: str, gold: str) -> bool:
    """Equations by the difference of their sides, a short left side dropped, anything else for sympy."""
    counts = said.count("="), gold.count("=")
    if counts == (1, 1):
        one, two = (f"{left}-({right})" for left, _, right in (t.partition("=") for t in (said, gold)))
        return _symbolic(one, two) or _symbolic(f"-({one})", two)
    for text, other, swapped in ((said, gold, False), (gold, said, True)):
        left, sign, right = text.partition("=")
        if sign and "=" not in right and len(left.strip()) <= 2 and "=" not in other:
            return equal(other, right) if swapped else equal(right, other)
    return _symbolic(said, gold)


def _symbolic(said: str, gold: str) -> bool:
    """Equal for sympy. Their parser takes `\\pi` for a name and `1\\frac12` for a product."""
    if _UNREAD.search(said) or _UNREAD.search(gold):
        return False
    one, two = (_braced(t).replace(r"\pi", r"\varpi ") for t in (said, gold))
    one, two = (re.sub(r"(?<=\d)\\frac", r"\\cdot \\frac", t) for t in (one, two))
    return latex_values.equal(one, two, _RELATIVE)
