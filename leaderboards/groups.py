"""Finished evaluations in, rows to be out: the evaluations of one row are those that differ in the seed alone.

What cannot be read is refused by name, and everything else goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.core.config import digest
from harness.core.errors import RlfrEvalError, RunError
from harness.core.runs import CONFIG, MANIFEST, Finished, evaluation_folders, read_evaluation, settings_of
from leaderboards.conditions import conditions, decoding, flat, get
from leaderboards.scores import ItemScores, read_scores
from leaderboards.stats.differences import Scores

_NEEDED = ("metrics.accuracy.value", "metrics.accuracy.ci95", "metrics.accuracy.n", "metrics.ungraded.count")
_OUTSIDE_SETTING = (
    "method",
    "seed",
    "key",
    "method_options",
    "methods",
    "evaluation",
    "name",
    "source",
    "engine",
    "prompt",
)


@dataclass(frozen=True, slots=True)
class Read:
    """One evaluation with its scores."""

    finished: Finished
    scores: ItemScores

    @property
    def results(self) -> Mapping[str, Any]:
        return self.finished.results

    @property
    def folder(self) -> Path:
        return self.finished.folder


@dataclass(frozen=True, kw_only=True)
class Group:
    """The evaluations of one row: one per seed, the same in all else. `replaced`: older ones of the same seed."""

    name: str
    model: str
    setting: str
    trained: bool
    paper: bool
    outside: bool
    members: tuple[Read, ...]
    replaced: int = 0

    @property
    def results(self) -> Mapping[str, Any]:
        return self.members[0].results

    @property
    def run(self) -> Mapping[str, Any]:
        return self.results.get("run") or {}

    @property
    def ids(self) -> tuple[str, ...]:
        return self.members[0].scores.ids

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(int(get(m.results, "run", "seed") or 0) for m in self.members)

    @property
    def headline(self) -> bool:
        return all(m.results["headline"] for m in self.members)

    @cached_property
    def conditions(self) -> dict[str, str]:
        return conditions(self.results)

    @cached_property
    def scores(self) -> Scores:
        """Under the protocol of the table."""
        return self.under(str(self.results["protocol"])) or _no_protocol(self)

    def under(self, protocol: str) -> Scores | None:
        """[S, n] scores under a protocol; None where a sample was not graded by it."""
        rows = [m.scores.by_protocol.get(protocol) for m in self.members]
        if any(row is None for row in rows):
            return None
        greedy = not decoding(self.results).get("temperature") and "sampling" in (self.results.get("generation") or {})
        return Scores(
            matrix=np.array(rows),
            seeds=self.seeds,
            single=all(m.scores.single for m in self.members),
            fixed=not self.trained and len(rows) == 1 and greedy,
        )

    def mean(self, *path: str) -> float | None:
        """Mean over seeds of a number in results.json; None where a seed has none."""
        values = [get(m.results, *path) for m in self.members]
        return None if any(v is None for v in values) else float(sum(values) / len(values))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The shared settings of the evaluation's config.yaml by dotted key; empty where there is none."""
        file = settings_of(self.members[0].folder) / CONFIG
        try:
            values = yaml.safe_load(file.read_text("utf-8"))
        except (OSError, yaml.YAMLError):
            return {}
        shared = {k: v for k, v in values.items() if k not in _OUTSIDE_SETTING} if isinstance(values, dict) else {}
        return flat(shared)


def _no_protocol(group: Group) -> Scores:
    raise RunError(f"{group.members[0].folder} lacks verdicts of its own protocol", "evaluate it again")


def find(out: Path) -> tuple[list[Finished], list[str]]:
    """Finished evaluations below a folder, and why others were refused, a sentence each."""
    found, refused = [], []
    for folder in evaluation_folders(out):
        try:
            found.append(read_evaluation(folder))
        except RlfrEvalError as error:
            refused.append(f"{folder} is left out: {error}")
    return found, refused


def read(evaluations: Sequence[Finished]) -> tuple[list[Read], list[str]]:
    """The evaluations with their scores, and why others were refused, a sentence each."""
    kept, refused = [], []
    for evaluation in evaluations:
        lacks = [name for name in _NEEDED if get(evaluation.results, *name.split(".")) is None]
        if lacks:
            refused.append(f"{evaluation.folder} is left out: its results lack {', '.join(lacks)}")
            continue
        try:
            kept.append(Read(evaluation, read_scores(evaluation)))
        except RlfrEvalError as error:
            refused.append(f"{evaluation.folder} is left out: {error}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            refused.append(f"{evaluation.folder} is left out: a line of its samples is malformed ({error})")
    return kept, refused


def groups(members: Sequence[Read]) -> tuple[list[Group], list[str]]:
    """Rows, and why evaluations that do not fit their siblings were refused."""
    found: dict[tuple[Any, ...], dict[int, list[Read]]] = defaultdict(lambda: defaultdict(list))
    for member in sorted(members, key=lambda m: (m.folder / MANIFEST).stat().st_mtime):
        found[_key(member)][int(get(member.results, "run", "seed") or 0)].append(member)
    made, refused = [], []
    for (name, model, _, paper, _), by_seed in found.items():
        latest = [by_seed[s][-1] for s in sorted(by_seed)]
        fitting = [m for m in latest if m.scores.ids == latest[0].scores.ids]
        refused += [
            f"{m.folder} is left out: it does not hold the items of {latest[0].folder}"
            for m in latest
            if m not in fitting
        ]
        run = latest[0].results.get("run") or {}
        made.append(
            Group(
                name=name,
                model=model,
                setting=run.get("setting", ""),
                trained=bool(run.get("train_task")),
                paper=paper,
                outside=bool(run.get("label")) or not run,
                members=tuple(fitting),
                replaced=sum(len(rows) - 1 for rows in by_seed.values()),
            )
        )
    return made, refused


def _key(member: Read) -> tuple[Any, ...]:
    """Name, model, configuration, --paper, and how the responses were made (but for seed and weights)."""
    run = member.results.get("run") or {}
    name = run.get("label") or run.get("method") or member.folder.name
    return (name, run.get("model", ""), run.get("config", ""), bool(run.get("paper")), making(member.results))


def making(results: Mapping[str, Any]) -> str:
    """Digest of how responses were made, without seed, weights and releases of code: of two evaluations of one run that
    differ in these alone, the later one counts."""
    recorded = {k: v for k, v in (results.get("generation") or {}).items() if k.startswith("response")}
    return digest(conditions(results), recorded, get(results, "generation", "extracted_field"))


def mark(group: Group, siblings: Sequence[Group]) -> str:
    """What tells a row from others of the same name in its block: a short hash, or its folder's name for scored ones."""
    same = [g for g in siblings if g.name == group.name]
    if len(same) < 2:
        return ""
    if group.outside and not group.run.get("policy"):
        folders = [g.members[0].folder for g in same]
        depth = 1
        while len({f.parts[-depth:] for f in folders}) < len(folders) and depth < 8:
            depth += 1
        return "/".join(group.members[0].folder.parts[-depth:])
    hashes = {id(g): digest(g.run.get("config", ""), making(g.results), g.model, g.paper, length=32) for g in same}
    for length in (4, 6, 8, 32):
        if len({h[:length] for h in hashes.values()}) == len(same):
            break
    return hashes[id(group)][:length]
