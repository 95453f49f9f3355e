"""A renderer, an engine and a verifier that do nothing heavy, for tests of what lies between them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from harness.core.records import Answer, AnswerType, Example, Finish, Prompt, Rollout, Side, Status, Verdict
from harness.engines.base import Engine, Request
from tasks.base import user


def example(item: str, gold: str = "1", note: str = "", **metadata: Any) -> Example:
    return Example(
        id=item,
        task="toy-test",
        messages=user(f"what is {item}?"),
        answer=Answer(type=AnswerType.INTEGER, golds=(gold,)),
        note=note,
        metadata=metadata,
    )


class Letters:
    """Renders a question as one token per character."""

    hash = "letters-1"

    def __init__(self) -> None:
        self.rendered: list[str] = []

    def render(self, item: Example) -> Prompt:
        self.rendered.append(item.id)
        ids = tuple(map(ord, item.question))
        return Prompt(example_id=item.id, ids=ids, engine_ids=ids, text=item.question, template_hash=self.hash)


class Slow(Engine):
    """Answers with `item*sample mod 3`, `seconds` apart, last prompt first (so that order is no accident)."""

    def __init__(self, seconds: float = 0.0, stop_after: int | None = None) -> None:
        self.seconds, self.stop_after, self.asked = seconds, stop_after, list[tuple[str, int]]()

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        for request in reversed(list(requests)):
            for index in range(request.sampling.n) if request.samples is None else request.samples:
                if self.stop_after is not None and len(self.asked) >= self.stop_after:
                    raise KeyboardInterrupt
                time.sleep(self.seconds)
                item = request.prompt.example_id
                self.asked.append((item, index))
                text = str(int(item) * (index + 1) % 3)
                yield Rollout(
                    prompt_id=item,
                    sample_index=index,
                    token_ids=tuple(range(int(item) % 5 + 1)),
                    logprobs=(0.0,) * (int(item) % 5 + 1),
                    finish=Finish.STOP,
                    text=text,
                    sampling=request.sampling,
                )

    def describe(self) -> dict[str, Any]:
        return {"engine": "slow"}


class Exact:
    """Equal text is right; an empty response is ungraded by its own fault, `lost` by the instrument's."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay, self.pool, self.jobs = delay, ThreadPoolExecutor(2), list[Any]()

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        self.jobs.append(job)
        return self.pool.submit(self._grade, job)

    def clusters(self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        names = list(dict.fromkeys(answers))
        return [names.index(a) for a in answers]

    def _grade(self, job: Any) -> dict[str, Verdict]:
        time.sleep(self.delay)
        return {p: self._verdict(job, p) for p in job.protocols}

    def _verdict(self, job: Any, protocol: str) -> Verdict:
        text = job.response
        if text in ("", "lost"):
            side = Side.INSTRUMENT if text else Side.ANSWER
            return Verdict(status=Status.UNGRADED, protocol=protocol, reason=text or "caps", side=side)
        right = text in job.answer.golds and (protocol == "official" or text != "0")
        status = Status.CORRECT if right else Status.INCORRECT
        return Verdict(status=status, protocol=protocol, reason="equal" if right else "different", extracted=text)
