"""math-verify as it comes: its parser on the whole reply, its comparison, its own time limits of 5 seconds each.

The gold is wrapped in `$`, as the library asks for a gold in LaTeX; of several golds any one counts. A time limit that the
library itself reaches is wrong, as it is there; a reply that holds it up beyond that ends with its worker and is not graded.
"""

from __future__ import annotations

import signal
from typing import Any

from harness.core.records import AnswerType
from rewards.verifier import Reason
from rewards.verifier.protocols import Outcome, Protocol, Work, protocol


@protocol.register("math-verify")
class MathVerify(Protocol):
    """The math-verify library with its default settings."""

    about = "math_verify.verify(parse(gold), parse(reply)) with the library's defaults"
    source = "huggingface/Math-Verify (PyPI math-verify)"
    seconds = 16.0
    imports = ("math_verify",)

    def refuses(self, task: Any) -> str:
        return "" if task.modality == "language" else "the library reads mathematics, no option letters"

    def grade(self, work: Work) -> Outcome:
        from math_verify import parse, verify

        alarm = signal.getitimer(signal.ITIMER_REAL)
        try:
            said = parse(work.job.response)
            right = any(verify(parse(gold), said) for gold in golds(work))
        finally:  # the library's time limits use the alarm that guards this worker
            signal.setitimer(signal.ITIMER_REAL, *alarm)
        taken = str(said[-1]) if said else None
        return right, taken, Reason.MATCH if right else Reason.MISMATCH if said else Reason.NO_ANSWER


def golds(work: Work) -> list[str]:
    """Golds in a LaTeX environment; a list is one gold."""
    answer = work.job.answer
    found = [", ".join(answer.golds)] if answer.type is AnswerType.LIST else list(answer.golds)
    return [f"${gold}$" for gold in found]
