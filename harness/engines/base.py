"""What every engine does: prompts in, rollouts out as they finish, new weights in.

One engine per rank serves training, validation and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import ConfigError
from harness.core.records import Prompt, Rollout, Sampling
from harness.core.registry import Registry

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Request:
    """`sampling.n` responses to one prompt.

    prompt: what the policy reads. sampling: how tokens are drawn. prefix: response tokens already given, to be continued.
    samples: the sample indices that are still wanted, None for all n; an engine that draws the n together may return all.
    """

    prompt: Prompt
    sampling: Sampling
    prefix: tuple[int, ...] = ()
    samples: tuple[int, ...] | None = None


class Engine:
    """Base of engines. `version` is the policy version of the weights in use; every rollout carries it."""

    key: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    """Settings of its own that `open` takes by name."""
    version: int = 0
    context: int = 0
    """Most tokens of a prompt and its response together; 0 where it is not known."""

    @classmethod
    def open(
        cls, path: str | Path, revision: str | None = None, dtype: str = "float32", device: str = "cpu", batch: int = 64
    ) -> Engine:
        """An engine over the policy at `path`. Raises ModelError, EngineError; ConfigError where it runs no policy."""
        raise ConfigError(f"engine '{cls.key}' runs no policy", "use --engine auto")

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        """Rollouts in the order in which they finish. Raises EngineError, never returns a partial response as whole.

        Requests are pulled as places become free, so an iterator may render thousands of prompts one by one. Which tokens
        answer a request does not depend on the others (but see vLLM's CPU build).
        """
        raise NotImplementedError

    def sync(self, tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take the policy's weights (full, merged, hub-named), checked strictly against the engine's names."""
        raise NotImplementedError

    def rest(self) -> None:
        """Give memory to the trainer until the next `sync`; an engine that cannot, or need not, does nothing."""

    def describe(self) -> dict[str, Any]:
        """What goes into a result's key: engine name, library versions, dtype."""
        raise NotImplementedError

    def close(self) -> None:
        """Release memory. Calling it twice is harmless."""


def incoming(requests: Iterable[Request], check: Callable[[Request], None]) -> Iterator[Request]:
    """The requests, each checked when an engine pulls it for a free place; those of a sequence are checked at once, before
    any work. Pulling one ahead of need would render its prompt too early.

    check: raises EngineError for a request that cannot be answered.
    """
    if isinstance(requests, Sequence):
        for request in requests:
            check(request)
        return iter(requests)

    def checked() -> Iterator[Request]:
        for request in requests:
            check(request)
            yield request

    return checked()


engine: Registry[type[Engine]] = Registry("engine", "harness.engines")
"""Registry of engines: `@engine.register("transformers")`."""
