"""Graded responses in, a judge's verdicts beside the rules' own and a metric of their own out.

Off unless asked for. The judge is checked before anything is graded, and asked only about what the rules left open through
no fault of the answer; its verdicts are stored under `judge` and counted in a metric that carries its name and version. The
rules' verdicts and the headline stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from harness.core.errors import ConfigError
from harness.core.records import Example, Sample, Side, Status, Verdict
from harness.evaluation import metrics
from rewards.verifier import Reason
from rewards.verifier.judge import FAILED, PROMPT_VERSION, PROTOCOL, Endpoint, Judge

Graded = Future[dict[str, Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """The flags of a judge: base address of an OpenAI-compatible endpoint, its model, and the environment variable that
    holds the key ("" for none)."""

    url: str
    model: str
    key_variable: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """What makes the judged numbers: the model and the version of what it is asked, never the address."""
        return {"model": self.model, "prompt": PROMPT_VERSION}


def options(url: str | None, model: str | None, key_variable: str | None) -> JudgeOptions | None:
    """The options of --judge, --judge-model and --judge-key-variable; None when no judge is asked for. Raises ConfigError."""
    if url is None and (model or key_variable):
        raise ConfigError(
            "--judge-model and --judge-key-variable belong to --judge", "give --judge URL, or leave them out"
        )
    if url is None:
        return None
    if not model:
        raise ConfigError("--judge needs --judge-model", "name the model, which becomes part of the metric's name")
    return JudgeOptions(url=url, model=model, key_variable=key_variable or "")


def checked(chosen: JudgeOptions | None) -> Judge | None:
    """The judge, after its check on known pairs. Raises ConfigError and VerifierError."""
    if chosen is None:
        return None
    judge = Judge(Endpoint(url=chosen.url, model=chosen.model, key_variable=chosen.key_variable), chosen.model)
    judge.preflight()
    return judge


@contextmanager
def asking(judge: Judge | None, protocol: str) -> Iterator[Callable[[Example, Graded], Graded]]:
    """Yields `ask(example, verdicts to come)`, which gives the same verdicts with the judge's beside, to come."""
    if judge is None:
        yield lambda example, graded: graded
        return
    threads = ThreadPoolExecutor(max(1, judge.concurrency), thread_name_prefix="judge")
    try:
        yield lambda example, graded: threads.submit(lambda: beside(judge, example, graded.result(), protocol))
    finally:
        threads.shutdown(cancel_futures=True)


def beside(judge: Judge, example: Example, verdicts: Mapping[str, Verdict], protocol: str) -> dict[str, Verdict]:
    """The verdicts, with the judge's where the rule of `protocol` left the item open.

    A lost worker says nothing about an answer, so there is nothing to ask about.
    """
    head, strict = verdicts[protocol], verdicts["strict"]
    if head.status is not Status.UNGRADED or head.side is not Side.INSTRUMENT or head.reason == Reason.WORKER_LOST:
        return dict(verdicts)
    answer = strict.extracted if head.extracted is None else head.extracted
    return {**verdicts, PROTOCOL: judge.verdict(example.question, example.answer, answer)}


def metric(judge: Judge, samples: Sequence[Sample]) -> dict[str, Any]:
    """The accuracy in which the judge's verdicts stand for the open ones, by the judge's name and version.

    `judged`: how many samples the rules left open; of these `correct`, `incorrect` and `failed`, where the judge gave no
    usable answer, which are still ungraded.
    """
    said = [s.verdicts[PROTOCOL] for s in samples if PROTOCOL in s.verdicts]
    settled = [
        replace(s, verdict=Status(s.verdicts[PROTOCOL]["status"])) if PROTOCOL in s.verdicts else s for s in samples
    ]
    counts = Counter("failed" if v["reason"] == FAILED else str(v["status"]) for v in said)
    found = metrics.accuracy(metrics.by_item(settled))
    numbers = {k: counts[k] for k in ("correct", "incorrect", "failed")}
    return {f"accuracy_with_{judge.name}": {**found, "judged": len(said), **numbers}}
