"""The `score` verb: recorded responses and a task in, results.json and samples.jsonl out. No model, no renderer.

Samples are graded side by side and written in the order of the task, so that scoring twice gives the same files (but for
grading times). A killed run goes on, a finished one of the same content is graded anew, one of other content is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.clock import SESSIONS
from harness.core.config import Protocol, digest
from harness.core.errors import DataError, RunError
from harness.core.files import read_json, sha256, write_json
from harness.core.identity import asked_digest, of_grading
from harness.core.locks import Lock
from harness.core.records import Example, Finish, Rollout, Verdict
from harness.core.registry import load_plugin
from harness.core.runs import MANIFEST, RESULTS, SAMPLES, RunFacts, finished, read_evaluation
from harness.evaluation import judging
from harness.evaluation.bars import bar
from harness.evaluation.results import TaskFacts, finish, results_of
from harness.rollout.grading import submit, ungraded
from harness.rollout.loop import Graded, unanswered
from harness.rollout.samples import SampleLog, to_sample
from rewards.verifier import VERSION
from tasks.support.selection import select

if TYPE_CHECKING:
    from rich.console import Console

    from rewards.verifier.pool import Verifier
    from tasks.base import Task

IN_FLIGHT = 256
STATE = "score.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """The flags of `score`. `ids`: the item ids of --ids; `extracted_field`: column of an extraction made elsewhere;
    `label`: name of the row, the responses' file name where not given; `force`: replace a finished result of others."""

    task: str
    responses: Path
    out: Path
    data_dir: Path | None = None
    protocol: Protocol = "official"
    response_field: str = "response"
    extracted_field: str | None = None
    limit: int | None = None
    ids: tuple[str, ...] | None = None
    plugins: tuple[Path, ...] = ()
    judge: judging.JudgeOptions | None = None
    label: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One response to grade: `rollout` carries its text and how it ended. `missing`: why there is nothing to grade."""

    example: Example
    rollout: Rollout
    extracted: str | None = None
    missing: str = ""


def score(options: ScoreOptions, progress: Console | None = None, verifier: Verifier | None = None) -> dict[str, Any]:
    """Grade and return the content of results.json, which is in `options.out` then. `verifier`: one that is open already.

    Raises DataError (data, a response line, an id the task does not have), RunError (`out` is locked or holds something
    that `score` did not write) and VerifierError (a judge that fails its check, before anything is graded).
    """
    from harness.engines.recorded import responses
    from rewards.verifier.pool import Verifier
    from tasks.resolve import resolve

    for file in options.plugins:
        load_plugin(file)
    if options.limit is not None and options.ids is not None:
        raise DataError("--limit and --ids both choose items", "give one of them")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise DataError(f"--data-dir {options.data_dir}: no such folder", "give the folder that holds the task's files")
    task = resolve(options.task, options.data_dir)
    rows = responses(options.responses, task.id_columns, options.response_field)
    examples = task.load()
    _check_ids(rows, examples, task, options.responses)
    chosen = select(examples, options.limit, options.ids, task.name)
    plan = list(_plan(chosen, rows, options))
    facts = _facts(options, task, chosen)
    judge = judging.checked(options.judge)
    grader = nullcontext(verifier) if verifier else Verifier(plugins=[str(p) for p in options.plugins])
    with Lock(options.out), grader as verifier:
        _prepare(options.out, digest({k: v for k, v in facts.items() if k != "run"}, length=32), options.force)
        with SampleLog(options.out) as log:
            with (
                bar(progress, f"score {task.name}", len(plan), log.samples) as tick,
                judging.asking(judge, options.protocol) as ask,
            ):
                start = _Start(verifier, f"{task.name} v{task.version}", ask)
                for item, verdicts in _graded(plan, log.done, start):
                    categories = {c: item.example.metadata.get(c) for c in task.categories}
                    graded = Graded(item.example, item.rollout, verdicts)
                    log.add(sample := to_sample(graded, options.protocol, categories=categories))
                    tick(sample)
            seconds = log.seconds
        about = TaskFacts(categories=task.categories, aggregate=task.aggregate)
        results = results_of(log.samples, chosen, facts, about, verifier)
        if judge is not None:
            results["metrics"].update(judging.metric(judge, log.samples))
        finish(options.out, results, {"task": task.name, "protocol": options.protocol, "seconds": round(seconds, 3)})
    return dict(read_evaluation(options.out).results)


def _check_ids(rows: Mapping[str, Any], examples: Sequence[Example], task: Task, path: Path) -> None:
    known = {e.id for e in examples}
    strange = [item for item in rows if item not in known]
    if strange:
        more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise DataError(
            f"{path} answers item '{strange[0]}'{more}, which {task.name} does not have",
            f"its ids go from '{examples[0].id}' to '{examples[-1].id}'; check --task and its split",
        )


def _plan(
    examples: Sequence[Example], rows: Mapping[str, list[dict[str, Any]]], options: ScoreOptions
) -> Iterator[_Recorded]:
    """Every response of every chosen item in the order of the task; an item without one stays in n as `no_response`."""
    for example in examples:
        lines = rows.get(example.id, [])
        if not lines:
            yield _Recorded(example, unanswered(example, 0, Finish.RECORDED), missing="no_response")
        for index, row in enumerate(lines):
            rollout = _rollout(example, index, row, options.response_field)
            missing = "prompt_too_long" if rollout.finish is Finish.PROMPT_TOO_LONG else ""
            yield _Recorded(example, rollout, _extraction(row, options), missing)


def _rollout(example: Example, index: int, row: Mapping[str, Any], field: str) -> Rollout:
    """A line as a rollout. A line of our own samples.jsonl says how its response ended; nobody else's is asked."""
    ours = "schema" in row and "sample_index" in row
    return Rollout(
        prompt_id=example.id,
        sample_index=index,
        token_ids=(0,) * int(row.get("tokens", 0)) if ours else (),
        logprobs=(),
        finish=Finish(row.get("finish") or Finish.RECORDED) if ours else Finish.RECORDED,
        text=row[field],
    )


