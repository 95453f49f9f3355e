"""OpenR1-Math-220k: competition problems with reasoning traces, the expert data of the paper's language runs.

Hub: open-r1/OpenR1-Math-220k (Apache-2.0), configuration default (93.7k rows; extended 131k), split train: problem, solution,
answer, problem_type, question_type, source, uuid, generations (2 to 4 traces), correctness_math_verify, is_reasoning_complete.
A row's worked solution is the shortest complete trace that math-verify accepted; rows without one (about 12 % of the accepted
were accepted by a model only) and rows without an answer are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.core.records import Example
from tasks.base import Hub, task
from tasks.support.mathematics import MathTask


@task.register("openr1-math")
class OpenR1Math(MathTask):
    """OpenR1-Math: competition problems with verified reasoning traces, as expert data."""

    licence = "Apache-2.0"
    splits = ("train", "extended")
    hub: ClassVar = {
        "train": Hub("open-r1/OpenR1-Math-220k", "train", "default"),
        "extended": Hub("open-r1/OpenR1-Math-220k", "train", "extended"),
    }
    files: ClassVar = {"train": "openr1-math.jsonl", "extended": "openr1-math-extended.jsonl"}
    id_columns = ()
    columns = ("problem", "answer", "generations", "correctness_math_verify", "is_reasoning_complete")
    categories = ("problem_type", "source")

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for row in super().rows():
            if set(self.columns) - set(row) or (row["answer"] and accepted(row)):
                yield row

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        return replace(super().parse(row, item), solution=accepted(row))


def accepted(row: Mapping[str, Any]) -> str | None:
    """The shortest complete trace whose answer math-verify found right."""
    flags = zip(
        row["generations"], row["correctness_math_verify"] or (), row["is_reasoning_complete"] or (), strict=False
    )
    return min((trace for trace, right, complete in flags if right and complete), key=len, default=None)
