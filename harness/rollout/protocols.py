"""What the rollout loop needs of its parts, as protocols: a renderer, an engine, a verifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from harness.core.records import AnswerType, Example, Prompt, Verdict
from harness.engines.base import Engine
from rewards.verifier.jobs import Job


class Renders(Protocol):
    """Writes an example as the tokens that a policy reads. `hash`: digest of template, style and pixel budget."""

    @property
    def hash(self) -> str: ...

    def render(self, example: Example) -> Prompt:
        """The prompt of an example. Raises ImageError for a broken image, DataError for an example it cannot write."""
        ...


class Encodes(Renders, Protocol):
    """A renderer that also gives single texts as tokens and back, for training."""

    def render_solution(self, example: Example) -> tuple[int, ...]:
        """Token ids of the worked solution as the policy would have answered it."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text without any template."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


class Grades(Protocol):
    """Compares responses with golds, in processes of its own."""

    def submit(self, job: Job) -> Future[dict[str, Verdict]]:
        """Verdicts by protocol, to come."""
        ...

    def clusters(self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        """Class numbers [n] of equal extracted answers."""
        ...


class Tracks(Protocol):
    """Takes the numeric metrics of a step."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """The three objects that training and evaluation share.

    renderer: examples to prompts. engine: prompts to rollouts. verifier: rollouts to verdicts.
    """

    renderer: Renders
    engine: Engine
    verifier: Grades


Verdicts = Mapping[str, Verdict]
"""Verdicts on one response by protocol."""
