"""Protocols by name: what counts as right. Each is a file of this package, found by its key (`qwen_math.py` is `qwen-math`).

`official` and `strict` are this project's own; the others are graders of other suites, rebuilt from their published facts so
that numbers published with them can be compared. A protocol sees one job and what several protocols share of it (`Work`) and
returns an outcome: right, wrong or not graded (None), what it took for the answer, and a reason code. A file of another
package or a plug-in joins with `@protocol.register("name")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from harness.core.errors import ConfigError, UnknownNameError, attempt, near
from harness.core.registry import Registry
from rewards.verifier import Reason
from rewards.verifier.answers import equivalence, marks
from rewards.verifier.jobs import Job

ALWAYS = ("official", "strict")
"""Protocols that grade every sample, whichever was asked for: training rewards and format checks need `strict`."""

Outcome = tuple[bool | None, str | None, str]
"""(right, wrong or None for not graded; what was taken for the answer; a reason code)."""


class Work:
    """One job and what several protocols need of it, worked out once."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @cached_property
    def marked(self) -> str | None:
        """The marked final answer; "" where the mark is empty, None where nothing is marked."""
        return marks.final_answer(self.job.response, self.job.answer.type, len(self.job.answer.choices))

    @cached_property
    def strict(self) -> Outcome:
        """The outcome of the marked answer."""
        return self.compared(self.marked)

    def compared(self, said: str | None) -> Outcome:
        """The strict comparison of an answer with the gold."""
        if said is None or not said.strip():
            return False, said, Reason.NO_ANSWER
        right, reason = equivalence.compare(self.job.answer, said)
        return right, said, str(reason)


class Protocol:
    """Base of protocols. `version` changes with what counts; `seconds` is what a job may take where the usual deadline is
    too short, because the grader has time limits of its own."""

    key: ClassVar[str]
    version: ClassVar[int] = 1
    about: ClassVar[str] = ""
    """What counts as right, in one sentence."""
    source: ClassVar[str] = ""
    """Where the facts are from."""
    seconds: ClassVar[float] = 0.0
    imports: ClassVar[tuple[str, ...]] = ()
    """Modules that a worker imports before the job's clock starts."""

    def refuses(self, task: Any) -> str:
        """Why the protocol cannot grade this task, "" where it can."""
        return ""

    def grade(self, work: Work) -> Outcome:
        raise NotImplementedError


protocol: Registry[type[Protocol]] = Registry("protocol", "rewards.verifier.protocols", "rlfr_eval.protocols")
"""Registry of protocols: `@protocol.register("qwen-math")`."""


def parse(text: str) -> tuple[str, ...]:
    """`official,strict,qwen-math` as names, each once, in order. Raises ConfigError or UnknownNameError."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names):
        raise ConfigError(f"--protocol '{text}' has an empty name", "write --protocol official,strict")
    known = protocol.keys()
    for name in names:
        if name not in known:
            raise UnknownNameError(f"unknown protocol '{name}'", near(name, known) + " (rlfr-eval list protocols)")
    return names


def check(names: Sequence[str], task: Any) -> None:
    """Raises ConfigError for a protocol that cannot grade the task."""
    for name in names:
        why = protocol.get(name)().refuses(task)
        if why:
            raise ConfigError(f"--protocol {name} cannot grade {task.name}: {why}", "leave it out for this task")


def wanted(names: Sequence[str]) -> tuple[str, ...]:
    """Every protocol that grades a sample: those asked for, in order, and those that always do."""
    return tuple(dict.fromkeys((*names, *ALWAYS)))


def versions(names: Sequence[str]) -> dict[str, int]:
    """Versions of the graders of other suites among `names`, for the key of a result."""
    return {name: protocol.get(name).version for name in names if name not in ALWAYS}


def outcome(name: str, work: Work) -> tuple[Outcome | None, Exception | None]:
    """The outcome of one protocol, or the exception that it ended in."""
    return attempt(lambda: protocol.get(name)().grade(work))
