"""What is sent to a worker: a response to grade, or answers to sort."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.records import Answer, AnswerType


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One response to grade.

    answer: the typed gold. protocols: names of protocols, each of which gives a verdict. rule: `module:function` of the
    benchmark's own rule, "" where the strict rule is also the official one. truncated: the response ended at the length
    limit. extracted: an extraction recorded elsewhere, which the official protocol uses instead of its own. task: name and
    version of the task, under which parsed golds are kept. seconds: what the job may take where the pool's deadline is too
    short (0: the pool's deadline).
    """

    answer: Answer
    response: str
    protocols: tuple[str, ...] = ("strict",)
    rule: str = ""
    truncated: bool = False
    extracted: str | None = None
    task: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """Extracted answers to sort into classes of equal ones."""

    answers: tuple[str | None, ...]
    type: AnswerType
    choices: tuple[str, ...] = ()
