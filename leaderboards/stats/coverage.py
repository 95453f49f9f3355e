"""How often the intervals hold the truth, by simulation: `python -m leaderboards.stats.coverage` prints docs' table.

Questions have difficulties of their own, seeds move the policy on all of them, answers are drawn. The truth is the mean
over questions and seeds that were not drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leaderboards.stats.components import Matrix, estimate
from leaderboards.stats.intervals import interval

LEVELS = (0.90, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`spread`: standard deviation of a seed's accuracy, in points; `samples` a question; `tasks` benchmarks of n items."""

    what: str
    seeds: int
    items: int
    accuracy: float = 0.5
    spread: float = 0.0
    samples: int = 1
    tasks: int = 1


CASES = (
    *(
        Case(what="accuracy", seeds=s, items=200, spread=d)
        for s in (1, 2, 3, 5)
        for d in ((0.0, 2.0) if s > 1 else (0.0,))
    ),
    Case(what="accuracy", seeds=3, items=1000, accuracy=0.8, spread=1.0),
    Case(what="accuracy", seeds=3, items=500, spread=5.0),
    Case(what="accuracy", seeds=5, items=500, spread=5.0),
    Case(what="accuracy", seeds=12, items=500, spread=2.0),
    Case(what="accuracy", seeds=1, items=30, accuracy=0.3, samples=16),
    Case(what="accuracy", seeds=3, items=30, accuracy=0.3, samples=16, spread=2.0),
    *(Case(what="average of 4", seeds=s, items=200, spread=2.0, tasks=4) for s in (3, 5)),
    *(Case(what="difference", seeds=s, items=500, spread=d) for s in (2, 3, 5, 12) for d in (0.0, 1.0, 3.0)),
    Case(what="difference", seeds=1, items=500),
    *(Case(what="difference of averages of 4", seeds=s, items=200, spread=2.0, tasks=4) for s in (3, 5)),
)


def _answers(case: Case, hard: Matrix, moved: Matrix, stream: np.random.Generator) -> Matrix:
    chances = np.clip(hard[None, :] + moved[:, None], 0.0, 1.0)
    drawn: Matrix = stream.binomial(case.samples, chances) / case.samples
    return drawn


def draw(case: Case, stream: np.random.Generator) -> tuple[list[Matrix], list[Matrix]]:
    """One study: the scores of two equal methods on each benchmark, [S, n] each. A seed moves all benchmarks alike."""
    room = min(case.accuracy, 1 - case.accuracy)
    moves = [stream.normal(0.0, case.spread / 100, case.seeds) for _ in range(2)]
    sides: tuple[list[Matrix], list[Matrix]] = ([], [])
    for _ in range(case.tasks):
        hard = stream.uniform(case.accuracy - 0.8 * room, case.accuracy + 0.8 * room, case.items)
        for side, moved in zip(sides, moves, strict=True):
            side.append(_answers(case, hard, moved, stream))
    return sides


def holds(case: Case, stream: np.random.Generator) -> list[bool]:
    """Whether the interval at each level holds the truth in one study."""
    ours, theirs = draw(case, stream)
    if case.what.startswith("difference"):
        found = estimate([a - b for a, b in zip(ours, theirs, strict=True)])
        return [abs(found.value) <= found.half(level) for level in LEVELS]
    bounds = [interval(ours, case.samples == 1, level=level) for level in LEVELS]
    return [low <= case.accuracy <= high for low, high in bounds]


def coverage(case: Case, draws: int, seed: int = 0) -> list[int]:
    """In how many of `draws` studies the interval at 90, 95 and 99 % held the truth."""
    stream = np.random.default_rng([seed, *case.what.encode(), case.seeds, case.items])
    counts = np.zeros(len(LEVELS), int)
    for _ in range(draws):
        counts += holds(case, stream)
    return [int(c) for c in counts]


def report(cases: Sequence[Case], draws: int, say: Callable[[str], None] = print) -> None:
    """The table of docs/statistics.md, a line a case as it is done."""
    say("| interval of | seeds | questions | samples | accuracy | seed sd, points | 90 % | 95 % | 99 % |")
    say("| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case in cases:
        shares = " | ".join(f"{100 * c / draws:.1f}" for c in coverage(case, draws))
        facts = f"{case.seeds} | {case.items} | {case.samples} | {case.accuracy:g} | {case.spread:g}"
        say(f"| {case.what} | {facts} | {shares} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000, help="simulated studies a line")
    report(CASES, parser.parse_args().draws)
