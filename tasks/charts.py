"""Small charts with questions of one to several reading steps, generated; the task of the tiny multimodal policy.

In: nothing (no download). Out: a picture (tasks/support/drawing.py), a short question and a solution that reads the values it
needs: `A-C=?` -> `A=7; C=3; 7-3=4; \\boxed{4}`. Level 1 reads one value, level 2 two values, level 3 all of them. No
chart is in two splits, whatever is asked about it.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.records import Answer, AnswerType, Example, LazyImage
from tasks.base import Task, task, user
from tasks.support.drawing import PARTS, TOP, Chart, draw
from tasks.support.splits import SIZES as COMMON
from tasks.support.splits import draw_items

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = (1, 2, 3)
SIZES = {**COMMON, "expert": 5000}
_KINDS = ("bar", "bar", "line", "grouped", "pie")


@dataclass(frozen=True, slots=True)
class Item:
    """A chart with one question. `answer` is a number, or the letter of a choice."""

    chart: Chart
    level: int
    question: str
    steps: tuple[str, ...]
    answer: str


def _chart(stream: random.Random) -> Chart:
    kind = stream.choice(_KINDS)
    if kind == "pie":
        cuts = sorted(stream.sample(range(1, PARTS), stream.randint(2, 4)))
        return Chart(kind, tuple(b - a for a, b in zip([0, *cuts], [*cuts, PARTS], strict=True)))
    count = 3 if kind == "grouped" else stream.randint(3, 5)
    values = tuple(stream.randint(1, TOP) for _ in range(count))
    return Chart(kind, values, tuple(stream.randint(1, TOP) for _ in range(count)) if kind == "grouped" else ())


def _named(chart: Chart, stream: random.Random) -> dict[str, int]:
    """Values by the name a question uses: `A` or, in grouped charts, `red A`."""
    if chart.kind != "grouped":
        return dict(zip(chart.labels, chart.values, strict=True))
    series = stream.choice(("red", "blue"))
    values = chart.values if series == "red" else chart.second
    return {f"{series} {label}": value for label, value in zip(chart.labels, values, strict=True)}


def _two(chart: Chart, values: dict[str, int], stream: random.Random) -> tuple[str, tuple[str, ...], str]:
    """Sum or difference of two values; in a grouped chart of the two bars of a group."""
    if chart.kind == "grouped":
        place = stream.randrange(len(chart.values))
        label = chart.labels[place]
        pair = [(f"red {label}", chart.values[place]), (f"blue {label}", chart.second[place])]
    else:
        pair = stream.sample(sorted(values.items()), 2)
    (first, a), (second, b) = sorted(pair, key=lambda p: -p[1])
    sign, result = stream.choice((("+", a + b), ("-", a - b)))
    return f"{first} {sign} {second} = ?", (f"{first}={a}", f"{second}={b}", f"{a}{sign}{b}={result}"), str(result)


def _all(values: dict[str, int], stream: random.Random) -> tuple[str, tuple[str, ...], str] | None:
    """The label of the extreme value (a choice), or the range. None where the extreme is not unique."""
    read = tuple(f"{name}={value}" for name, value in values.items())
    series = " ".join({name.split()[0] for name in values if " " in name})
    low, high = min(values.values()), max(values.values())
    asked = stream.choice(("largest", "smallest", "range"))
    if asked == "range":
        return f"{series} largest - smallest = ?".strip(), (*read, f"{high}-{low}={high - low}"), str(high - low)
    found = [name for name, value in values.items() if value == (high if asked == "largest" else low)]
    if len(found) > 1:
        return None
    return f"{asked} {series}".strip() + f"? {', '.join(n[-1] for n in values)}", read, found[0][-1]


def _draw(stream: random.Random, number: int) -> Item:
    """Item `number`: levels take turns."""
    level = LEVELS[number % len(LEVELS)]
    while True:
        chart = _chart(stream)
        values = _named(chart, stream)
        if level == 1:
            name = stream.choice(sorted(values))
            return Item(chart, level, f"{name} = ?", (f"{name}={values[name]}",), str(values[name]))
        asked = _two(chart, values, stream) if level == 2 else _all(values, stream)
        if asked is not None:
            return Item(chart, level, *asked)


@task.register("charts")
class Charts(Task):
    """Small charts with questions of one to several reading steps, generated."""

    version = 2
    modality = "multimodal"
    licence = "Apache-2.0"
    generated = True
    splits = ("test", "train", "validation", "expert")
    categories = ("level", "chart")

    def __init__(self, split: str | None = None, data_dir: Path | None = None) -> None:
        super().__init__(split, None)

    def load(self) -> list[Example]:
        """All items of the split; pictures are drawn when they are opened."""
        items = draw_items(
            "charts", self.split, _draw, lambda item: repr(item.chart), lambda item: (item.chart, item.question), SIZES
        )
        return [self._example(str(i), item) for i, item in enumerate(items)]

    def _example(self, item: str, content: Item) -> Example:
        choice = content.answer.isalpha()
        kind = AnswerType.CHOICE if choice else AnswerType.INTEGER
        return Example(
            id=item,
            task=self.name,
            messages=user(content.question, images=1),
            images=(LazyImage(f"{self.name}:{item}", functools.partial(draw, content.chart)),),
            answer=Answer(type=kind, golds=(content.answer,), choices=tuple(content.chart.labels) if choice else ()),
            solution=f"{'; '.join(content.steps)}; \\boxed{{{content.answer}}}",
            metadata={"level": content.level, "chart": content.chart.kind},
        )
