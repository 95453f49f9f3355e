"""The one builder of verifier jobs: a response to an example, handed to the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from harness.core.records import Example, Finish, Side, Status, Verdict
from harness.rollout.protocols import Grades
from rewards.verifier import audit
from rewards.verifier.grade import Job

PROTOCOLS = ("official", "strict")
TRAINING = ("strict",)
"""Training rewards by the strict protocol alone."""


def submit(
    verifier: Grades,
    example: Example,
    response: str,
    *,
    task: str,
    finish: str,
    extracted: str | None = None,
    protocols: Sequence[str] = PROTOCOLS,
) -> Future[dict[str, Verdict]]:
    """Verdicts on a response by each protocol, to come, and the second opinion where the item is audited.

    task: name and version, under which parsed golds are kept. finish: how the response ended. extracted: an extraction
    made elsewhere. A second opinion is a job of its own, so that it can neither change nor delay a verdict; it is only
    asked where the official protocol is.
    """
    job = Job(
        answer=example.answer,
        response=response,
        protocols=tuple(protocols),
        rule=example.rule,
        truncated=finish == Finish.LENGTH,
        extracted=extracted,
        task=task,
    )
    found = verifier.submit(job)
    if "official" not in protocols or not audit.chosen(example.id, audit.SHARE):
        return found
    return _both(found, verifier.submit(replace(job, protocols=(audit.PROTOCOL,))))


def ungraded(reason: str, protocols: Sequence[str] = PROTOCOLS) -> dict[str, Verdict]:
    """Verdicts where there is no response: UNGRADED on the instrument's side under every protocol."""
    return {p: Verdict(status=Status.UNGRADED, protocol=p, reason=reason, side=Side.INSTRUMENT) for p in protocols}


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
