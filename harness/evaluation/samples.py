"""Verdicts become samples, samples become the log of one evaluation: what `evaluate` and `score` share.

In: examples and responses, or their verdicts. Out: samples.jsonl, appended as samples finish and read again on resume, and in the
end results.json and the manifest.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.core.clock import SESSIONS, Clock
from harness.core.errors import RunError
from harness.core.files import JsonlWriter, read_log, write_json
from harness.core.records import SCHEMA, AnswerType, Example, Finish, Rollout, Sample, Side, Status, Verdict
from harness.core.runs import RESULTS, SAMPLES, write_manifest
from harness.evaluation import metrics
from rewards.verifier import audit, judge

if TYPE_CHECKING:
    from rich.console import Console

PROTOCOLS = ("official", "strict")
LIBRARIES = ("rlfr-eval", "torch", "transformers", "vllm", "math-verify", "datasets", "qwen-vl-utils", "pillow")
BESIDE = (audit.PROTOCOL, judge.PROTOCOL)
"""Verdicts that are kept beside those of the protocols; only some samples have them, and none is ever a headline."""


def gold_text(example: Example) -> str:
    """The gold as one line: elements of a list by commas, alternatives by bars."""
    return (", " if example.answer.type is AnswerType.LIST else " | ").join(example.answer.golds)


def submit(
    verifier: Any, example: Example, response: str, *, task: str, finish: str, extracted: str | None = None
) -> Future[dict[str, Verdict]]:
    """Hand a response to the verifier, for both protocols and, where the item is audited, for the second opinion.

    `task`: its name with its version. The opinion is a job of its own, so that it can neither change nor delay a verdict.
    """
    from rewards.verifier.pool import Job

    job = Job(
        answer=example.answer,
        response=response,
        protocols=PROTOCOLS,
        rule=example.rule,
        truncated=finish == Finish.LENGTH,
        extracted=extracted,
        task=task,
    )
    found: Future[dict[str, Verdict]] = verifier.submit(job)
    if not audit.chosen(example.id, audit.SHARE):
        return found
    return _both(found, verifier.submit(replace(job, protocols=(audit.PROTOCOL,))))


def _both(first: Future[dict[str, Verdict]], second: Future[dict[str, Verdict]]) -> Future[dict[str, Verdict]]:
    """The verdicts of two jobs on one response; what stops either stops both."""
    both: Future[dict[str, Verdict]] = Future()

    def settle(_: object) -> None:
        if first.cancelled() or second.cancelled():
            both.cancel()
        elif (error := first.exception() or second.exception()) is not None:
            both.set_exception(error)
        else:
            both.set_result({**second.result(), **first.result()})

    second.add_done_callback(lambda _: first.add_done_callback(settle))
    return both


def to_sample(
    example: Example, rollout: Rollout, verdicts: Mapping[str, Verdict], protocol: str, extra: Mapping[str, Any]
) -> Sample:
    """One line of the log. `extra`: further fields of Sample (categories, rewards, image_sha256)."""
    head = verdicts[protocol]
    return Sample(
        id=example.id,
        sample_index=rollout.sample_index,
        task=example.task,
        response=rollout.text,
        gold=gold_text(example),
        verdict=head.status,
        extracted=head.extracted,
        reason=head.reason,
        protocol=protocol,
        side=head.side,
        verdicts={name: _verdict(v) for name, v in verdicts.items()},
        finish=rollout.finish.value,
        tokens=len(rollout.token_ids),
        note=example.note,
        question=example.question,
        policy_version=rollout.policy_version,
        seconds=round(sum(v.seconds for v in verdicts.values()), 6),
        **extra,
    )


def _verdict(verdict: Verdict) -> dict[str, Any]:
    side = verdict.side.value if verdict.side else None
    return {"status": verdict.status.value, "extracted": verdict.extracted, "reason": verdict.reason, "side": side}


def not_asked(example: Example, index: int, finish: Finish, reason: str) -> tuple[Rollout, dict[str, Verdict]]:
    """A sample that no engine answered: UNGRADED on the instrument's side under every protocol."""
    rollout = Rollout(prompt_id=example.id, sample_index=index, token_ids=(), logprobs=(), finish=finish, text="")
    verdicts = {p: Verdict(status=Status.UNGRADED, protocol=p, reason=reason, side=Side.INSTRUMENT) for p in PROTOCOLS}
    return rollout, verdicts


