"""Minerva's science problems: 272 items of MIT OpenCourseWare (Lewkowycz et al. 2022), in two published gold sets.

`test` has the golds of the suite that RLFR and Dr. GRPO evaluate on (hub copy lkevinzc/math-eval; `answer` is a list of
spellings, any of which counts), 33 of which answer another sub-question, printed in the prompt: they are kept and marked,
and results give the score without them. `corrected` has the right answers in their place. `ocw` has the course's own golds
(knoveleng/Minerva-Math: problem, solution with one `\\boxed`, type, idx), five of which are wrong and corrected.
The rule of the Minerva paper was not seen (unverified); the strict rule serves as official. Licence of the items: unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.core.records import Answer, Example
from tasks.base import Hub, fingerprint, task
from tasks.support.golds import typed
from tasks.support.mathematics import MathTask

_ROWS = 272
_ANCHORS = {48: "4594f14cbdd3", 266: "f7210d59375f"}
"""Fingerprints of two problems: a file whose rows are elsewhere is not the suite's."""
_RIGHT: dict[int, str | None] = {
    41: "0.53", 48: "I(0)", 55: r"\frac{e^{t}}{3}", 60: "0", 80: r"-2+2\sqrt{3}i", 94: "2", 96: r"\frac{e^{2it}}{2+2i}",
    71: r"\frac{e^{-2t}}{15}+C_{1}e^{t}+C_{2}e^{-t}+C_{3}\cos(t)+C_{4}\sin(t)",
    84: r"-\frac{\sin(3t)}{5}+C_{1}\sin(2t)+C_{2}\cos(2t)", 100: "20", 104: r"2.2\tau", 106: r"\frac{37m}{4}", 122: None,
    127: r"\frac{\omega_{d}}{(s+\sigma)^{2}+\omega_{d}^{2}}", 128: "1e-8", 131: "0.05", 138: "400000",
    142: r"\frac{\lambda_{red}}{\sqrt{2}}", 152: "1.4903e4", 153: "566", 163: "1.22", 165: "0.5", 202: "2.55e-10",
    215: "84.01", 218: "3", 219: "12.4", 222: "2.45e6", 229: "1700", 236: "12.5", 238: "57", 251: "SRMC=LRMC", 258: "64",
    266: r"\frac{E_{1}}{3}+\frac{2E_{2}}{3}",
}  # fmt: skip
"""Right answers by row of the suite (from 0); None where the right answer is not known here."""
_RIGHT_OCW = {126: r"(t-\frac{1}{2}\sin(2t))u(t)", 155: "4.4677e14", 165: "8.224e-19", 201: "353", 240: "6.43e16"}
"""Right answers by `idx` where the course's own box is wrong."""


@task.register("minerva")
class Minerva(MathTask):
    """Minerva: 272 problems of MIT OpenCourseWare with short answers."""

    splits = ("test", "corrected", "ocw")
    hub: ClassVar = {
        "test": Hub("lkevinzc/math-eval", "minerva"),
        "corrected": Hub("lkevinzc/math-eval", "minerva"),
        "ocw": Hub("knoveleng/Minerva-Math", "train"),
    }
    files: ClassVar = {"test": "minerva.jsonl", "corrected": "minerva.jsonl", "ocw": "minerva-ocw.jsonl"}
    id_columns = ()
    columns = ("problem",)
    categories = ("type",)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        rows = list(super().rows())
        places = _suite_rows([row.get("problem", "") for row in rows])
        for row, place in zip(rows, places, strict=True):
            yield {**row, "suite_row": place}

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        example = super().parse(row, item)
        if self.split == "ocw":
            right = _RIGHT_OCW.get(row.get("idx", -1))
            note = f"corrected gold: the source has {_boxed(row)}" if right else ""
            return replace(example, answer=typed(right) if right else example.answer, note=note)
        place = row["suite_row"]
        if place not in _RIGHT:
            return example
        right, published = _RIGHT[place], " | ".join(example.answer.golds)
        if self.split == "corrected" and right is not None:
            return replace(example, answer=typed(right), note=f"corrected gold: the suite has {published}")
        known = f", should be {right}" if right is not None else ""
        return replace(example, note=f"wrong gold: {published} answers another sub-question{known}")

    def answer(self, row: Mapping[str, Any], item: str) -> Answer:
        return typed(_spelt(_boxed(row))) if self.split == "ocw" else super().answer(row, item)


def _suite_rows(problems: list[str]) -> list[int | None]:
    """The suite's row of each problem; None everywhere in a file that is not the suite's (or its even rows)."""
    for step in (1, 2):
        found = {p: problems[p // step] for p in _ANCHORS if p % step == 0 and p // step < len(problems)}
        if len(problems) * step == _ROWS and all(fingerprint(found[p]) == _ANCHORS[p] for p in _ANCHORS):
            return [step * i for i in range(len(problems))]
    return [None] * len(problems)


def _boxed(row: Mapping[str, Any]) -> str:
    from rewards.verifier.answers.marks import final_answer
    from tasks.support.golds import AnswerType

    return str(row.get("answer") or final_answer(str(row.get("solution", "")), AnswerType.EXPRESSION) or "")


def _spelt(gold: str) -> str:
    """The course's code-like golds as LaTeX: `-1./3`, `np.arcsin(10/13)`, `\\exp{a*t}`, `2**3`."""
    gold = re.sub(r"np\.(?=(arc)?(sin|cos|tan)|sqrt|log|exp)", r"\\", gold.replace("$ $", "").replace("**", "^"))
    gold = re.sub(r"(?<=\d)\.(?=\s*/)", "", gold)
    return re.sub(r"\\exp\s*\{", "e^{", gold)
