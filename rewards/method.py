"""The contract of a method: hooks from prompts to loss. One module per method in rewards/methods/.

Every hook has a default, so a method overrides only what it changes. Shapes: B rollouts (groups may be ragged), T longest
response, float32. Every rank sees the whole batch in `reward` .. `loss` and runs the same code, so no method contains
a collective. Nothing here draws from the global random stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_type_hints

import torch
from torch import Tensor

from harness.core.errors import ConfigError, TrainingError, near
from harness.core.records import Example, Prompt, PromptStyle, Rollout, Sampling, Verdict
from harness.core.registry import Registry
from rewards import losses
from rewards.support.signals import Chunk as Chunk
from rewards.support.signals import Pass as Pass
from rewards.support.signals import Row as Row
from rewards.support.signals import View as View

Scope = Literal["row", "group", "batch"]
"""What a number of a row depends on: the row alone, the rollouts of its prompt, all rollouts at hand."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Denominators of the whole mini-batch over all ranks: graded rollouts, their response tokens, their groups; and how
    many of the rollouts and of the tokens belong to truncated responses, for methods that leave these out."""

    rollouts: float
    tokens: float
    groups: float
    truncated_rollouts: float = 0.0
    truncated_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where training stands. Schedules go by `fraction`, which follows the run's budget, be it steps or sampled tokens."""

    step: int = 0
    """Steps done, from 0."""
    total: int = 1
    """Steps of the recipe; under a budget of tokens the run may end earlier or later."""
    spent: float | None = None
    """Share of the sampled tokens' budget used before this step; None where the budget is steps."""
    epoch: float = 0.0
    validation: float | None = None
    gradients: Mapping[str, float] = field(default_factory=dict)
    """Gradient norm of the last step, by name."""

    @property
    def fraction(self) -> float:
        """Share of training done before this step, in [0, 1]."""
        return min(1.0, self.step / max(self.total, 1) if self.spent is None else self.spent)

    @property
    def fraction_after(self) -> float:
        """Share of training done once this step is; a step is taken to cost as many tokens as those before it did."""
        if self.spent is None or not self.step:
            return min(1.0, (self.step + 1) / max(self.total, 1))
        return min(1.0, self.spent * (self.step + 1) / self.step)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The rollouts of a step and what is known of them. Tensors are on one device and never carry a gradient.

    components: by rollout, the raw value of every reward component; weights: the recipe's weight of each, 0 where it has
    none. ids, mask [B, T]; group [B] numbers the groups from 0; outcome [B] 1 for CORRECT, else 0, always clean;
    base_reward [B] the recipe's weighted components; graded [B] False where the instrument failed: such rows leave
    statistics, mask and denominators (`mask` is already False there); truncated [B]; cluster [B] equal answers within a
    group; spans[name] [B, 2] token ranges of think, answer and the inside of the last box (-1 where absent); engine_logp
    [B, T] what the engine said; ratio_cap: the recipe's upper bound of importance ratios, for `losses.ratio`.
    """

    prompts: tuple[Prompt, ...]
    examples: tuple[Example, ...]
    rollouts: tuple[Rollout, ...]
    verdicts: tuple[Verdict, ...]
    components: tuple[Mapping[str, float], ...]
    ids: Tensor
    mask: Tensor
    engine_logp: Tensor
    group: Tensor
    outcome: Tensor
    base_reward: Tensor
    graded: Tensor
    truncated: Tensor
    cluster: Tensor
    spans: Mapping[str, Tensor]
    totals: Totals
    progress: Progress
    weights: Mapping[str, float] = field(default_factory=lambda: {"outcome": 1.0})
    mini_batches: int = 1
    max_new_tokens: int = 1
    ratio_cap: float | None = None
    signals_ready: bool = True
    stored: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def signals(self) -> Mapping[str, Tensor]:
        """`pass.key` -> tensor [B, ...] or [B, T, ...], where the reader left it. Raises TrainingError before the passes
        have run."""
        if not self.signals_ready:
            raise TrainingError(
                "a signal was read before the forward pass that makes it",
                "a method whose reward, advantage or shape reads batch.signals declares advantage_needs_signals = True",
            )
        return self.stored

    @property
    def old_logp(self) -> Tensor:
        """Log-probabilities [B, T] of the policy that is being updated from, by the trainer's own forward."""
        return self.signals["old.logp"]

    def weight_of(self, component: str) -> float:
        """The recipe's weight of a reward component; 0 for one that it does not name."""
        return self.weights.get(component, 0.0)

    @property
    def lengths(self) -> Tensor:
        """Response tokens per rollout [B]."""
        return self.mask.sum(-1)

    def keys(self) -> tuple[str, ...]:
        return tuple(f"{r.prompt_id}#{r.sample_index}" for r in self.rollouts)

    def with_signals(self, signals: Mapping[str, Tensor]) -> Batch:
        return replace(self, stored={**self.stored, **signals}, signals_ready=True)

    def select(self, rows: Tensor, keep_totals: bool = False) -> Batch:
        """The given rows, groups renumbered. A mini-batch gets totals of its own; a micro-batch keeps them."""
        index = rows.tolist()
        _, group = torch.unique(self.group[rows], return_inverse=True)
        tensors = ("ids", "mask", "engine_logp", "outcome", "base_reward", "graded", "truncated", "cluster")
        changed: dict[str, Any] = {name: getattr(self, name)[rows] for name in tensors}
        for name in ("prompts", "examples", "rollouts", "verdicts", "components"):
            changed[name] = tuple(getattr(self, name)[i] for i in index)
        part = replace(
            self,
            **changed,
            group=group,
            spans={k: v[rows] for k, v in self.spans.items()},
            stored={k: v[rows.to(v.device)] for k, v in self.stored.items()},
        )
        return part if keep_totals else replace(part, totals=totals(part.mask, part.graded, part.group, part.truncated))


def totals(mask: Tensor, graded: Tensor, group: Tensor, truncated: Tensor | None = None) -> Totals:
    """Denominators of these rows: only graded ones count. truncated [B]: None where no row is."""
    cut = torch.zeros_like(graded) if truncated is None else graded & truncated
    return Totals(
        rollouts=float(graded.sum()),
        tokens=float(mask[graded].sum()),
        groups=float(torch.unique(group[graded]).numel()),
        truncated_rollouts=float(cut.sum()),
        truncated_tokens=float(mask[cut].sum()),
    )


@dataclass(frozen=True, slots=True)
class Now:
    """The policy at this optimiser step, with gradient: logp, entropy [B, T]."""

    logp: Tensor
    entropy: Tensor


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


def mean_of(values: Tensor, batch: Batch, reduction: str) -> Tensor:
    """Values [B, T] as a scalar, over all graded rows of the mini-batch that the rows belong to."""
    total = batch.totals
    return losses.reduce_tokens(values, batch.mask, reduction, total.rollouts, total.tokens, batch.max_new_tokens)


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
