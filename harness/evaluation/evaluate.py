"""A policy on a task: examples in, samples.jsonl and results.json out. The one path of validation and final evaluation.

Work is planned in batches from the full list; what the log already holds is not generated again, so a killed evaluation
goes on where it was. Grading overlaps generation: a rollout is submitted as it finishes and logged as it is graded. Both
protocols are stored; the chosen one makes the headline. The folder's name carries a hash of everything that makes the
numbers, so two results are in one folder only if they are the same experiment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.config import Evaluation, digest
from harness.core.errors import DataError, EngineError
from harness.core.identity import of_generation, of_grading
from harness.core.locks import Lock
from harness.core.records import Example, Finish, Prompt, Rollout, Sample, Sampling, Verdict
from harness.core.runs import MANIFEST, SAMPLES, RunFacts, finished, read_evaluation, slug
from harness.engines.base import Engine, Request
from harness.evaluation.samples import (
    SampleLog,
    TaskFacts,
    bar,
    finish,
    gold_text,
    not_asked,
    read_sample,
    regraded,
    results_of,
    submit,
    to_sample,
    with_protocol,
)
from rewards.verifier import VERSION

if TYPE_CHECKING:
    from rich.console import Console


_SAME = ("task", "task_version", "verifier", "grading", "generation")
_GRADED = ("task_version", "verifier", "grading")
"""Parts of the identity whose change asks for new verdicts on the same responses."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is evaluated and how. `batch`: rollouts that are planned together; it does not enter the key, because
    sampling does not depend on batching. `format_style`: the recipe's format reward, logged beside the outcome."""

    task: str
    version: int
    examples: Sequence[Example]
    sampling: Sampling
    protocol: str
    max_prompt_tokens: int
    facts: TaskFacts
    revision: str | None = None
    batch: int = 64
    format_style: str | None = None

    def grade(self, tools: Tools, example: Example, response: str, finish: str) -> Future[dict[str, Verdict]]:
        """The verdicts of a response, to come."""
        name = f"{self.task} v{self.version}"
        return submit(tools.verifier, example, response, task=name, finish=finish)


@dataclass(frozen=True, slots=True)
class Tools:
    """The objects that the trainer uses too."""

    renderer: Any
    engine: Engine
    verifier: Any


def evaluate(
    *,
    task_name: str,
    examples: Sequence[Example],
    renderer: Any,
    engine: Engine,
    verifier: Any,
    sampling: Evaluation,
    max_prompt_tokens: int,
    protocol: str | None = None,
    folder: Path | None = None,
    progress: Console | None = None,
    seed: int = 0,
    task_version: int = 1,
    categories: Sequence[str] = (),
    aggregate: Callable[[Sequence[Sample]], Mapping[str, float]] | None = None,
    revision: str | None = None,
    policy: str = "",
    run: RunFacts | None = None,
    batch: int = 64,
    format_style: str | None = None,
) -> dict[str, Any]:
    """Evaluate and return the content of results.json, and under `folder` where it is.

    `sampling`: decoding settings of the recipe (its protocol is used where `protocol` is None). `folder`: the run's
    `eval/` folder; the evaluation goes to `<folder>/<task>-<key8>`; None keeps everything in memory (validation).
    `policy`: content digest of the weights. `run`: facts of the run, stored in the results for the tables. A finished
    evaluation of the same key is read, not repeated. Raises DataError (no items, twice the same id), ImageError (a
    broken picture, when it is rendered), EngineError (samples missing or of two policy versions) and RunError (locked).
    """
    plan = Plan(
        task=task_name,
        version=task_version,
        examples=examples,
        sampling=Sampling(
            max_new_tokens=sampling.max_new_tokens,
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seed,
        ),
        protocol=protocol or sampling.protocol,
        max_prompt_tokens=max_prompt_tokens,
        facts=TaskFacts(categories=categories, aggregate=aggregate),
        revision=revision,
        batch=batch,
        format_style=format_style,
    )
    _check(plan)
    tools = Tools(renderer, engine, verifier)
    parts = key_parts(plan, tools, policy)
    if folder is None:
        return _run(plan, tools, None, {**parts, "run": asdict(run) if run else {}}, progress)
    target = Path(folder) / f"{slug(plan.task)}-{digest(parts)[:8]}"
    with Lock(target):
        if finished(target) is None:
            _adopt(target, plan, tools, parts)
            _run(plan, tools, target, {**parts, "run": asdict(run) if run else {}}, progress)
    return {**read_evaluation(target).results, "folder": str(target)}


