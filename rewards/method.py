"""The contract of a method: hooks from prompts to loss. One module per method in rewards/methods/.

Every hook has a default, so a method overrides only what it changes. Shapes: B rollouts (groups may be ragged), T longest
response, float32. Every rank sees the whole batch in `reward` .. `loss` and runs the same code, so no method contains
a collective. Nothing here draws from the global random stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_type_hints

import torch
from torch import Tensor

from harness.core.errors import ConfigError, near
from harness.core.records import Example, Prompt, PromptStyle, Rollout, Sampling, Verdict
from harness.core.registry import Registry
from rewards import losses
from rewards.batch import Batch as Batch
from rewards.batch import Now as Now
from rewards.batch import Progress as Progress
from rewards.batch import Totals as Totals
from rewards.batch import mean_of as mean_of
from rewards.batch import totals as totals
from rewards.support.signals import Chunk as Chunk
from rewards.support.signals import Pass as Pass
from rewards.support.signals import Row as Row
from rewards.support.signals import View as View

Scope = Literal["row", "group", "batch"]
"""What a number of a row depends on: the row alone, the rollouts of its prompt, all rollouts at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A request to the sampler: n responses to `example` (None: the recipe's group size and sampling).

    `train_example`: train on another rendering than the one sampled from; `train` False: a probe, kept out of the batch.
    """

    example: Example
    n: int | None = None
    sampling: Sampling | None = None
    prefix: tuple[int, ...] = ()
    train_example: Example | None = None
    train: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The graded responses to one prompt. `components` holds the named reward components of each."""

    example: Example
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    verdicts: tuple[Verdict, ...]
    components: tuple[Mapping[str, float], ...]
    train: bool = True


class Draws(Protocol):
    """What `collect` samples with. A resumed run repeats both calls: they are functions of run seed, step and call."""

    def __call__(self, draws: Sequence[Draw]) -> list[Group]:
        """Renders, samples and grades; a group for every draw whose prompt is not too long, in their order."""
        ...

    def further(self, count: int) -> list[Example]:
        """At most `count` further prompts of the training set, none of which this step has had; fewer where it is used up."""
        ...


class Context(Protocol):
    """What the trainer offers to `setup` and `learn`."""

    seed: int
    device: torch.device
    hidden_size: int
    layers: int
    resumed: bool
    total_steps: int
    policy_steps: int
    """Optimiser steps that the policy takes per rollout batch."""
    policy_digest: str
    """Content identity of the start policy and of how prompts are rendered for it, for caches."""
    cache: Path
    expert_tokens: int
    """Most tokens of an expert prompt with its solution; what is beyond is cut."""
    cut: dict[str, int]
    """Tokens that scanned expert solutions lost to that bound, by item."""

    def expert(self) -> list[Example]:
        """The recipe's expert examples; each has a `solution`."""
        ...

    def scan(self, examples: Sequence[Example], pass_: Pass) -> Iterator[Chunk]:
        """Worked solutions through the frozen policy; only solution tokens are in `mask`."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text; control tokens in it are read as text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The verifier's view of token ids."""
        ...

    def render(self, example: Example) -> Prompt:
        """The prompt of an example, as in training."""
        ...

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
        """Backward, clip, step, zero; returns the gradient norm. Raises TrainingError for a non-finite loss."""
        ...

    def track(self, items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
        """A progress bar around `items`."""
        ...


FAMILIES: Mapping[str, str] = {
    "estimator": "how advantages are estimated and how ratios are clipped",
    "token level": "which tokens of a response learn, and how much",
    "reward level": "what a response earns",
    "sampling": "which responses a step is made of",
    "multimodal": "what a policy does with an image",
}
"""Families of methods, by what they change."""


class Method:
    """Base of methods; as it stands it is GRPO with a clipped surrogate. Options are annotated class attributes.

    Class attributes `provenance` (where the formula was read), `paper` and `identity` (`(base key, overrides)` under
    which the method equals its base, or None) describe the method. `inert`: a row whose advantages are all zero has no
    gradient, so that the trainer may leave it out of the backward pass.
    """

    key: ClassVar[str]
    paper: ClassVar[str] = ""
    provenance: ClassVar[str] = ""
    family: ClassVar[str] = ""
    """What of GRPO the method changes; one of FAMILIES, and the heading under which docs/methods/index.md lists it."""
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = None
    trains: ClassVar[bool] = True
    inert: ClassVar[bool] = True
    prompt: ClassVar[PromptStyle | None] = None
    paper_recipe: ClassVar[Mapping[str, Any]] = {}
    """Recipe values of the method's paper, applied only under --paper: `{"train.group_size": 16}`."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    eps: float = 1e-6
    reduction: Literal["rollout", "token", "constant"] = "rollout"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = vars(cls)
        _demand_annotations(cls)
        if ("loss" in own or "reduce" in own) and "loss_scope" not in own:
            cls.loss_scope = property(lambda self: self.scope)  # type: ignore[assignment, method-assign]

    def __init__(self, **options: Any) -> None:
        known = self.options()
        for name, value in options.items():
            if name not in known:
                raise ConfigError(f"method '{self.key}' has no option '{name}'", near(name, known))
            setattr(self, name, _typed(self.key, name, value, known[name]))
        self.networks: dict[str, torch.nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.spared_seconds = 0.0  # of work that a cache did for this run; it counts as training time all the same

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option names and their types."""
        hints = get_type_hints(cls)
        return {
            n: h for n, h in hints.items() if not n.startswith("_") and "ClassVar" not in str(h) and hasattr(cls, n)
        }

    def settings(self) -> dict[str, Any]:
        """Option values in use."""
        return {name: getattr(self, name) for name in self.options()}

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old"),)

    @property
    def scope(self) -> Scope:
        """Over what the statistics of reward, advantage and shape run (and of the loss, where `loss_scope` says no
        less); with `loss_scope` it decides which of the three equal ways of a step is taken."""
        return "group"

    @property
    def advantage_needs_signals(self) -> bool:
        """Whether reward, advantage or shape reads `batch.signals`. Where they do not, the trainer knows the advantages
        before the forward pass and leaves rows without one out of it."""
        return False

    @property
    def loss_scope(self) -> Scope:
        """On what the loss of a row depends beside `batch.totals`: that row alone, its group, the whole mini-batch.

        A class that writes `loss` or `reduce` without this beside it is taken to need as much as `scope` says; one whose
        loss needs less declares it, which spares a forward pass per mini-batch.
        """
        return "row"

    @property
    def uses_expert(self) -> bool:
        """Whether `setup` reads the recipe's expert solutions; they are part of the run's identity then."""
        return False

    def setup(self, ctx: Context) -> None:
        """Once, also before a resume: build `networks` and `optimisers`."""

    def collect(self, draw: Draws, prompts: Sequence[Example], progress: Progress) -> list[Group]:
        """Rollouts of this step; may call `draw` again, and ask `draw.further(n)` for more prompts."""
        return draw([Draw(example=e) for e in prompts])

    def reward(self, batch: Batch) -> Tensor:
        """[B]; the recipe's components unless the method shapes them."""
        return batch.base_reward

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        """[B, T]; group-normalised over graded rows."""
        value = losses.group_normalise(reward, batch.group, batch.graded, self.eps)
        return value[:, None] * batch.mask

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        """[B, T]; dense rewards, token weights, masks."""
        return advantage

    def steps(self, batch: Batch, advantage: Tensor) -> Iterable[tuple[Batch, Tensor]]:
        """One optimiser step each: whole groups, in order, split into the recipe's number of mini-batches."""
        count = int(batch.group.max().item()) + 1
        for part in torch.arange(count, device=batch.group.device).tensor_split(min(batch.mini_batches, count)):
            rows = torch.isin(batch.group, part).nonzero().squeeze(-1)
            yield batch.select(rows), advantage[rows]

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named scalars that are summed. Denominators come from `batch.totals`."""
        surrogate = losses.clipped_surrogate(
            now.logp, batch.old_logp, advantage, self.clip_low, self.clip_high, batch.ratio_cap
        )
        return {"policy": self.reduce(surrogate, batch)}

    def reduce(self, values: Tensor, batch: Batch) -> Tensor:
        """Values [B, T] as the scalar that `reduction` names; the denominators are the mini-batch's."""
        return mean_of(values, batch, self.reduction)

    def learn(self, batch: Batch, ctx: Context) -> dict[str, float]:
        """Train the method's own networks, once per rollout batch; returns metrics."""
        return {}

    def derived(self, signals: Mapping[str, Tensor], mask: Tensor) -> Mapping[str, Tensor]:
        """What the method makes of logged signals [B, T], token by token, for people to look at; trains nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimisers; a method with further state adds it."""
        return {
            "networks": {k: v.state_dict() for k, v in self.networks.items()},
            "optimisers": {k: v.state_dict() for k, v in self.optimisers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Strict: a missing or extra network is an error."""
        for kind in ("networks", "optimisers"):
            mine, given = getattr(self, kind), state[kind]
            if set(mine) != set(given):
                raise ConfigError(
                    f"checkpoint of method '{self.key}' has {kind} {sorted(given)}, expected {sorted(mine)}",
                    "start a new run",
                )
            for name, item in mine.items():
                item.load_state_dict(given[name])


def _demand_annotations(cls: type) -> None:
    """Every public value of a method's class is an option or a ClassVar: one without annotation would be neither."""
    annotated = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    for name, value in vars(cls).items():
        plain = not callable(value) and not hasattr(type(value), "__get__")
        if plain and not name.startswith("_") and name not in annotated:
            raise ConfigError(
                f"class {cls.__name__} in {cls.__module__}: '{name}' has no annotation, so it is no option",
                f"write `{name}: {type(value).__name__} = {value!r}` for an option, `ClassVar[...]` for a constant",
            )


def _typed(key: str, name: str, value: Any, annotation: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise ConfigError(
            f"option '{name}' of method '{key}': {error.errors()[0]['msg']} (got {value!r})", f"it is {annotation}"
        ) from error


method: Registry[type[Method]] = Registry("method", "rewards.methods", "rlfr_eval.methods")
"""Registry of methods: `@method.register("grpo")`."""
