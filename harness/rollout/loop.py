"""Questions in, graded rollouts out: the one loop of training, validation and evaluation.

    asks -> rendered prompts (too long: ungraded, not asked) -> engine -> verifier -> graded rollouts, as they are graded

The engine is asked once for all of them and pulls the next prompt when a place is free, so prompts are rendered one by one
and memory holds those that are being answered or graded. Grading runs beside generation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from harness.core.errors import DataError, EngineError, attempt
from harness.core.records import Example, Finish, Prompt, Rollout, Sampling, Verdict
from harness.engines.base import Request
from harness.rollout.grading import PROTOCOLS, submit, ungraded
from harness.rollout.protocols import Tools, Verdicts

IN_GRADING = 1024
"""Rollouts that may wait for their verdicts before generation waits for the verifier."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One example and how it is to be answered.

    example: its id names the answers, so a call asks it once. sampling: n responses. prefix: response tokens already
    given. samples: the sample indices wanted; None for all n.
    """

    example: Example
    sampling: Sampling
    prefix: tuple[int, ...] = ()
    samples: tuple[int, ...] | None = None

    @property
    def wanted(self) -> tuple[int, ...]:
        return tuple(range(self.sampling.n)) if self.samples is None else self.samples


@dataclass(frozen=True, slots=True)
class Graded:
    """A rollout with its verdicts.

    rollout: empty where the prompt was too long, and says so; its verdicts are ungraded then. prompt: what the policy read;
    None for responses recorded elsewhere.
    """

    example: Example
    rollout: Rollout
    verdicts: Verdicts
    prompt: Prompt | None = None

    @property
    def too_long(self) -> bool:
        return self.rollout.finish is Finish.PROMPT_TOO_LONG


@dataclass(slots=True)
class _Asked:
    """A prompt in the engine's hands and the samples of it that have not come."""

    ask: Ask
    prompt: Prompt
    missing: set[int]


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A rollout in the verifier's hands."""

    asked: _Asked
    rollout: Rollout
    verdicts: Future[dict[str, Verdict]]


def unanswered(example: Example, index: int, finish: Finish) -> Rollout:
    """The rollout of a sample that no engine was asked for."""
    return Rollout(prompt_id=example.id, sample_index=index, token_ids=(), logprobs=(), finish=finish, text="")


@dataclass(frozen=True, slots=True)
class RolloutLoop:
    """The loop over one task's examples.

    tools: renderer, engine, verifier. max_prompt_tokens: longer prompts are not asked, nor those that fill the engine's
    context. task_version: part of the name
    under which the verifier keeps parsed golds. protocols: by which each response is graded.
    """

    tools: Tools
    max_prompt_tokens: int
    task_version: int = 1
    protocols: Sequence[str] = PROTOCOLS

    def run(self, asks: Iterable[Ask]) -> Iterator[Graded]:
        """Every wanted sample once, in the order in which grading ends.

        `asks` may be lazy. Where a prompt cannot be rendered nothing further is asked, what is under way is finished and
        given out, and then the renderer's error is raised. Raises EngineError for samples that are missing, came twice or
        are of more than one policy version, DataError for an example that is asked twice at a time.
        """
        return _Call(self, asks).graded()


@dataclass(slots=True)
class _Call:
    """One call of the loop: its state while the engine generates."""

    loop: RolloutLoop
    asks: Iterable[Ask]
    asked: dict[str, _Asked] = field(default_factory=dict)
    grading: deque[_Submitted] = field(default_factory=deque)
    refused: deque[Graded] = field(default_factory=deque)
    versions: set[int] = field(default_factory=set)
    failure: Exception | None = None

    def graded(self) -> Iterator[Graded]:
        try:
            for rollout in self.loop.tools.engine.generate(self._requests()):
                self._take(rollout)
                yield from self._ready(wait=False)
        except EngineError as error:  # what the engine did finish is not lost
            self.failure = error
        except KeyboardInterrupt:
            yield from self._ready(wait=False)
            raise
        yield from self._ready(wait=True)
        if self.failure is not None:
            raise self.failure
        if lost := sum(len(a.missing) for a in self.asked.values()):
            raise EngineError(f"{lost} samples are missing", "run again, which resumes")

    def _requests(self) -> Iterator[Request]:
        """Prompts for the engine, rendered as it pulls them."""
        tools = self.loop.tools
        for ask in self.asks:
            item = ask.example.id
            if item in self.asked:
                raise DataError(f"item {item} is asked twice in one call", "ask for more samples at once")
            prompt, self.failure = attempt(tools.renderer.render, ask.example)
            if self.failure is not None:
                return
            size, context = len(prompt.ids), tools.engine.context
            if size > self.loop.max_prompt_tokens or (context and size + len(ask.prefix) >= context):
                self._refuse(ask, prompt)
            else:
                self.asked[item] = _Asked(ask, prompt, set(ask.wanted))
                yield Request(prompt, ask.sampling, ask.prefix, ask.samples)

    def _refuse(self, ask: Ask, prompt: Prompt) -> None:
        """A prompt that is too long: its samples are ungraded by the instrument's fault."""
        verdicts = ungraded("prompt_too_long", self.loop.protocols)
        for index in ask.wanted:
            rollout = unanswered(ask.example, index, Finish.PROMPT_TOO_LONG)
            self.refused.append(Graded(ask.example, rollout, verdicts, prompt))

    def _take(self, rollout: Rollout) -> None:
        """Hand a rollout to the verifier; one that was not asked for (the log has it) is dropped."""
        item, index = rollout.prompt_id, rollout.sample_index
        self.versions.add(rollout.policy_version)
        if len(self.versions) > 1:
            raise EngineError(
                f"one call was answered by policy versions {sorted(self.versions)}", "sync between calls, not in one"
            )
        asked = self.asked.get(item)
        if asked is None or (index not in asked.missing and index in asked.ask.wanted):
            raise EngineError(f"sample {index} of item {item} came twice or unasked", "report the engine that was used")
        if index not in asked.missing:
            return
        asked.missing.discard(index)
        if not asked.missing and asked.ask.samples is None:
            del self.asked[item]
        example, tools = asked.ask.example, self.loop.tools
        name = f"{example.task} v{self.loop.task_version}"
        verdicts = submit(
            tools.verifier, example, rollout.text, task=name, finish=rollout.finish, protocols=self.loop.protocols
        )
        self.grading.append(_Submitted(asked, rollout, verdicts))

    def _ready(self, wait: bool) -> Iterator[Graded]:
        """What has been graded by now, and with `wait` all of it; where too much waits, the oldest is waited for."""
        while self.refused:
            yield self.refused.popleft()
        for _ in range(len(self.grading)):
            item = self.grading.popleft()
            if wait or item.verdicts.done() or len(self.grading) >= IN_GRADING:
                yield Graded(item.asked.ask.example, item.rollout, item.verdicts.result(), item.asked.prompt)
            else:
                self.grading.append(item)
