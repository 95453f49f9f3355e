"""Prompts that nobody solves are asked again with the beginning of their solution (GHPO).

Paper: arXiv 2507.10628. When all rollouts of a prompt are wrong, it is drawn again with the first quarter of the worked solution
in the prompt, then half, then three quarters; the hinted prompt and its rollouts replace the others and are trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from harness.core.records import Example, Message, Side, Text
from rewards.method import Draw, Draws, Group, Method, Progress, method


@method.register("ghpo")
class Ghpo(Method):
    """Needs training examples with a worked solution; others are trained as in grpo. The outcome decides, so that a
    format reward cannot hide a failure."""

    paper: ClassVar[str] = "arXiv 2507.10628"
    provenance: ClassVar[str] = "code: hkgc-1/GHPO@af0a7dd"
    family: ClassVar[str] = "sampling"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"stages": ()})

    stages: tuple[float, ...] = (0.25, 0.5, 0.75)

    def collect(self, draw: Draws, prompts: Sequence[Example], progress: Progress) -> list[Group]:
        original = {e.id: e for e in prompts}
        groups = {g.example.id: g for g in draw([Draw(example=e) for e in prompts])}
        for stage in self.stages:
            failed = [original[k] for k, g in groups.items() if unsolved(g) and original[k].solution]
            if not failed:
                break
            groups |= {g.example.id: g for g in draw([Draw(example=hinted(e, stage)) for e in failed])}
        return list(groups.values())


def unsolved(group: Group) -> bool:
    """Every graded rollout is wrong (and there is one)."""
    graded = [v.correct for v in group.verdicts if v.side is not Side.INSTRUMENT]
    return bool(graded) and not any(graded)


def hinted(example: Example, share: float) -> Example:
    """The example with the first `round(share * length)` characters of its solution behind the last message."""
    solution = example.solution or ""
    hint = Text("\nThe solution begins like this:\n" + solution[: round(share * len(solution))])
    *before, last = example.messages
    return replace(example, messages=(*before, Message(last.role, (*last.parts, hint))))
