"""Learning curves: train/metrics.jsonl of every run that a board stands on, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import RlfrEvalError
from harness.core.files import read_log
from leaderboards.conditions import get
from leaderboards.groups import Read

POINTS = 300
METRICS = (
    "reward",
    "accuracy",
    "validation_accuracy",
    "entropy",
    "length_mean",
    "truncated",
    "kl_start",
    "loss",
    "flow/loss",
    "flow/auroc",
    "flow/score",
    "flow/kept",
    "active_groups",
    "engine_kl",
)
"""What is offered first; every other number that was logged follows."""


def trained_runs(evaluations: Sequence[Read]) -> dict[Path, Mapping[str, Any]]:
    """Run folders with a training log, each with the facts of its run."""
    found: dict[Path, Mapping[str, Any]] = {}
    for member in evaluations:
        folder = member.folder.parents[1]
        if (folder / "train" / "metrics.jsonl").is_file():
            found.setdefault(folder, member.results.get("run") or {})
    return found


def curves(evaluations: Sequence[Read]) -> dict[str, Any]:
    """`metrics` (names, known ones first) and `runs`, each with its name, seed, steps and values by metric."""
    runs = []
    for folder, facts in trained_runs(evaluations).items():
        try:
            rows = list(read_log(folder / "train" / "metrics.jsonl"))
        except RlfrEvalError:
            continue
        kept = rows[:: max(1, -(-len(rows) // POINTS))]
        _measured(kept)
        names = dict.fromkeys(k for row in kept for k, v in row.items() if k != "step" and _number(v) is not None)
        runs.append(
            {
                "name": str(facts.get("label") or facts.get("method") or folder.name),
                "config": str(facts.get("config", "")),
                "model": str(facts.get("model", "")),
                "seed": get(facts, "seed"),
                "folder": str(folder),
                "steps": [row.get("step") for row in kept],
                "values": {name: [_number(row.get(name)) for row in kept] for name in names},
            }
        )
    logged = dict.fromkeys(name for run in runs for name in run["values"])
    known = [name for name in METRICS if name in logged]
    return {"metrics": [*known, *sorted(set(logged) - set(known))], "runs": runs}


def _measured(rows: Sequence[dict[str, Any]], name: str = "validation_accuracy") -> None:
    """Held-out accuracy is logged again until it is measured again: keep where it changes, and the last."""
    before: Any = None
    for row in rows[:-1]:
        value = row.get(name)
        if value == before:
            row[name] = None
        before = value


def _number(value: Any) -> float | None:
    """A finite number, else None (a NaN has no place in JSON)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (1e999, -1e999):
        return None
    return float(f"{value:.6g}")