def _extraction(row: Mapping[str, Any], options: ScoreOptions) -> str | None:
    field = options.extracted_field
    if field is None:
        return None
    if field not in row:
        raise DataError(
            f"{options.responses}: a line lacks column '{field}'", f"check --extracted-field; it has {', '.join(row)}"
        )
    return "" if row[field] is None else str(row[field])


def _facts(options: ScoreOptions, task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    """What makes the numbers, by content."""
    judge = {"judge": options.judge.facts} if options.judge else {}
    return {
        **judge,
        "task": task.name,
        "task_version": task.version,
        "verifier": VERSION,
        "protocol": options.protocol,
        "revision": task.revision,
        "grading": of_grading(examples, task.aggregate),
        "generation": {
            "content": asked_digest(examples),
            "responses": {"file": options.responses.name, "sha256": sha256(options.responses)},
            "response_field": options.response_field,
            "extracted_field": options.extracted_field,
        },
        "run": asdict(RunFacts(model="", method="recorded", label=options.label or options.responses.stem)),
    }


def _prepare(out: Path, key: str, force: bool) -> None:
    """Keep the samples of an unfinished run of the same content; clear what else `score` left; refuse other folders, and
    a finished result of other content without `force`."""
    mine = (out / STATE).is_file()
    if not mine and any((out / name).exists() for name in (SAMPLES, RESULTS, MANIFEST)):
        raise RunError(f"{out} holds results that `score` did not write", "give another --out")
    same = mine and read_json(out / STATE).get("key") == key
    if same and finished(out) is None:
        return
    if mine and not same and not force and finished(out) is not None:
        raise RunError(f"{out} holds the finished result of other responses", "give another --out, or --force")
    for name in (MANIFEST, RESULTS, SAMPLES, SESSIONS):
        (out / name).unlink(missing_ok=True)
    write_json(out / STATE, {"key": key})


@dataclass(frozen=True, slots=True)
class _Start:
    """Starts the grading of a response: by the rules and, where a judge was asked for, by it."""

    verifier: Verifier
    task: str
    ask: Callable[[Example, Future[dict[str, Verdict]]], Future[dict[str, Verdict]]]

    def __call__(self, item: _Recorded) -> Future[dict[str, Verdict]]:
        """A response goes to the verifier, an empty one too; where there is none, the verdict is known."""
        example, rollout = item.example, item.rollout
        if item.missing:
            known: Future[dict[str, Verdict]] = Future()
            known.set_result(ungraded(item.missing))
            return known
        graded = submit(
            self.verifier, example, rollout.text, task=self.task, finish=rollout.finish, extracted=item.extracted
        )
        return self.ask(example, graded)


def _graded(
    plan: Sequence[_Recorded], done: set[tuple[str, int]], start: _Start
) -> Iterator[tuple[_Recorded, Mapping[str, Verdict]]]:
    """What is not done yet, graded, in the order of the plan."""
    waiting: deque[tuple[_Recorded, Future[dict[str, Verdict]]]] = deque()
    for item in plan:
        if (item.example.id, item.rollout.sample_index) in done:
            continue
        waiting.append((item, start(item)))
        if len(waiting) >= IN_FLIGHT:
            first, future = waiting.popleft()
            yield first, future.result()
    for item, future in waiting:
        yield item, future.result()
