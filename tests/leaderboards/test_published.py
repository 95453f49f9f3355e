"""Numbers of others: every row names a task and a source, and nothing is listed twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import leaderboards
from rewards.method import method
from tasks.resolve import resolve

FILE = Path(leaderboards.__file__).parent / "published.yaml"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    content = yaml.safe_load(FILE.read_text("utf-8"))
    assert content["schema"] == 1
    return list(content["rows"])


def test_rows_are_complete(rows: list[dict[str, object]]) -> None:
    assert all(resolve(name).name == name for name in {str(row["task"]) for row in rows})
    methods = set(method.keys())
    for row in rows:
        assert set(row) <= {"task", "model", "method", "metric", "score", "protocol", "source"}, row
        assert isinstance(row["score"], float | int) and 0 < float(row["score"]) <= 100
        assert all(isinstance(row[k], str) and row[k] for k in ("model", "protocol", "source")), row
        assert "method" not in row or row["method"] in methods


def test_nothing_is_listed_twice(rows: list[dict[str, object]]) -> None:
    keys = [tuple(str(row.get(k)) for k in ("task", "model", "method", "metric", "protocol", "source")) for row in rows]
    assert len(keys) == len(set(keys))


def test_the_papers_figure_is_there(rows: list[dict[str, object]]) -> None:
    ours = {(r["task"], r["method"]): r["score"] for r in rows if "figure 1" in str(r["source"])}
    assert len(ours) == 24
    assert [ours[(t, "rlfr")] for t in ("mathvista-testmini", "mathvision-testmini", "mathverse-testmini")] == [
        73.4,
        31.6,
        52.0,
    ]
    assert [ours[(t, "rlfr")] for t in ("olympiadbench-test", "amc23-2022-2023", "math500-test")] == [41.7, 59.0, 80.6]


def test_shares_of_the_recorded_runs(rows: list[dict[str, object]]) -> None:
    """Scores of published outputs are whole counts of their items."""
    for name, n in (("mathvision-test", 3040), ("mathvista-testmini", 1000), ("logicvista-test", 448)):
        recorded = [float(str(r["score"])) for r in rows if r["task"] == name and "(recorded)" in str(r["model"])]
        assert recorded and all(abs(round(s * n / 100) * 100 / n - s) < 0.051 for s in recorded)
