"""The average over benchmarks: equal weights, seeds that are common to all, and what a conclusion depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.runs import evaluations
from leaderboards.averages import Average
from leaderboards.formats import cells
from leaderboards.table import build
from tests.leaderboards.synthetic import draw, evaluation, facts


def built(out: Path) -> Average:
    (average,) = build(evaluations(out)).averages
    return average


def test_every_benchmark_weighs_the_same_whatever_its_size(tmp_path: Path) -> None:
    for task, n, base, ours in (("toy-a", 40, 0.2, 0.6), ("toy-b", 400, 0.5, 0.6)):
        evaluation(tmp_path, facts("base"), draw(n, base, 0), task=task)
        for seed in (0, 1, 2):
            evaluation(tmp_path, facts("grpo", seed), draw(n, ours, 10 + seed), task=task)
    found = built(tmp_path)
    row = next(r for r in found.rows if r.name == "grpo")
    assert found.columns == ("toy-a", "toy-b") and row.seeds == (0, 1, 2)
    assert row.average == pytest.approx(np.mean([c.accuracy for c in row.cells.values()]))
    assert row.low is not None and row.high is not None and row.low < row.average < row.high
    base = next(r for r in found.rows if r.name == "base")
    assert row.difference is not None and row.against == "base" and base.average is not None
    assert row.difference.value == pytest.approx(row.average - base.average)
    assert row.difference.seeds == 3, "the greedy base stands for every seed"
    assert (row.letters, base.letters) == ("a", "b") and found.rows[0] is row


def test_only_seeds_that_ran_everywhere_count(tmp_path: Path) -> None:
    for task, seeds in (("toy-a", (0, 1)), ("toy-b", (1, 2)), ("toy-c", (1,))):
        for seed in seeds:
            evaluation(tmp_path, facts("grpo", seed), draw(50, 0.5, seed), task=task)
    evaluation(tmp_path, facts("rlfr", 0), draw(50, 0.5, 5), task="toy-a")
    found = {r.name: r for r in built(tmp_path).rows}
    assert found["grpo"].seeds == (1,)
    assert found["rlfr"].average is None and found["rlfr"].missing == ("toy-b", "toy-c")


def test_it_is_said_when_a_conclusion_hangs_on_one_benchmark(tmp_path: Path) -> None:
    for task, n, ours in (("toy-a", 60, 1.0), ("toy-b", 400, 0.5), ("toy-c", 400, 0.5)):
        evaluation(tmp_path, facts("base"), draw(n, 0.5, 0), task=task)
        evaluation(tmp_path, facts("grpo"), draw(n, ours, 0), task=task)
    average = built(tmp_path)
    row = next(r for r in average.rows if r.name == "grpo")
    assert row.depends[0] == "without toy-a: cannot be told"
    assert any("depends on what is averaged (without toy-a" in note for note in cells.average_notes(average))


def test_one_benchmark_twice_is_no_average(tmp_path: Path) -> None:
    for samples in (1, 4):
        evaluation(tmp_path, facts("base"), draw(40, 0.4, 0, samples), task="toy-a")
    assert build(evaluations(tmp_path)).averages == ()
