"""Arithmetic in two to four steps, generated; the training and test task of the tiny language policy.

In: nothing (no download). Out: questions such as `17+5*3=?` with a worked solution `5*3=15; 17+15=32; \\boxed{32}`.
Texts are short because a byte-level policy pays for every byte. No split shares a question with another, nor its mirror
image (5*3+17 for 17+5*3): the canonical form decides which split owns an item.
"""

from __future__ import annotations

import operator
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.records import Answer, AnswerType, Example
from tasks.base import Task, task, user
from tasks.support.splits import SIZES as COMMON
from tasks.support.splits import draw_items

if TYPE_CHECKING:
    from pathlib import Path

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_RANK = {"+": 1, "-": 1, "*": 2}
LEVELS = (1, 2, 3)
SIZES = {**COMMON, "expert": 9000}
_FORMS: dict[int, tuple[str, ...]] = {
    1: ("a+b-c", "a-b+c", "a-b-c", "a+x*y", "a-x*y", "x*y-a"),
    2: ("a+x*y-b", "a-x*y+b", "x*y+z*w", "x*y-z*w", "(b+c)*x-a", "(b+c)*x+a"),
    3: ("a+x*y-z*w", "x*y+z*w-a", "x*y-z*w+a", "(b+c)*x-y*z", "(b+c)*x+y*z", "(b+c)*x-a+y"),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A number, or an operation on two nodes."""

    symbol: str
    value: int
    left: Node | None = None
    right: Node | None = None

    def text(self) -> str:
        """As written in a question: brackets only where precedence needs them."""
        if self.left is None or self.right is None:
            return str(self.value)
        left, right = self.left.text(), self.right.text()
        if _RANK.get(self.left.symbol, 3) < _RANK[self.symbol]:
            left = f"({left})"
        rank = _RANK.get(self.right.symbol, 3)
        if rank < _RANK[self.symbol] or (self.symbol == "-" and rank == 1):
            right = f"({right})"
        return f"{left}{self.symbol}{right}"

    def canonical(self) -> str:
        """Equal for questions that differ only in the order of the operands of a + or *."""
        if self.left is None or self.right is None:
            return str(self.value)
        parts = [self.left.canonical(), self.right.canonical()]
        return f"({self.symbol} {' '.join(parts if self.symbol == '-' else sorted(parts))})"

    def steps(self) -> list[str]:
        """One line per operation, innermost first, each on plain numbers."""
        if self.left is None or self.right is None:
            return []
        own = f"{self.left.value}{self.symbol}{self.right.value}={self.value}"
        return [*self.left.steps(), *self.right.steps(), own]


def parse(form: str, stream: random.Random) -> Node:
    """The form with numbers drawn for its letters: a in 2..39, the others in 2..9, so that single facts recur."""
    output: list[Node] = []
    pending: list[str] = []

    def reduce() -> None:
        symbol, right, left = pending.pop(), output.pop(), output.pop()
        output.append(Node(symbol, _OPERATIONS[symbol](left.value, right.value), left, right))

    for char in form:
        if char == "(":
            pending.append(char)
        elif char == ")":
            while pending[-1] != "(":
                reduce()
            pending.pop()
        elif char in _OPERATIONS:
            while pending and pending[-1] != "(" and _RANK[pending[-1]] >= _RANK[char]:
                reduce()
            pending.append(char)
        else:
            output.append(Node("", stream.randint(2, 39 if char == "a" else 9)))
    while pending:
        reduce()
    return output[0]


def _negative(node: Node) -> bool:
    return node.value < 0 or any(_negative(n) for n in (node.left, node.right) if n is not None)


def _draw(stream: random.Random, number: int) -> tuple[int, Node]:
    """Item `number`: levels take turns; no step goes below zero."""
    level = LEVELS[number % len(LEVELS)]
    while True:
        node = parse(stream.choice(_FORMS[level]), stream)
        if not _negative(node):
            return level, node


@task.register("arithmetic")
class Arithmetic(Task):
    """Arithmetic in two to four steps, generated."""

    version = 2
    licence = "Apache-2.0"
    generated = True
    splits = ("test", "train", "validation", "expert")
    categories = ("level",)

    def __init__(self, split: str | None = None, data_dir: Path | None = None) -> None:
        super().__init__(split, None)

    def load(self) -> list[Example]:
        """All items of the split; the same on every call."""
        items = draw_items(
            "arithmetic", self.split, _draw, lambda item: item[1].canonical(), lambda item: item[1].canonical(), SIZES
        )
        return [self._example(str(i), level, node) for i, (level, node) in enumerate(items)]

    def _example(self, item: str, level: int, node: Node) -> Example:
        return Example(
            id=item,
            task=self.name,
            messages=user(f"{node.text()}=?"),
            answer=Answer(type=AnswerType.INTEGER, golds=(str(node.value),)),
            solution=f"{'; '.join(node.steps())}; \\boxed{{{node.value}}}",
            metadata={"level": level},
        )
