"""The one builder of verifier jobs: a response to an example, handed to the verifier."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from harness.core.records import Example, Finish, Side, Status, Verdict
from harness.rollout.protocols import Grades
from rewards.verifier import audit
from rewards.verifier.jobs import Job
from rewards.verifier.protocols import ALWAYS, protocol

PROTOCOLS = ALWAYS
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
    made elsewhere. The graders of other suites and the second opinion are jobs of their own, so that they can neither
    change nor delay a verdict; an opinion is only asked where the official protocol is.
    """
    job = Job(
        answer=example.answer,
        response=response,
        protocols=tuple(name for name in protocols if name in ALWAYS),
        rule=example.rule,
        truncated=finish == Finish.LENGTH,
        extracted=extracted,
        task=task,
    )
    others = [name for name in protocols if name not in ALWAYS]
    jobs = [job] if job.protocols else []
    jobs += [replace(job, protocols=(name,), seconds=protocol.get(name).seconds) for name in others]
    if "official" in protocols and audit.chosen(example.id, audit.SHARE):
        jobs.append(replace(job, protocols=(audit.PROTOCOL,)))
    return together([verifier.submit(job) for job in jobs])


def ungraded(reason: str, protocols: Sequence[str] = PROTOCOLS) -> dict[str, Verdict]:
    """Verdicts where there is no response: UNGRADED on the instrument's side under every protocol."""
    return {p: Verdict(status=Status.UNGRADED, protocol=p, reason=reason, side=Side.INSTRUMENT) for p in protocols}


def together(parts: Sequence[Future[dict[str, Verdict]]]) -> Future[dict[str, Verdict]]:
    """The verdicts of several jobs on one response; what stops one of them stops all."""
    if len(parts) == 1:
        return parts[0]
    whole: Future[dict[str, Verdict]] = Future()
    left, lock = [len(parts)], threading.Lock()

    def settle(_: object) -> None:
        with lock:
            left[0] -= 1
            if left[0]:
                return
        if any(part.cancelled() for part in parts):
            whole.cancel()
        elif (error := next((e for part in parts if (e := part.exception())), None)) is not None:
            whole.set_exception(error)
        else:
            whole.set_result({name: verdict for part in parts for name, verdict in part.result().items()})

    for part in parts:
        part.add_done_callback(settle)
    return whole
