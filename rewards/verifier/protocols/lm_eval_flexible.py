"""lm-eval's `flexible-extract` on GSM8K: the last number of the whole reply, compared as a string.

EleutherAI/lm-evaluation-harness, tasks/gsm8k/gsm8k.yaml (version 3): the last match of `(-?[$0-9.,]{2,})|(-?[0-9]+)`; exact
match after commas, dollar signs, everything up to "#### " and a final full stop are removed on both sides.
"""

from __future__ import annotations

import re
from typing import Any

from harness.core.records import AnswerType
from rewards.verifier import Reason
from rewards.verifier.protocols import Outcome, Protocol, Work, protocol

_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


@protocol.register("lm-eval-flexible")
class LmEvalFlexible(Protocol):
    """The last number of the reply, as lm-eval's flexible filter takes it."""

    about = "the last number of the whole reply, compared as a string"
    source = "EleutherAI/lm-evaluation-harness lm_eval/tasks/gsm8k/gsm8k.yaml"

    def refuses(self, task: Any) -> str:
        return "" if task.modality == "language" else "the filter belongs to word problems with a number as answer"

    def grade(self, work: Work) -> Outcome:
        if work.job.answer.type not in (AnswerType.INTEGER, AnswerType.FLOAT):
            return None, None, "not_a_number"
        found = _NUMBER.findall(work.job.response)
        if not found:
            return False, None, Reason.NO_ANSWER
        right = plain(found[-1]) in map(plain, work.job.answer.golds)
        return right, found[-1], Reason.MATCH if right else Reason.MISMATCH


def plain(text: str) -> str:
    """A string without what the metric ignores."""
    return re.sub(r"[,$]|(?s:.*#### )|\.$", "", text).lower()