def _check(plan: Plan) -> None:
    if not plan.examples:
        raise DataError(f"{plan.task}: no items to evaluate", "check --limit, --ids and --data-dir")
    seen: set[str] = set()
    for example in plan.examples:
        if example.id in seen:
            raise DataError(f"{plan.task} has two items with id {example.id}", "remove one of them")
        seen.add(example.id)


def key_parts(plan: Plan, tools: Tools, policy: str) -> dict[str, Any]:
    """Everything that makes the numbers, by content and never by path."""
    return {
        "task": plan.task,
        "task_version": plan.version,
        "verifier": VERSION,
        "protocol": plan.protocol,
        "grading": of_grading(plan.examples),
        "generation": of_generation(
            plan.examples,
            prompt=tools.renderer.hash,
            max_prompt_tokens=plan.max_prompt_tokens,
            sampling=asdict(plan.sampling),
            engine=tools.engine.describe(),
            policy=policy,
        ),
    }


def _adopt(target: Path, plan: Plan, tools: Tools, parts: Mapping[str, Any]) -> None:
    """Take the responses of a finished evaluation that generated the very same: no token is drawn twice.

    It may differ in the protocol, which is only another headline, or in the version of the verifier or of the task, and
    then its responses are graded anew.
    """
    if (target / SAMPLES).exists():
        return
    for manifest in sorted(target.parent.glob(f"{slug(plan.task)}-*/{MANIFEST}")):
        facts = finished(manifest.parent) or {}
        if facts.get("generation") == parts["generation"] and facts.get("task") == plan.task:
            source = read_evaluation(manifest.parent)
            samples = list(map(read_sample, source.samples()))
            if any(facts.get(k) != parts[k] for k in _GRADED):
                samples = _grade_again(samples, plan, tools)
            with SampleLog(target, spent=source.results["cost"]["seconds"]) as log:
                for sample in samples:
                    log.add(with_protocol(sample, plan.protocol))
            return


def _grade_again(samples: Sequence[Sample], plan: Plan, tools: Tools) -> list[Sample]:
    """Samples with the verdicts of today's rules; a prompt that was never answered stays as it is."""
    examples = {e.id: e for e in plan.examples}
    waiting = [
        None if s.finish == Finish.PROMPT_TOO_LONG else plan.grade(tools, examples[s.id], s.response, s.finish)
        for s in samples
    ]
    found = []
    for sample, verdicts in zip(samples, waiting, strict=True):
        example = examples[sample.id]
        categories = {c: example.metadata.get(c) for c in plan.facts.categories}
        about = replace(sample, gold=gold_text(example), note=example.note, categories=categories)
        found.append(about if verdicts is None else regraded(about, verdicts.result(), plan.protocol))
    return found


