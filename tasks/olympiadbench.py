"""OlympiadBench, open-ended English mathematics without pictures (OE_TO_maths_en_COMP; He et al. 2024).

Hub: SumanthRH/olympiadbench_qwen_math (train, 675 rows, a copy of Qwen2.5-Math's: id, subfield, question, solution list,
final_answer list of one, is_multiple_answer, unit, answer_type, error); origin OpenBMB/OlympiadBench (MIT), whose own
hub copy has 674. Local suite: problem, answer (list of one). Several answers stand in one string, separated by commas.

Authors' rule (`official`): what follows the last "So the final answer is", all boxes of it joined by commas (else the
`$..$` of the last line), split at commas outside brackets, `\\pm` as two; the same number of answers, matched in any
order; each equal as written, as interval or tuple in order, as number within `error` (default 1e-8, also of the hundredth
and the hundredfold), as expression, or as equation up to a whole factor. Where the sentence is missing the marked answer
counts (theirs would join every box of the solution). Reading is by this project's parser, which refuses what it cannot read
wholly, in place of sympy's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

from harness.core.records import Answer, AnswerType, Example
from tasks.base import Hub, task
from tasks.support.mathematics import GOLDS, MathTask
from tasks.support.prose import boxes, conclusion

_NOTES = {"$221,$8$": "broken gold: $221,$8$ read as 221,8", "$t(0,4]$": "broken gold: $t(0,4]$ is the interval (0,4]"}
_EDGES = " \n$,.:;^_=+`!@#%&*~"
_LONGEST = 2000
_PLAIN = re.compile(r"[-+]?\d{1,400}(?:\.\d*)?")


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The authors' rule without their parser; see above."""
    from rewards.verifier.answers import structure, symbolic

    given = _tidy(_said(response) if extracted is None else extracted)
    if not given:
        return False, None, "no_answer"
    if len(given) > _LONGEST or structure.depth(given) > structure.MAX_DEPTH:
        return None, None, "too_long" if len(given) > _LONGEST else "too_deep"
    wanted = _tidy(answer.golds[0])
    tolerance = Fraction(101, 100) * Fraction(1, 10 ** (8 if answer.precision is None else answer.precision))
    try:
        right = wanted == given or _paired(_items(wanted), _items(given), tolerance)
    except symbolic.TooLargeError:
        return None, given, "too_large"
    return right, given, "match" if right else "mismatch"


def _said(response: str) -> str:
    """The boxes behind the authors' sentence; without it the marked answer, and where nothing is marked their formulas."""
    _, sentence, tail = response.rpartition("So the final answer is")
    marked = None if sentence else conclusion(response)
    return _content(tail) if marked is None else marked


def _content(text: str) -> str:
    """All boxes, else the formulas of the last line, else the text itself; "" where a box is not closed."""
    found, lines = boxes(text), text.strip().splitlines()
    if found is None:
        return ""
    return ",".join(found or (re.findall(r"\$(.*?)\$", lines[-1]) if lines else []) or [text])


def _tidy(text: str) -> str:
    text = text.rpartition("\\in ")[2].replace("∶", ":").replace("，", ",")
    text = re.sub(r"\\(?:left|right)(?![a-z])|\\?[$%]|\^\s*\{?\s*\\circ\s*\}?", "", text)
    text = re.sub(r"\\(?:approx|simeq|sim)(?![a-z])", "=", text)
    return re.sub(r"\\math(?:rm|bf)\{~?([^}]*)\}", r"\1", text).strip(_EDGES)


def _items(text: str) -> list[str]:
    level, parts = 0, [""]
    for char in text:
        level += (char in "([") - (char in ")]")
        if char == "," and level == 0:
            parts.append("")
        else:
            parts[-1] += char
    signed = [[p.replace("\\pm", s) for s in "+-"] if "\\pm" in p else [p] for p in parts]
    return [p.strip() for pair in signed for p in pair if p.strip()]


def _paired(golds: list[str], answers: list[str], tolerance: Fraction) -> bool:
    if len(golds) != len(answers):
        return False
    left = list(answers)
    for gold in golds:
        partner = next((a for a in left if _equal(gold, a, tolerance)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _equal(gold: str, given: str, tolerance: Fraction) -> bool:
    from rewards.verifier.answers import expressions, symbolic

    if gold == given:
        return True
    if gold[0] in "([" and gold[-1] in ")]" and given[0] in "([" and given[-1] in ")]":
        return gold[0] + gold[-1] == given[0] + given[-1] and bool(expressions.compare(gold, given)[0])
    if _PLAIN.fullmatch(gold) and _PLAIN.fullmatch(given):
        return any(abs(Fraction(gold) * s - Fraction(given)) <= tolerance for s in (Fraction(1, 100), 1, 100))
    sides = [t if t.count("=") != 1 or gold.count("=") == given.count("=") else t.split("=")[1] for t in (gold, given)]
    numbers = [_constant(side) for side in sides]
    if numbers[0] is not None and numbers[1] is not None:
        exact = [n for n in numbers if isinstance(n, Fraction)]
        if len(exact) == 2:
            return abs(exact[0] - exact[1]) <= tolerance
        left, right = (symbolic.rounded(n) if isinstance(n, Fraction) else n for n in numbers)
        return bool(abs(left - right) <= float(tolerance))
    return bool(expressions.compare(*sides)[0])


def _constant(text: str) -> Any:
    """The value of an expression without names, exact or as a number of 30 digits; None for anything else."""
    from rewards.verifier.answers import normal, rational, symbolic

    try:
        tree = symbolic.read(normal.clean(text))
    except symbolic.PartialParseError:
        return None
    if not tree.names and (exact := rational.value(tree.tree, {})) is not None:
        return exact
    pair = None if tree.names else symbolic.value(tree.tree, {})
    return None if pair is None or pair[1] else pair[0]


@task.register("olympiadbench")
class OlympiadBench(MathTask):
    """OlympiadBench: open-ended English competition mathematics, text only."""

    licence = "MIT"
    version = 2
    hub: ClassVar = {"test": Hub("SumanthRH/olympiadbench_qwen_math", "train")}
    files: ClassVar = {"test": "olympiadbench.jsonl"}
    categories = ("subfield", "answer_type")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        example = super().parse(row, item)
        published = str(self.first(row, GOLDS, item)[0]).strip()
        answer = example.answer
        if str(row.get("error") or "").startswith("1e-") and "Tuple" not in str(row.get("answer_type")):
            answer = Answer(type=AnswerType.FLOAT, golds=answer.golds, precision=int(row["error"][3:]))
        return replace(example, answer=answer, rule="tasks.olympiadbench:official", note=_NOTES.get(published, ""))
