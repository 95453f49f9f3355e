"""Pinned numbers: what a method makes of the recorded rollouts, against stored references. Method in, outcomes out.

Two failures are told apart: a number outside its tolerance, and a drift, where every number is inside but nearly all have
moved to the same side by more than rounding does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import DataError, attempt
from leaderboards.regress.bench import REFERENCES, Bench
from leaderboards.regress.conformance import Outcome, Subject, advantages, cases, numbers

TOLERANCE = 2e-3
"""Largest relative difference of a number from its reference: far above float32 rounding over a small policy."""
ROUNDING = 2e-5
"""Relative differences up to here are rounding and show no drift."""
DRIFT_P = 0.01
"""Two-sided binomial p below which the sides that the numbers moved to are no chance."""
STORED = REFERENCES / "methods.json"

Values = Mapping[str, float]


def measure(bench: Bench, subject: Subject) -> dict[str, float]:
    """Named numbers: losses, gradient norms and advantages on parts of the recorded batch, then metrics of `learn`."""
    found: dict[str, float] = {}
    made = subject.make()
    swept = bench.sweep(made, bench.batch)
    for number, part in enumerate(cases(swept).values()):
        value = numbers(made, part)
        found |= {
            f"{number}/loss": float(value.loss),
            f"{number}/gradient": float(value.gradient.norm()),
            f"{number}/advantage": float(value.advantage.norm()),
            f"{number}/advantage_mean": float(value.advantage.sum() / part.mask.sum().clamp(min=1)),
        }
        with torch.no_grad():
            found[f"{number}/reward"] = float(made.reward(part).mean())
    for way, gradient in bench.ways(subject.make(), bench.batch).items():
        found[f"policy gradient/{way}"] = float(gradient.norm())
    fresh = subject.make()
    swept = bench.sweep(fresh, bench.batch)
    advantages(fresh, swept)
    learned = fresh.learn(swept, bench.home.context)
    return found | {f"learn/{k}": float(v) for k, v in learned.items() if isinstance(v, int | float)}


def references(file: Path, key: str) -> dict[str, float] | None:
    """Stored numbers of a method; None where there are none."""
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON", "make it again by regress --update") from error
    return stored.get("methods", {}).get(key)


def store(file: Path, key: str, values: Values) -> None:
    """Put a method's numbers beside those of the others."""
    stored: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {"schema": 1, "methods": {}}
    stored["methods"][key] = {k: float(f"{v:.7g}") for k, v in values.items()}
    stored["methods"] = dict(sorted(stored["methods"].items()))
    file.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def compared(values: Values, reference: Values, tolerance: float = TOLERANCE) -> list[Outcome]:
    """Tolerance, then drift."""
    missing = sorted(set(values) ^ set(reference))
    if missing:
        detail = f"'{missing[0]}' is on one side only: run --update if the method changed on purpose"
        return [Outcome("pinned", "numbers within tolerance", "fails", detail)]
    moved = {k: _relative(values[k], reference[k]) for k in reference}
    wrong = [k for k, d in moved.items() if not abs(d) <= tolerance]
    first = max(wrong, key=lambda k: abs(moved[k]) if math.isfinite(moved[k]) else math.inf, default=None)
    detail = f"{len(reference)} numbers"
    if first is not None:
        detail = (
            f"{len(wrong)} of {len(reference)} numbers; '{first}' is {values[first]:.7g}, "
            f"reference {reference[first]:.7g} (tolerance {tolerance:g})"
        )
    found = [Outcome("pinned", "numbers within tolerance", "fails" if wrong else "holds", detail)]
    return [*found, _drift(values, reference)]


def _relative(value: float, reference: float) -> float:
    """Difference over the reference's size; sizes below 1e-3 count as 1e-3."""
    return (value - reference) / max(abs(reference), 1e-3)


def _drift(values: Values, reference: Values) -> Outcome:
    """A sign test on the sizes of the numbers that moved by more than rounding."""
    sizes = [_relative(abs(values[k]), abs(reference[k])) for k in reference]
    moved = [d for d in sizes if abs(d) > ROUNDING]
    up = sum(d > 0 for d in moved)
    n, tail = len(moved), min(up, len(moved) - up)
    p = min(1.0, 2 * sum(math.comb(n, k) for k in range(tail + 1)) / 2**n) if n else 1.0
    side = "above" if 2 * up > n else "below"
    detail = f"{max(up, n - up)} of {n} moved numbers lie {side} their references (p = {p:.2g})" if n else "none moved"
    return Outcome("pinned", "no one-sided drift", "fails" if p < DRIFT_P else "holds", detail)


def check(bench: Bench, subject: Subject, key: str, file: Path, update: bool) -> list[Outcome]:
    """Outcomes of the pinned numbers; with `update` the references are written instead."""
    values, error = attempt(measure, bench, subject)
    if error is not None:
        detail = f"raised {type(error).__name__}: {error}".splitlines()[0]
        return [Outcome("pinned", "numbers within tolerance", "fails", detail)]
    if update:
        broken = [k for k, v in values.items() if not math.isfinite(v)]
        if broken:
            return [Outcome("pinned", "references written", "fails", f"'{broken[0]}' is {values[broken[0]]}")]
        store(file, key, values)
        return [Outcome("pinned", "references written", "holds", f"{len(values)} numbers in {file}")]
    reference = references(file, key)
    if reference is None:
        detail = f"no references of '{key}' in {file.name}: --update writes them"
        return [Outcome("pinned", "numbers within tolerance", "skipped", detail)]
    return compared(values, reference)