def _run(
    plan: Plan, tools: Tools, folder: Path | None, facts: Mapping[str, Any], console: Console | None
) -> dict[str, Any]:
    with SampleLog(folder) as log:
        first = tools.renderer.render(plan.examples[0])
        total = len(plan.examples) * plan.sampling.n
        size = max(1, plan.batch // plan.sampling.n)
        with bar(console, f"evaluate {plan.task}", total, len(log.done)) as tick:
            for start in range(0, len(plan.examples), size):
                _Batch(plan, tools, log, tick).run(plan.examples[start : start + size])
        seconds = log.seconds
    wanted = {(e.id, i) for e in plan.examples for i in range(plan.sampling.n)}
    samples = [s for s in log.samples if (s.id, s.sample_index) in wanted]
    if len(samples) != len(wanted):
        raise EngineError(f"{plan.task}: {len(wanted) - len(samples)} samples are missing", "run again, which resumes")
    described = {
        **facts,
        "revision": plan.revision,
        "samples_per_item": plan.sampling.n,
        "prompt_example": first.text[:4000],
        "prompt_hash": first.template_hash,
        "pixel_budget": asdict(first.pixel_budget) if first.pixel_budget else None,
        "cost": {"seconds": round(seconds, 3), "sampled_tokens": sum(s.tokens for s in samples)},
    }
    results = results_of(samples, plan.examples, described, plan.facts, tools.verifier)
    if folder is not None:
        finish(folder, results, {k: facts[k] for k in (*_SAME, "protocol")})
    return results


@dataclass(frozen=True, slots=True)
class _Pending:
    example: Example
    prompt: Prompt
    rollout: Rollout
    verdicts: Future[dict[str, Verdict]]


class _Batch:
    """One planned batch: render what is missing, generate, grade as rollouts finish, log as they are graded."""

    def __init__(self, plan: Plan, tools: Tools, log: SampleLog, tick: Callable[[Sample], None]) -> None:
        self.plan, self.tools, self.log, self.tick = plan, tools, log, tick
        self.pending: deque[_Pending] = deque()

    def run(self, examples: Sequence[Example]) -> None:
        prompts = {e.id: (e, p) for e in examples if (p := self._render(e)) is not None}
        if not prompts:
            return
        seen: set[int] = set()
        for rollout in self.tools.engine.generate([Request(p, self.plan.sampling) for _, p in prompts.values()]):
            seen.add(rollout.policy_version)
            if len(seen) > 1:
                raise EngineError(
                    f"{self.plan.task} was answered by policy versions {sorted(seen)}", "evaluate one policy"
                )
            if (rollout.prompt_id, rollout.sample_index) in self.log.done:
                continue
            example, prompt = prompts[rollout.prompt_id]
            graded = self.plan.grade(self.tools, example, rollout.text, rollout.finish)
            self.pending.append(_Pending(example, prompt, rollout, graded))
            self._drain(wait=False)
        self._drain(wait=True)

    def _render(self, example: Example) -> Prompt | None:
        """The prompt of an item that still lacks samples. A prompt that is too long is logged as ungraded here."""
        missing = [i for i in range(self.plan.sampling.n) if (example.id, i) not in self.log.done]
        if not missing:
            return None
        prompt: Prompt = self.tools.renderer.render(example)
        if len(prompt.ids) <= self.plan.max_prompt_tokens:
            return prompt
        for index in missing:
            self._log(example, prompt, *not_asked(example, index, Finish.PROMPT_TOO_LONG, "prompt_too_long"))
        return None

    def _drain(self, wait: bool) -> None:
        """Log what has been graded; with `wait`, all of it."""
        for _ in range(len(self.pending)):
            item = self.pending.popleft()
            if wait or item.verdicts.done():
                self._log(item.example, item.prompt, item.rollout, item.verdicts.result())
            else:
                self.pending.append(item)

    def _log(self, example: Example, prompt: Prompt, rollout: Rollout, verdicts: Mapping[str, Verdict]) -> None:
        extra = {
            "categories": {c: example.metadata.get(c) for c in self.plan.facts.categories},
            "rewards": self._rewards(rollout, verdicts),
            "image_sha256": prompt.patches.sha256 if prompt.patches else "",
        }
        sample = to_sample(example, rollout, verdicts, self.plan.protocol, extra)
        self.log.add(sample)
        self.tick(sample)

    def _rewards(self, rollout: Rollout, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
        """The reward components that training would have given: always by the strict protocol."""
        from rewards.components import components

        if self.plan.format_style is None:
            return {"outcome": float(verdicts["strict"].correct)}
        truncated = rollout.finish is Finish.LENGTH
        return components(verdicts["strict"], rollout.text, truncated, self.plan.format_style)
