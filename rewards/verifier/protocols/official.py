"""The official protocol: what a benchmark's authors count, on any prompt of ours.

Thinking is removed, then the task's own rule reads what is left: first the marks that our prompts ask for, then as its
authors wrote it (tasks/*.py, `official`). A task without a rule of its own is graded strictly.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rewards.verifier.answers.thinking import visible
from rewards.verifier.protocols import Outcome, Protocol, Work, protocol


@protocol.register("official")
class Official(Protocol):
    """The benchmark's own answer rule, behind the marks of our prompts."""

    about = "what the benchmark's authors count: the marks of our prompts first, then their rule"
    source = "the task's file"

    def grade(self, work: Work) -> Outcome:
        job = work.job
        if not job.rule:
            return work.strict if job.extracted is None else work.compared(job.extracted)
        found: Outcome = rule(job.rule)(job.answer, spoken(job.response), job.extracted)
        return found


def rule(name: str) -> Callable[..., Any]:
    """The function of `module:function`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def spoken(response: str) -> str:
    """A response without its reasoning; "" where the reasoning never ends."""
    seen = visible(response)
    return "" if seen.open else seen.text
