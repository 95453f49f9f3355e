"""Samples become results.json: metrics, the authors' aggregates, versions of what took part."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core.files import write_json
from harness.core.records import SCHEMA, Example, Sample, Status, Verdict
from harness.core.runs import RESULTS, SAMPLES, write_manifest
from harness.evaluation import metrics
from harness.rollout.protocols import Grades
from rewards.verifier import audit, judge

LIBRARIES = ("rlfr-eval", "torch", "transformers", "vllm", "math-verify", "datasets", "qwen-vl-utils", "pillow")
BESIDE = (audit.PROTOCOL, judge.PROTOCOL)
"""Verdicts that are kept beside those of the protocols; only some samples have them, and none is ever a headline."""


def results_of(
    samples: Sequence[Sample],
    examples: Sequence[Example],
    facts: Mapping[str, Any],
    task: TaskFacts,
    verifier: Grades,
) -> dict[str, Any]:
    """The content of results.json: `facts` (task, protocol, key ...), metrics, the authors' aggregates, versions."""
    ruled = [replace(s, verdicts={p: v for p, v in s.verdicts.items() if p not in BESIDE}) for s in samples]
    found = metrics.summarise(ruled, categories=task.categories, clusters=_clusters(examples, verifier))
    found["metrics"]["audit_disagreement"] = disagreement(samples)
    own = dict(task.aggregate(samples)) if task.aggregate else {}
    return {"schema": SCHEMA, **facts, **found, **({"aggregate": own} if own else {}), "versions": versions()}


def disagreement(samples: Sequence[Sample]) -> dict[str, Any]:
    """How often the second opinion parts from the strict verdict, among the audited samples that have one."""
    found = audit.tally((s.id, {p: _again(p, v) for p, v in s.verdicts.items()}) for s in samples)
    low, high = metrics.wilson(len(found.disagreements), found.opinions)
    items = list(dict.fromkeys(found.disagreements))
    return {**found.metrics(), "ci95": [low, high], "share": audit.SHARE, "items": items[:50]}


def _again(protocol: str, row: Mapping[str, Any]) -> Verdict:
    return Verdict(status=Status(row["status"]), protocol=protocol, reason=row["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What results need of a task: `categories` to break down by, `aggregate` the authors' own scores, if any."""

    categories: Sequence[str] = ()
    aggregate: Callable[[Sequence[Sample]], Mapping[str, float]] | None = None


def _clusters(examples: Sequence[Example], verifier: Grades) -> Callable[[str], metrics.Clusters]:
    """Equal answers by the verifier; it is asked only where answers differ in their text."""
    answers = {e.id: e.answer for e in examples}

    def of_item(item: str) -> metrics.Clusters:
        def equal(extracted: Sequence[str | None]) -> list[int]:
            plain = metrics.equal_text(extracted)
            if max(plain, default=-1) <= 0:
                return plain
            found = verifier.clusters(extracted, answers[item].type, answers[item].choices)
            return [-1 if text is None else number for text, number in zip(extracted, found, strict=True)]

        return equal

    return of_item


def finish(folder: Path, results: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write results.json, then the manifest that marks the folder as finished."""
    write_json(folder / RESULTS, results)
    write_manifest(folder, facts, (SAMPLES, RESULTS))


def versions() -> dict[str, str]:
    """Versions of what took part, by the installed metadata (nothing is imported)."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