def read_sample(row: Mapping[str, Any]) -> Sample:
    """A Sample from its line. Raises RunError for a line of another schema."""
    known = {f.name for f in fields(Sample)}
    if row.get("schema") != SCHEMA or not set(row) <= known:
        raise RunError(f"a sample has schema {row.get('schema')}, this version reads {SCHEMA}", "evaluate it again")
    side = Side(row["side"]) if row.get("side") else None
    return Sample(**{**row, "verdict": Status(row["verdict"]), "side": side})


def with_protocol(sample: Sample, protocol: str) -> Sample:
    """The same sample with another protocol's verdict as the headline."""
    chosen = sample.verdicts[protocol]
    return replace(
        sample,
        protocol=protocol,
        verdict=Status(chosen["status"]),
        extracted=chosen["extracted"],
        reason=chosen["reason"],
        side=Side(chosen["side"]) if chosen.get("side") else None,
    )


def regraded(sample: Sample, verdicts: Mapping[str, Verdict], protocol: str) -> Sample:
    """The same response with new verdicts; the logged outcome component follows the strict one."""
    seconds = round(sum(v.seconds for v in verdicts.values()), 6)
    rewards = {**sample.rewards, "outcome": float(verdicts["strict"].correct)}
    named = {name: _verdict(v) for name, v in verdicts.items()}
    return with_protocol(replace(sample, verdicts=named, rewards=rewards, seconds=seconds), protocol)


class SampleLog:
    """The samples of one evaluation, in memory and, with a folder, in samples.jsonl as they are added.

    Opening a folder reads what an earlier process wrote; `done` holds (id, sample index) of it. `seconds` counts the wall
    time of all processes that worked on the folder, not the time between them, and `spent`, what its samples cost elsewhere.
    """

    def __init__(self, folder: Path | None, spent: float = 0.0) -> None:
        self.folder = folder
        self.samples: list[Sample] = []
        self.done: set[tuple[str, int]] = set()
        self._clock = Clock(folder and folder / SESSIONS, folder and folder / SAMPLES, spent)
        self._writer: JsonlWriter | None = None
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        log = folder / SAMPLES
        self._writer = JsonlWriter(log)  # opening drops a torn line, before the log is read
        for row in read_log(log):
            sample = read_sample(row)
            if (sample.id, sample.sample_index) not in self.done:
                self._keep(sample)

    @property
    def seconds(self) -> float:
        return self._clock.seconds

    def _keep(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.done.add((sample.id, sample.sample_index))

    def add(self, sample: Sample) -> None:
        """Append one sample. Adding one twice is a defect and raises RunError."""
        if (sample.id, sample.sample_index) in self.done:
            raise RunError(
                f"item {sample.id} sample {sample.sample_index} came twice", "report the engine that was used"
            )
        if self._writer is not None:
            self._writer.append(asdict(sample))
        self._keep(sample)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def results_of(
    samples: Sequence[Sample],
    examples: Sequence[Example],
    facts: Mapping[str, Any],
    task: TaskFacts,
    verifier: Any,
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


def _clusters(examples: Sequence[Example], verifier: Any) -> Callable[[str], metrics.Clusters]:
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


@contextmanager
def bar(console: Console | None, text: str, total: int, done: int) -> Iterator[Callable[[Sample], None]]:
    """Yields `tick(sample)`: a progress bar with the running accuracy; on a stream that is no terminal a line a minute."""
    if console is None:
        yield lambda sample: None
    elif not console.is_terminal:
        yield _Lines(console, text, total, done)
    else:
        yield from _live(console, text, total, done)


def _live(console: Console, text: str, total: int, done: int) -> Iterator[Callable[[Sample], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[right]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        row = progress.add_task(text, total=total, completed=done, right="")
        seen = [0, 0]

        def tick(sample: Sample) -> None:
            seen[0], seen[1] = seen[0] + (sample.verdict is Status.CORRECT), seen[1] + 1
            progress.update(row, advance=1, right=f"{seen[0] / seen[1]:.1%} right")

        yield tick


class _Lines:
    """Progress for a log file: one line a minute and one at the end."""

    def __init__(self, console: Console, text: str, total: int, done: int) -> None:
        self.console, self.text, self.total, self.count = console, text, total, done
        self.right, self.seen, self.shown = 0, 0, time.monotonic()

    def __call__(self, sample: Sample) -> None:
        self.right, self.seen, self.count = (
            self.right + (sample.verdict is Status.CORRECT),
            self.seen + 1,
            self.count + 1,
        )
        if self.count == self.total or time.monotonic() - self.shown > 60:
            self.shown = time.monotonic()
            share = f"{self.right / self.seen:.1%} right"
            self.console.print(f"{self.text}: {self.count}/{self.total}  {share}", highlight=False)
