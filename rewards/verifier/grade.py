"""One job in, its verdicts out: runs inside a worker process.

Each protocol of the job is asked for its outcome (rewards/verifier/protocols, found by name); `audit` is a second opinion on
`strict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.core.errors import attempt
from harness.core.records import Answer, AnswerType, Side, Status, Verdict
from rewards.verifier import ANSWER_SIDE, Reason, audit, protocols
from rewards.verifier.answers import choices, equivalence
from rewards.verifier.jobs import ClusterJob, Job
from rewards.verifier.protocols import Work


def grade(job: Job) -> dict[str, Verdict]:
    """A verdict per protocol of the job."""
    work = protocols.Work(job)
    return {name: _audited(work) if name == audit.PROTOCOL else _graded(name, work) for name in job.protocols}


def _graded(name: str, work: Work) -> Verdict:
    """The verdict of a protocol; what it fails at is UNGRADED and says why."""
    start, job = time.perf_counter(), work.job
    outcome, error = protocols.outcome(name, work)
    if error is not None or not isinstance(outcome, tuple):
        failure = _failure(error) if error is not None else Reason.RULE_FAILED
        return verdict(None, str(failure), name, job.extracted, time.perf_counter() - start)
    right, extracted, reason = outcome
    if right is False and job.truncated and not (attempt(lambda: work.marked)[0] or "").strip():
        reason = Reason.TRUNCATED
    return verdict(right, str(reason), name, extracted, time.perf_counter() - start)


def _audited(work: Work) -> Verdict:
    """The second checker's opinion of the marked answer, as a verdict; UNGRADED where it has none."""
    start, right = time.perf_counter(), False
    extracted, _ = attempt(lambda: work.marked)
    if extracted is not None and extracted.strip():
        right, _ = attempt(audit.opinion, work.job.answer, extracted)
    reason = "no_opinion" if right is None else Reason.MATCH if right else Reason.MISMATCH
    return verdict(right, str(reason), audit.PROTOCOL, extracted, time.perf_counter() - start)


def _failure(error: Exception) -> Reason:
    """What an exception inside a comparison means: a tree too deep or a number too large is the answer's doing."""
    if isinstance(error, RecursionError):
        return Reason.TOO_DEEP
    return Reason.TOO_LARGE if isinstance(error, MemoryError | OverflowError) else Reason.RULE_FAILED


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
