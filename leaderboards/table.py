"""Finished evaluations in, tables out: which rows may stand in one table, means over seeds, intervals, differences, ranks.

One table holds what answered the same questions in the same way: task, version, items, protocol, verifier and decoding are
equal. Inside it a block holds one start policy under one recipe, because only there a difference is one between methods.
A row without its n, its interval or its ungraded count is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.core.config import digest
from harness.core.errors import RunError
from harness.core.runs import Finished
from leaderboards.stats import Difference, Matrix, compare, holm, interval

ALPHA = 0.05
_NEEDED = ("metrics.accuracy.value", "metrics.accuracy.ci95", "metrics.accuracy.n", "metrics.ungraded.count")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The evaluations of one row: one per seed, the same in all else."""

    name: str
    model: str
    setting: str
    trained: bool
    paper: bool
    outside: bool
    members: tuple[Finished, ...]

    @cached_property
    def scores(self) -> tuple[Matrix, tuple[str, ...]]:
        """[S, n] mean score of each seed on each item, and the item ids in sorted order."""
        rows, ids = [], None
        for member in self.members:
            right: dict[str, list[bool]] = defaultdict(list)
            for sample in member.samples():
                right[str(sample["id"])].append(sample["verdict"] == "correct")
            found = tuple(sorted(right))
            if ids is not None and found != ids:
                raise RunError(f"{member.folder} does not hold the items of its siblings", "evaluate it again")
            ids = found
            rows.append([sum(right[i]) / len(right[i]) for i in found])
        return np.array(rows), ids or ()

    @property
    def single(self) -> bool:
        return all(m.results["samples"] == m.results["n"] for m in self.members)

    def mean(self, *path: str) -> float | None:
        """Mean over seeds of a number in results.json; None where a seed has none."""
        values = [_get(m.results, path) for m in self.members]
        return None if any(v is None for v in values) else float(sum(values) / len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table. Accuracies and shares are in [0, 1]; costs are means over seeds, None where not known.

    `rank`: 1 + the number of rows of the block that are significantly better (None: not ranked); `tied`: others share it.
    `mark`: told apart from a row of the same name (another engine, prompt or option). `notes`: sentences to print below.
    """

    name: str
    mark: str
    block: str
    model: str
    seeds: tuple[int, ...]
    accuracy: float
    low: float
    high: float
    n: int
    samples_per_item: int
    ungraded: float
    truncated: float
    no_answer: float
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
    extra: Mapping[str, float]
    categories: Mapping[str, Mapping[str, tuple[float, int]]]
    difference: Difference | None = None
    against: str = ""
    rank: int | None = None
    tied: bool = False
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One task under one protocol and decoding; `rows` block by block, best first."""

    task: str
    protocol: str
    n: int
    about: str
    rows: tuple[Row, ...]


def build(evaluations: Sequence[Finished], baseline: str = "base") -> tuple[list[Table], list[str]]:
    """Tables in order of their task, and why evaluations were refused (one sentence each)."""
    kept, refused = [], []
    for evaluation in evaluations:
        lacks = [name for name in _NEEDED if _get(evaluation.results, name.split(".")) is None]
        if lacks:
            refused.append(f"{evaluation.folder} is refused: its results lack {', '.join(lacks)}")
        else:
            kept.append(evaluation)
    tables: dict[tuple[Any, ...], list[Finished]] = defaultdict(list)
    for evaluation in kept:
        tables[_table_key(evaluation.results)].append(evaluation)
    return [_table(members, baseline) for _, members in sorted(tables.items(), key=lambda t: t[0])], refused


def _get(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return None
        values = values[part]
    return values


def _decoding(results: Mapping[str, Any]) -> dict[str, Any]:
    sampling = dict(_get(results, ("generation", "sampling")) or {})
    sampling.pop("seed", None)
    return sampling


def _table_key(results: Mapping[str, Any]) -> tuple[str, str, str]:
    content = _get(results, ("generation", "content"))
    same = [results.get("task_version"), results.get("verifier"), content, _decoding(results)]
    return str(results["task"]), str(results["protocol"]), digest(*same)


def _table(members: Sequence[Finished], baseline: str) -> Table:
    results = members[0].results
    groups = _groups(members)
    rows: list[Row] = []
    for title, block in _blocks(groups):
        rows += _block_rows(title, block, groups, baseline)
    return Table(
        task=str(results["task"]),
        protocol=str(results["protocol"]),
        n=int(results["n"]),
        about=_about(results),
        rows=tuple(rows),
    )


def _about(results: Mapping[str, Any]) -> str:
    sampling = _decoding(results)
    parts = [f"v{results.get('task_version')}", str(results["protocol"]), f"n = {results['n']:,}"]
    if sampling:
        greedy = not sampling.get("temperature")
        heat = "greedy" if greedy else f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}"
        parts += [heat, f"{sampling['n']} sample{'s' * (sampling['n'] > 1)} per item"]
        parts.append(f"at most {sampling['max_new_tokens']:,} tokens")
    return ", ".join(parts)


def _groups(members: Sequence[Finished]) -> list[Group]:
    """Evaluations by row; of two with the same seed the later one counts."""
    found: dict[tuple[Any, ...], dict[int, Finished]] = defaultdict(dict)
    for member in sorted(members, key=lambda m: (m.folder / "manifest.json").stat().st_mtime):
        run = member.results.get("run") or {}
        generation = {
            k: v for k, v in (member.results.get("generation") or {}).items() if k not in ("policy", "sampling")
        }
        name = run.get("label") or run.get("method") or member.folder.name
        key = (name, run.get("model", ""), run.get("config", ""), bool(run.get("paper")), digest(generation))
        found[key][int(run.get("seed", 0))] = member
    groups = []
    for (name, model, _, paper, _), by_seed in found.items():
        run = next(iter(by_seed.values())).results.get("run") or {}
        groups.append(
            Group(
                name=name,
                model=model,
                setting=run.get("setting", ""),
                trained=bool(run.get("train_task")),
                paper=paper,
                outside=bool(run.get("label")) or not run,
                members=tuple(by_seed[s] for s in sorted(by_seed)),
            )
        )
    return groups


def _blocks(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    """Trained rows by model and recipe, those of papers' recipes by model, each with the model's untrained rows; outside
    rows last."""
    blocks: dict[tuple[str, bool, str], list[Group]] = defaultdict(list)
    for group in groups:
        if group.trained and not group.outside:
            blocks[group.model, group.paper, "" if group.paper else group.setting].append(group)
    for group in groups:
        if not group.trained and not group.outside:
            for key in [k for k in blocks if k[0] == group.model] or [(group.model, False, "")]:
                blocks[key].append(group)
    named = []
    for key, block in sorted(blocks.items(), key=lambda b: b[0]):
        several = sum(k[:2] == key[:2] for k in blocks) > 1
        named.append((_title(key, block, several), block))
    if outside := [g for g in groups if g.outside]:
        named.append(("not trained here", outside))
    return named


def _title(key: tuple[str, bool, str], block: Sequence[Group], several: bool) -> str:
    recipes = sorted({_run(g).get("recipe", "") for g in block if g.trained} or {_run(block[0]).get("recipe", "")})
    paper = " with the values of each method's paper" if key[1] else ""
    return f"{key[0]}, recipe {'/'.join(recipes)}{paper}{f' ({key[2][:8]})' if several else ''}"


def _run(group: Group) -> Mapping[str, Any]:
    return group.members[0].results.get("run") or {}


def _block_rows(title: str, block: Sequence[Group], groups: Sequence[Group], baseline: str) -> list[Row]:
    """Rows of a block, best first, with differences to the baseline and ranks; unranked rows after the others."""
    base = next((g for g in block if g.name == baseline), None)
    if base is None:
        everywhere = [g for g in groups if g.name == baseline]
        base = everywhere[0] if len(everywhere) == 1 else None
    rows = [_row(title, g, _mark(g, block)) for g in block]
    others = [i for i, g in enumerate(block) if base is not None and g is not base]
    if base is not None:
        found = [_compare(block[i], base) for i in others]
        for i, difference, adjusted in zip(others, found, holm([d.p for d in found]), strict=True):
            rows[i] = replace(rows[i], difference=replace(difference, adjusted=adjusted), against=base.name)
    rows = _ranked(rows, block)
    return sorted(rows, key=lambda r: (r.rank is None, -r.accuracy, r.name, r.mark))


def _compare(ours: Group, theirs: Group) -> Difference:
    (a, ids), (b, other) = ours.scores, theirs.scores
    if ids != other:
        raise RunError(f"{ours.name} and {theirs.name} hold different items", "evaluate one of them again")
    return compare(a, b, ours.single and theirs.single)


def _ranked(rows: Sequence[Row], block: Sequence[Group]) -> list[Row]:
    """Ranks among rows with a headline and without --paper, by all pairwise tests, corrected together."""
    able = [i for i, r in enumerate(rows) if r.headline and not r.paper]
    if len(able) < 2:
        return list(rows)
    pairs = [(i, j) for place, i in enumerate(able) for j in able[place + 1 :]]
    tests = [_compare(block[i], block[j]) for i, j in pairs]
    beaten = dict.fromkeys(able, 0)
    for (i, j), test, p in zip(pairs, tests, holm([t.p for t in tests]), strict=True):
        if p < ALPHA:
            beaten[j if test.value > 0 else i] += 1
    found = list(rows)
    for i in able:
        tied = sum(b == beaten[i] for b in beaten.values()) > 1
        found[i] = replace(found[i], rank=1 + beaten[i], tied=tied)
    return found


def _mark(group: Group, block: Sequence[Group]) -> str:
    """A short hash where two rows of the block have one name."""
    if sum(g.name == group.name for g in block) < 2:
        return ""
    generation = group.members[0].results.get("generation") or {}
    return digest(_run(group).get("config", ""), generation.get("prompt"), generation.get("engine"))[:4]


def _row(title: str, group: Group, mark: str) -> Row:
    results = group.members[0].results
    accuracy = results["metrics"]["accuracy"]
    several = len(group.members) > 1
    low, high = interval(group.scores[0], group.single) if several else accuracy["ci95"]
    trained = group.trained
    return Row(
        name=group.name,
        mark=mark,
        block=title,
        model=group.model,
        seeds=tuple(int(_get(m.results, ("run", "seed")) or 0) for m in group.members),
        accuracy=group.mean("metrics", "accuracy", "value") or 0.0,
        low=low,
        high=high,
        n=accuracy["n"],
        samples_per_item=max(1, round(results["samples"] / results["n"])),
        ungraded=group.mean("metrics", "ungraded", "share") or 0.0,
        truncated=group.mean("metrics", "truncated", "share") or 0.0,
        no_answer=group.mean("metrics", "no_answer", "share") or 0.0,
        headline=all(m.results["headline"] for m in group.members),
        paper=group.paper,
        trained=trained,
        outside=group.outside,
        steps=group.mean("run", "train_steps") if trained else None,
        train_tokens=group.mean("run", "train_tokens") if trained else None,
        train_seconds=group.mean("run", "train_seconds") if trained else None,
        eval_tokens=group.mean("cost", "sampled_tokens"),
        eval_seconds=group.mean("cost", "seconds"),
        peak_bytes=group.mean("run", "peak_bytes") if trained else None,
        extra=_extra(group),
        categories=_categories(group),
        notes=_notes(group),
        sources=tuple(str(m.folder) for m in group.members),
        facts=_facts(results),
    )


def _extra(group: Group) -> dict[str, float]:
    """pass@k, maj@k, the other protocol and the score without noted items, where every seed has them."""
    metrics = group.members[0].results["metrics"]
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
    for category, values in group.members[0].results.get("by_category", {}).items():
        found[category] = {}
        for value, score in values.items():
            mean = group.mean("by_category", category, value, "value")
            if mean is not None:
                found[category][value] = (mean, score["n"])
    return found


def _notes(group: Group) -> tuple[str, ...]:
    notes = []
    for member in group.members:
        seed = f" (seed {_get(member.results, ('run', 'seed'))})" if len(group.members) > 1 else ""
        notes += [f"{group.name}{seed}: {w}" for w in member.results.get("warnings", ())]
        shared = _get(member.results, ("run", "overlap", "overlapping"))
        if shared:
            notes.append(f"{group.name}{seed}: {shared} evaluated items share wording with training items")
    return tuple(dict.fromkeys(notes))


def _facts(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the row stands on: digests, engine, versions."""
    generation = results.get("generation") or {}
    return {
        "policy": generation.get("policy") or None,
        "prompt": generation.get("prompt"),
        "engine": generation.get("engine"),
        "pixel_budget": results.get("pixel_budget"),
        "task_version": results.get("task_version"),
        "revision": results.get("revision"),
        "versions": results.get("versions"),
        "recipe": _get(results, ("run", "recipe")),
    }
