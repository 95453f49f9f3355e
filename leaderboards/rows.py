"""What a row of a table says besides its rank: means over seeds, interval, costs, notes, and what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leaderboards.conditions import get, mixed, versions
from leaderboards.groups import Group
from leaderboards.stats.components import components
from leaderboards.stats.differences import Difference
from leaderboards.stats.intervals import interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table. Accuracies and shares are in [0, 1]; costs are means over seeds, None where not known.

    `mark`: told apart from a row of the same name. `letters`: rows that share one cannot be told apart (None: not ranked).
    `no_mark`: without a marked answer, by the strict rule; `no_answer`: without any, by the table's. `seed_sd`: standard
    deviation between seeds (None with one). `notes`: sentences to print below. `key`: its block's.
    """

    name: str
    mark: str
    block: str
    key: str
    model: str
    seeds: tuple[int, ...]
    seed_sd: float | None
    fixed: bool
    accuracy: float
    low: float
    high: float
    n: int
    samples_per_item: int
    ungraded: float
    truncated: float
    no_answer: float
    no_mark: float
    headline: bool
    paper: bool
    trained: bool
    outside: bool
    steps: float | None
    train_tokens: float | None
    train_seconds: float | None
    eval_tokens: float | None
    eval_seconds: float | None
    peak_bytes: float | None
    length: float | None
    extra: Mapping[str, float]
    categories: Mapping[str, Mapping[str, tuple[float, int]]]
    difference: Difference | None = None
    against: str = ""
    letters: str | None = None
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    facts: Mapping[str, Any]

    @property
    def one_seed(self) -> bool:
        """Whether other seeds would give another number and none was run."""
        return len(self.seeds) == 1 and self.trained


def row(title: str, key: str, group: Group, mark: str) -> Row:
    """The row of a group, without its comparisons."""
    results = group.results
    scores = group.scores
    low, high = interval([scores.matrix], scores.single)
    trained = group.trained
    spread = components(scores.matrix).seed if len(group.members) > 1 and scores.matrix.shape[1] > 1 else None
    return Row(
        name=group.name,
        mark=mark,
        block=title,
        key=key,
        model=group.model,
        seeds=group.seeds,
        seed_sd=None if spread is None else spread**0.5,
        fixed=scores.fixed,
        accuracy=float(scores.matrix.mean()),
        low=low,
        high=high,
        n=scores.matrix.shape[1],
        samples_per_item=max(1, round(results["samples"] / results["n"])),
        ungraded=group.mean("metrics", "ungraded", "share") or 0.0,
        truncated=group.mean("metrics", "truncated", "share") or 0.0,
        no_answer=group.mean("metrics", "no_answer", "share") or 0.0,
        no_mark=sum(m.scores.unmarked for m in group.members) / len(group.members),
        headline=group.headline,
        paper=group.paper,
        trained=trained,
        outside=group.outside,
        steps=group.mean("run", "train_steps") if trained else None,
        train_tokens=group.mean("run", "train_tokens") if trained else None,
        train_seconds=group.mean("run", "train_seconds") if trained else None,
        eval_tokens=group.mean("cost", "sampled_tokens"),
        eval_seconds=group.mean("cost", "seconds"),
        peak_bytes=group.mean("run", "peak_bytes") if trained else None,
        length=group.mean("metrics", "length", "tokens_mean"),
        extra=_extra(group),
        categories=_categories(group),
        notes=_notes(group),
        sources=tuple(str(m.folder) for m in group.members),
        facts=_facts(results),
    )


def _extra(group: Group) -> dict[str, float]:
    """pass@k, maj@k, the other protocol and the score without noted items, where every seed has them."""
    metrics = group.results["metrics"]
    paths: list[tuple[str, tuple[str, ...]]] = []
    for kind in ("pass@k", "maj@k"):
        paths += [(kind[:-1] + k, (kind, k)) for k in metrics.get(kind, {})]
    paths += [(p, ("protocols", p, "value")) for p in metrics.get("protocols", {})]
    if "accuracy_without_noted" in metrics:
        paths.append(("without noted items", ("accuracy_without_noted", "value")))
    found = {name: group.mean("metrics", *path) for name, path in paths}
    return {name: value for name, value in found.items() if value is not None}


def _categories(group: Group) -> dict[str, dict[str, tuple[float, int]]]:
    """category -> value -> (accuracy, n), means over seeds."""
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for category, values in group.results.get("by_category", {}).items():
        found[category] = {}
        for value, score in values.items():
            mean = group.mean("by_category", category, value, "value")
            if mean is not None:
                found[category][value] = (mean, score["n"])
    return found


def _notes(group: Group) -> tuple[str, ...]:
    notes = []
    for member in group.members:
        seed = f" (seed {get(member.results, 'run', 'seed')})" if len(group.members) > 1 else ""
        notes += [f"{group.name}{seed}: {w}" for w in member.results.get("warnings", ())]
        shared = get(member.results, "run", "overlap", "overlapping")
        if shared:
            notes.append(f"{group.name}{seed}: {shared} evaluated items share wording with training items")
    if group.replaced:
        notes.append(f"{group.name}: of {group.replaced + 1} evaluations of a seed the latest counts")
    differ = mixed([versions(m.results) for m in group.members])
    if differ:
        notes.append(f"{group.name}: its seeds were evaluated under different {'; '.join(differ)}")
    return tuple(dict.fromkeys(notes))


def _facts(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the row stands on: digests, engine, versions."""
    generation = results.get("generation") or {}
    return {
        "policy": generation.get("policy") or None,
        "prompt": generation.get("prompt"),
        "prompt_example": results.get("prompt_example"),
        "engine": generation.get("engine"),
        "responses": generation.get("responses"),
        "pixel_budget": results.get("pixel_budget"),
        "task_version": results.get("task_version"),
        "revision": results.get("revision"),
        "versions": results.get("versions"),
        "recipe": get(results, "run", "recipe"),
        "train_task": get(results, "run", "train_task"),
    }
