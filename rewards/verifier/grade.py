"""One job in, its verdicts out: runs inside a worker process.

`strict` compares the marked final answer with the typed gold. `official` asks the benchmark's own rule; without a rule it
is the strict comparison, on an extraction recorded elsewhere where there is one. `audit` is a second opinion on `strict`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import attempt
from harness.core.records import Answer, AnswerType, Side, Status, Verdict
from rewards.verifier import ANSWER_SIDE, Reason, audit
from rewards.verifier.answers import choices, equivalence, marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One response to grade.

    answer: the typed gold. rule: `module:function` of the benchmark's own rule, "" where the strict rule is also the
    official one. truncated: the response ended at the length limit. extracted: an extraction recorded elsewhere, which
    the official protocol uses instead of its own. task: name and version of the task, under which parsed golds are kept.
    """

    answer: Answer
    response: str
    protocols: tuple[str, ...] = ("strict",)
    rule: str = ""
    truncated: bool = False
    extracted: str | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """Extracted answers to sort into classes of equal ones."""

    answers: tuple[str | None, ...]
    type: AnswerType
    choices: tuple[str, ...] = ()


def grade(job: Job) -> dict[str, Verdict]:
    """A verdict per protocol of the job."""
    found: dict[str, Verdict] = {}
    for protocol in job.protocols:
        if protocol == "official" and job.rule:
            found[protocol] = _by_rule(job)
        elif protocol == audit.PROTOCOL:
            found[protocol] = _audited(job)
        elif protocol == "strict" and "official" in found and not job.rule and job.extracted is None:
            # without a rule the two protocols are the same comparison
            found[protocol] = _renamed(found["official"], "strict")
        else:
            found[protocol] = _strict(job, protocol)
    return found


def _renamed(verdict: Verdict, protocol: str) -> Verdict:
    from dataclasses import replace

    return replace(verdict, protocol=protocol)


def _strict(job: Job, protocol: str) -> Verdict:
    right: bool | None
    start = time.perf_counter()
    extracted = job.extracted if protocol == "official" and job.extracted is not None else _marked(job)
    if extracted is None or not extracted.strip():
        right, reason = False, Reason.TRUNCATED if job.truncated else Reason.NO_ANSWER
    else:
        outcome, error = attempt(equivalence.compare, job.answer, extracted)
        right, reason = outcome if error is None else (None, _failure(error))
    return verdict(right, str(reason), protocol, extracted, time.perf_counter() - start)


def _audited(job: Job) -> Verdict:
    """The second checker's opinion of the marked answer, as a verdict; UNGRADED where it has none."""
    start = time.perf_counter()
    extracted = _marked(job)
    right: bool | None = False
    if extracted is not None and extracted.strip():
        right, _ = attempt(audit.opinion, job.answer, extracted)
    reason = "no_opinion" if right is None else Reason.MATCH if right else Reason.MISMATCH
    return verdict(right, str(reason), audit.PROTOCOL, extracted, time.perf_counter() - start)


def _marked(job: Job) -> str | None:
    return marks.final_answer(job.response, job.answer.type, len(job.answer.choices))


def _failure(error: Exception) -> Reason:
    """What an exception inside a comparison means: a tree too deep or a number too large is the answer's doing."""
    if isinstance(error, RecursionError):
        return Reason.TOO_DEEP
    return Reason.TOO_LARGE if isinstance(error, MemoryError | OverflowError) else Reason.RULE_FAILED


def _by_rule(job: Job) -> Verdict:
    start = time.perf_counter()
    rule, error = attempt(_rule, job.rule)
    outcome: Any = None
    if error is None:
        outcome, error = attempt(rule, job.answer, job.response, job.extracted)
    if error is not None or not isinstance(outcome, tuple):
        failure = _failure(error) if error is not None else Reason.RULE_FAILED
        return verdict(None, str(failure), "official", job.extracted, time.perf_counter() - start)
    right, extracted, reason = outcome
    if right is False and job.truncated and not (_marked(job) or "").strip():
        reason = Reason.TRUNCATED
    return verdict(right, str(reason), "official", extracted, time.perf_counter() - start)


def _rule(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def verdict(
    right: bool | None, reason: str, protocol: str, extracted: str | None = None, seconds: float = 0.0
) -> Verdict:
    """A verdict with the side that its reason implies."""
    side = None
    if right is None:
        side = Side.ANSWER if reason in {str(r) for r in ANSWER_SIDE} else Side.INSTRUMENT
    status = Status.UNGRADED if right is None else Status.CORRECT if right else Status.INCORRECT
    return Verdict(status=status, protocol=protocol, reason=reason, extracted=extracted, side=side, seconds=seconds)


def clusters(job: ClusterJob) -> list[int]:
    """The number of each answer's class, counted from 0 in order of appearance. None is a class of its own."""
    return classes(job.answers, lambda a, b: _equal(job, a, b))


def classes(answers: Sequence[str | None], equal: Callable[[str, str], bool]) -> list[int]:
    numbers: list[int] = []
    heads: list[tuple[str, int]] = []
    count = 0
    for answer in answers:
        found = None if answer is None else next((n for head, n in heads if equal(head, answer)), None)
        if found is None:
            found, count = count, count + 1
            if answer is not None:
                heads.append((answer, found))
        numbers.append(found)
    return numbers


def _equal(job: ClusterJob, left: str, right: str) -> bool:
    """Equal as written, or one right for the other as gold. A choice stands for its letter."""
    if left == right:
        return True
    gold = left
    if job.type is AnswerType.CHOICE:
        named = choices.letters(left, len(job.choices))
        gold = ", ".join(named) or left
    kind = AnswerType.EXPRESSION if job.type in (AnswerType.LIST, AnswerType.INTEGER, AnswerType.FLOAT) else job.type
    outcome, error = attempt(equivalence.compare, Answer(type=kind, golds=(gold,), choices=job.choices), right)
    return error is None and bool(outcome[0])
