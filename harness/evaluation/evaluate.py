"""A policy on a task: examples in, samples.jsonl and results.json out. Validation and final evaluation are the same call.

What the log already holds is not generated again, so a killed evaluation goes on where it was; the rest goes through the one
rollout loop and is logged as it is graded. Both protocols are stored; the chosen one makes the headline. The folder's name
carries a hash of everything that makes the numbers, so two results are in one folder only if they are the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.config import Evaluation, digest
from harness.core.errors import DataError
from harness.core.identity import of_generation, of_grading
from harness.core.locks import Lock
from harness.core.records import Example, Finish, Sample, Sampling, Verdict
from harness.core.runs import MANIFEST, SAMPLES, RunFacts, finished, read_evaluation, slug
from harness.evaluation.bars import bar
from harness.evaluation.results import TaskFacts, finish, results_of
from harness.rollout.grading import submit
from harness.rollout.loop import Ask, Graded, RolloutLoop
from harness.rollout.protocols import Tools
from harness.rollout.samples import SampleLog, gold_text, read_sample, regraded, to_sample, with_protocol
from rewards.components import components
from rewards.verifier import VERSION

if TYPE_CHECKING:
    from rich.console import Console


_SAME = ("task", "task_version", "verifier", "grading", "generation")
_GRADED = ("task_version", "verifier", "grading")
"""Parts of the identity whose change asks for new verdicts on the same responses."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is evaluated and how.

    task, version: full name with its split, and its version. examples: the items. sampling: how responses are drawn.
    protocol: whose verdicts make the headline. max_prompt_tokens: longer prompts stay in n, ungraded. facts: categories and
    the authors' aggregate. revision: of the task's data, where it is pinned. format_style: the recipe's format reward,
    logged beside the outcome.
    """

    task: str
    examples: Sequence[Example]
    sampling: Sampling
    protocol: str
    max_prompt_tokens: int
    version: int = 1
    facts: TaskFacts = field(default_factory=TaskFacts)
    revision: str | None = None
    format_style: str | None = None


def decoding(settings: Evaluation, seed: int = 0) -> Sampling:
    """How a recipe's evaluation section draws responses."""
    return Sampling(
        max_new_tokens=settings.max_new_tokens,
        n=settings.n,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=seed,
    )


def evaluate(
    plan: Experiment,
    tools: Tools,
    *,
    folder: Path | None = None,
    policy: str = "",
    run: RunFacts | None = None,
    progress: Console | None = None,
) -> dict[str, Any]:
    """Evaluate and return the content of results.json, and under `folder` where it is.

    folder: the run's `eval/` folder; the evaluation goes to `<folder>/<task>-<key8>`; None keeps everything in memory
    (validation). policy: content digest of the weights. run: facts of the run, stored in the results for the tables. A
    finished evaluation of the same key is read, not repeated. Raises DataError (no items, twice the same id), ImageError (a
    broken picture, when it is rendered), EngineError (samples missing or of two policy versions) and RunError (locked).
    """
    _check(plan)
    parts = key_parts(plan, tools, policy)
    described = {**parts, "run": asdict(run) if run else {}}
    if folder is None:
        return _run(plan, tools, None, described, progress)
    target = Path(folder) / f"{slug(plan.task)}-{digest(parts)[:8]}"
    with Lock(target):
        if finished(target) is None:
            _adopt(target, plan, tools, parts)
            _run(plan, tools, target, described, progress)
    return {**read_evaluation(target).results, "folder": str(target)}


def _check(plan: Experiment) -> None:
    if not plan.examples:
        raise DataError(f"{plan.task}: no items to evaluate", "check --limit, --ids and --data-dir")
    seen: set[str] = set()
    for example in plan.examples:
        if example.id in seen:
            raise DataError(f"{plan.task} has two items with id {example.id}", "remove one of them")
        seen.add(example.id)


def key_parts(plan: Experiment, tools: Tools, policy: str) -> dict[str, Any]:
    """Everything that makes the numbers, by content and never by path."""
    return {
        "task": plan.task,
        "task_version": plan.version,
        "verifier": VERSION,
        "protocol": plan.protocol,
        "grading": of_grading(plan.examples, plan.facts.aggregate),
        "generation": of_generation(
            plan.examples,
            prompt=tools.renderer.hash,
            max_prompt_tokens=plan.max_prompt_tokens,
            sampling=asdict(plan.sampling),
            engine=tools.engine.describe(),
            policy=policy,
        ),
    }


def _adopt(target: Path, plan: Experiment, tools: Tools, parts: Mapping[str, Any]) -> None:
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


def _grade_again(samples: Sequence[Sample], plan: Experiment, tools: Tools) -> list[Sample]:
    """Samples with the verdicts of today's rules; a prompt that was never answered stays as it is."""
    examples = {e.id: e for e in plan.examples}

    def start(sample: Sample) -> Future[dict[str, Verdict]] | None:
        if sample.finish == Finish.PROMPT_TOO_LONG:
            return None
        example = examples[sample.id]
        name = f"{example.task} v{plan.version}"
        return submit(tools.verifier, example, sample.response, task=name, finish=sample.finish)

    found = []
    for sample, verdicts in zip(samples, list(map(start, samples)), strict=True):
        example = examples[sample.id]
        about = replace(sample, gold=gold_text(example), note=example.note, categories=_categories(plan, example))
        found.append(about if verdicts is None else regraded(about, verdicts.result(), plan.protocol))
    return found


def _categories(plan: Experiment, example: Example) -> dict[str, Any]:
    return {c: example.metadata.get(c) for c in plan.facts.categories}


def _run(
    plan: Experiment, tools: Tools, folder: Path | None, facts: Mapping[str, Any], console: Console | None
) -> dict[str, Any]:
    loop = RolloutLoop(tools, plan.max_prompt_tokens, plan.version)
    order = {(e.id, i): place for place, e in enumerate(plan.examples) for i in range(plan.sampling.n)}
    with SampleLog(folder) as log:
        with bar(console, f"evaluate {plan.task}", len(order), log.samples) as tick:
            for graded in loop.run(_missing(plan, log)):
                log.add(sample := _sample(plan, graded))
                tick(sample)
        seconds = log.seconds
    samples = [s for s in log.samples if (s.id, s.sample_index) in order]
    samples.sort(key=lambda s: (order[s.id, s.sample_index], s.sample_index))
    first = tools.renderer.render(plan.examples[0])
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


def _missing(plan: Experiment, log: SampleLog) -> Iterator[Ask]:
    """The items that lack samples, each with the indices it lacks."""
    for example in plan.examples:
        lacking = tuple(i for i in range(plan.sampling.n) if (example.id, i) not in log.done)
        if lacking:
            yield Ask(example, plan.sampling, samples=lacking if len(lacking) < plan.sampling.n else None)


def _sample(plan: Experiment, graded: Graded) -> Sample:
    """The line of a graded rollout, with the reward components that training would have given: by the strict protocol."""
    strict, rollout = graded.verdicts["strict"], graded.rollout
    rewards = {"outcome": float(strict.correct)}
    if plan.format_style is not None:
        rewards = components(strict, rollout.text, rollout.finish is Finish.LENGTH, plan.format_style)
    return to_sample(graded, plan.protocol, categories=_categories(plan, graded.example), rewards=rewards)
