"""Progress of an evaluation with its running accuracy, on a terminal and in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.core.records import Sample, Status

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def bar(console: Console | None, text: str, total: int, done: Sequence[Sample]) -> Iterator[Callable[[Sample], None]]:
    """Yields `tick(sample)`: a progress bar with the running accuracy; on a stream that is no terminal a line a minute.

    done: what an earlier process logged, which counts for both."""
    if console is None:
        yield lambda sample: None
    elif not console.is_terminal:
        yield _Lines(console, text, total, done)
    else:
        yield from _live(console, text, total, done)


def _live(console: Console, text: str, total: int, done: Sequence[Sample]) -> Iterator[Callable[[Sample], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[right]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        row = progress.add_task(text, total=total, completed=len(done), right="")
        seen = [_right(done), len(done)]

        def tick(sample: Sample) -> None:
            seen[0], seen[1] = seen[0] + (sample.verdict is Status.CORRECT), seen[1] + 1
            progress.update(row, advance=1, right=f"{seen[0] / seen[1]:.1%} right")

        yield tick


def _right(samples: Sequence[Sample]) -> int:
    return sum(sample.verdict is Status.CORRECT for sample in samples)


class _Lines:
    """Progress for a log file: one line a minute and one at the end."""

    def __init__(self, console: Console, text: str, total: int, done: Sequence[Sample]) -> None:
        self.console, self.text, self.total = console, text, total
        self.right, self.count, self.shown = _right(done), len(done), time.monotonic()

    def __call__(self, sample: Sample) -> None:
        self.right, self.count = self.right + (sample.verdict is Status.CORRECT), self.count + 1
        if self.count == self.total or time.monotonic() - self.shown > 60:
            self.shown = time.monotonic()
            share = f"{self.right / self.count:.1%} right"
            self.console.print(f"{self.text}: {self.count}/{self.total}  {share}", highlight=False)
