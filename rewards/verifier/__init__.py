"""Responses in, verdicts out: the only place that decides whether an answer is right.

`pool.Verifier` sends jobs to worker processes (`worker`), which read the marked final answer (`marks`), compare it
with the typed gold (`equivalence`) and apply a benchmark's own rule (`grade`). Nothing here imports torch; only
`symbolic` imports math_verify and sympy.

A benchmark's own rule is a function named by `Job.rule` as `module:function`:

    official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]

It returns (right, wrong or None for not graded; what it took for the answer; a reason code) and runs in a worker.
`extracted` is an extraction recorded elsewhere that replaces the rule's own.
"""

from __future__ import annotations

import enum

VERSION = 3
"""Version of the strict rule; part of a result's key."""


class Reason(enum.StrEnum):
    """Why a verdict is what it is. Rules may add reasons of their own as plain strings."""

    MATCH = "match"
    MISMATCH = "mismatch"
    NO_ANSWER = "no_answer"
    """Nothing is marked as the final answer, or the mark is empty."""
    TRUNCATED = "truncated"
    """The response ended at the length limit before a final answer."""
    PARTIAL_PARSE = "partial_parse"
    """The answer is not wholly readable as mathematics; reading a part of it would be guessing."""
    DEADLINE = "deadline"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    """Numbers or memory beyond the caps."""
    GOLD_UNPARSEABLE = "gold_unparseable"
    WORKER_LOST = "worker_lost"
    RULE_FAILED = "rule_failed"


ANSWER_SIDE = frozenset({Reason.DEADLINE, Reason.TOO_LONG, Reason.TOO_DEEP, Reason.TOO_LARGE})
"""Reasons of UNGRADED verdicts that the reply itself caused."""
