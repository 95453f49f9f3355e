"""The gradient of one optimiser step, in three ways that give the same (tested for every method).

`single`: one optimiser step per rollout batch and no pass but `old`: signals are read from the training forward itself
and old = now.detach(). `grouped`: signals from a sweep, the loss called per micro-batch of whole groups, denominators of
the whole mini-batch. `coefficients`: the loss on the whole mini-batch gives d loss / d (logp, entropy); forward and
backward then run in micro-batches with these numbers; exact for any loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.core.config import Recipe
from harness.core.errors import TrainingError
from rewards import losses
from rewards.hooks import call_hook
from rewards.method import Batch, Method, Now, Pass, mean_of
from rewards.support.layers import layer_indices
from trainers.batching import MicroBatch, gather, scatter
from trainers.passes import Reading, fill, items, read
from trainers.policy import Output, Policy

START = Pass(name="start", weights="start")


@dataclass
class Tally:
    """What a step reports: summed loss terms, ratio statistics, rows that were in the backward pass.

    `forwarded`: the rows of the batch whose old log-probabilities this step read; None: those of all graded rows.
    """

    terms: dict[str, float] = field(default_factory=dict)
    ratio_sum: float = 0.0
    ratio_max: float = 0.0
    tokens: int = 0
    rows: int = 0
    forwarded: tuple[int, ...] | None = None

    def add(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + float(value.detach())

    def ratios(self, logp: Tensor, old: Tensor, mask: Tensor) -> None:
        values = losses.ratio(logp.detach(), old)[mask]
        if values.numel():
            self.ratio_sum += float(values.sum())
            self.ratio_max = max(self.ratio_max, float(values.max()))
            self.tokens += values.numel()


class Gradient:
    """Computes gradients of a method's loss into `policy.grad`, never stepping an optimiser."""

    def __init__(
        self,
        policy: Policy,
        method: Method,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.policy, self.method, self.recipe, self.seed = policy, method, recipe, seed
        self.budget, self.temperature = recipe.train.micro_batch_tokens, recipe.train.temperature

    def one_forward(self) -> bool:
        """Whether a single forward serves signals and gradient."""
        plain = all(p.weights == "old" and p.view is None and not p.tail for p in self.method.passes)
        own_steps = type(self.method).steps is not Method.steps
        single = self.recipe.train.mini_batches == 1 and not own_steps and not self.recipe.train.kl
        # the advantages of a micro-batch are those of the batch only where they are known before, or within a group
        apart = self.method.scope != "batch" or not self.method.advantage_needs_signals
        return single and plain and len(self.method.passes) == 1 and apart and self.method.loss_scope != "batch"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The method's terms and the recipe's KL penalty; a non-finite one stops the run."""
        cap = self.recipe.train.importance_cap
        if cap is not None:
            now = weighted(now, importance(batch.old_logp, batch.engine_logp, cap), batch.mask)
        terms = dict(call_hook(self.method, "loss", now, advantage, batch))
        if self.recipe.train.kl:
            penalty = losses.kl_k3(now.logp, batch.signals["start.logp"])
            # over all graded rows, also where the method's own mean runs over some of them
            terms["kl"] = self.recipe.train.kl * mean_of(penalty, batch, self.method.reduction)
        for name, value in terms.items():
            if not torch.isfinite(value):
                raise TrainingError(
                    f"loss term '{name}' of method '{self.method.key}' is {float(value.detach())} at step {batch.progress.step}",
                    "look at the last lines of train/metrics.jsonl; a lower learning rate or the method's clip bounds may help",
                )
        return terms

    # --- the three ways -------------------------------------------------------------------------------------------

    def single(self, batch: Batch) -> tuple[Batch, Tensor, Tally] | None:
        """One forward for everything; None when a group does not fit a micro-batch and must not be split."""
        early: Tensor | None = None
        if not self.method.advantage_needs_signals:
            with torch.no_grad():
                early = advantage_of(self.method, batch)
        rows = batch.graded.nonzero().squeeze(-1).tolist()
        pass_ = self.method.passes[0]
        if early is not None and self.method.inert and pass_.read is None:
            rows = [r for r in rows if bool((early[r] != 0).any())]
        plan = self.policy.plan(items(batch, rows), self.budget)
        if splits_groups(plan, batch) and (early is None or self.method.loss_scope != "row"):
            return None
        tally = Tally(rows=len(rows), forwarded=tuple(rows))
        signals: dict[str, Tensor] = {}
        advantage = torch.zeros(batch.ids.shape, device=batch.ids.device) if early is None else early
        layers = layer_indices(pass_.hidden, self.policy.layers)
        for mb in plan:
            index = torch.as_tensor(mb.rows, device=batch.ids.device)
            out = self.policy(mb, layers, self.temperature, pass_.head)
            values = read(self.method, pass_, out, mb, batch, Reading(self.policy, self.seed, self.temperature))
            fill(signals, values, mb.rows, batch, pass_)
            part = batch.select(index, keep_totals=True)
            part = part.with_signals({k: v[index.to(v.device)] for k, v in signals.items()})
            if early is None:
                with torch.no_grad():
                    advantage[index] = advantage_of(self.method, part)
            self._backward_part(out, mb, part, advantage[index], tally)
        return (batch.with_signals(signals) if signals else unread(batch)), advantage, tally

    def grouped(self, batch: Batch, advantage: Tensor) -> Tally | None:
        """The loss per micro-batch of whole groups; None when a group would be split and the loss must not be."""
        rows = self._active(batch, advantage)
        plan = self.policy.plan(items(batch, rows), self.budget)
        if splits_groups(plan, batch) and self.method.loss_scope != "row":
            return None
        tally = Tally(rows=len(rows))
        for mb in plan:
            index = torch.as_tensor(mb.rows, device=batch.ids.device)
            out = self.policy(mb, (), self.temperature)
            self._backward_part(out, mb, batch.select(index, keep_totals=True), advantage[index], tally)
        return tally

    def coefficients(self, batch: Batch, advantage: Tensor, first: bool) -> Tally:
        """Exact for any loss: one no-grad forward (none for the `first` mini-batch, where now is old), then backward."""
        rows = self._active(batch, advantage)
        if first:
            logp, entropy = batch.signals["old.logp"], batch.signals["old.entropy"]
        else:
            logp, entropy = self._values(batch, rows)
        logp, entropy = logp.clone().requires_grad_(), entropy.clone().requires_grad_()
        terms = self.loss(Now(logp, entropy), advantage, batch)
        tally = Tally()
        tally.add(terms)
        seen = torch.zeros_like(batch.graded)
        seen[rows] = True
        tally.ratios(logp, batch.old_logp, batch.mask & seen[:, None])
        gradients = torch.autograd.grad(sum(terms.values(), logp.sum() * 0), (logp, entropy), allow_unused=True)
        by_logp, by_entropy = (torch.zeros_like(logp) if g is None else g for g in gradients)
        kept = [r for r in rows if bool((by_logp[r] != 0).any() or (by_entropy[r] != 0).any())]
        tally.rows = len(kept)
        for mb in self.policy.plan(items(batch, kept), self.budget):
            index = torch.as_tensor(mb.rows, device=batch.ids.device)
            out = self.policy(mb, (), self.temperature)
            surrogate = (out.logp * gather(by_logp[index], mb)).sum() + (
                out.entropy * gather(by_entropy[index], mb)
            ).sum()
            surrogate.backward()
        return tally

    def _values(self, batch: Batch, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        signals: dict[str, Tensor] = {
            "now.logp": torch.zeros_like(batch.engine_logp),
            "now.entropy": torch.zeros_like(batch.engine_logp),
        }
        with torch.no_grad():
            for mb in self.policy.plan(items(batch, rows), self.budget):
                out = self.policy(mb, (), self.temperature)
                fill(
                    signals,
                    {"now.logp": scatter(out.logp, mb), "now.entropy": scatter(out.entropy, mb)},
                    mb.rows,
                    batch,
                )
        return signals["now.logp"], signals["now.entropy"]

    def _active(self, batch: Batch, advantage: Tensor) -> list[int]:
        """Rows that can have a gradient; denominators stay those of all rows."""
        rows = batch.graded.nonzero().squeeze(-1).tolist()
        if not self.method.inert or self.recipe.train.kl:
            return rows
        return [r for r in rows if bool((advantage[r] != 0).any())]

    def _backward_part(self, out: Output, mb: MicroBatch, part: Batch, advantage: Tensor, tally: Tally) -> None:
        width = part.ids.shape[1]
        now = Now(_wide(scatter(out.logp, mb), width), _wide(scatter(out.entropy, mb), width))
        terms = self.loss(now, advantage, part)
        tally.add(terms)
        tally.ratios(now.logp, part.old_logp, part.mask)
        total = sum(terms.values(), now.logp.sum() * 0)
        total.backward()


def unread(batch: Batch) -> Batch:
    """The batch of a step in which no row is in a forward pass: its readings are zeros, which no statistic counts."""
    zeros = torch.zeros_like(batch.engine_logp)
    return batch.with_signals({"old.logp": zeros, "old.entropy": zeros.clone()})


def importance(old_logp: Tensor, engine_logp: Tensor, cap: float) -> Tensor:
    """Weights [B, T] that make the engine's tokens count as the trainer's policy would have drawn them, truncated.

    min(pi_old / pi_engine, cap) per token, without gradient.
    Source: truncated importance sampling, Ionides 2008, as applied to rollout engines in TRL (PR 3867).
    """
    return losses.ratio(old_logp.detach(), engine_logp).clamp(max=cap)


def weighted(now: Now, weight: Tensor, mask: Tensor) -> Now:
    """The same values, of which the gradient of every token of the mask is multiplied by its weight [B, T].

    So the weights reach every term of a loss, also those that do not read the advantage.
    """
    factor = torch.where(mask, weight, 1.0)

    def scaled(values: Tensor) -> Tensor:
        fixed = values.detach()
        return fixed + factor * (values - fixed)

    return Now(scaled(now.logp), scaled(now.entropy))


def advantage_of(method: Method, batch: Batch) -> Tensor:
    """reward -> advantage -> shape, each checked for its shape; the last is finite and zero outside the mask."""
    rows, tokens = tuple(batch.group.shape), tuple(batch.ids.shape)
    reward = _sized(method, "reward", call_hook(method, "reward", batch), rows, "[B]")
    value = _sized(method, "advantage", call_hook(method, "advantage", reward, batch), tokens, "[B, T]")
    value = _sized(method, "shape", call_hook(method, "shape", value, batch), tokens, "[B, T]")
    value = torch.where(batch.mask, value, torch.zeros_like(value))
    if not torch.isfinite(value).all():
        raise TrainingError(
            f"method '{method.key}' returned a non-finite advantage at step {batch.progress.step}",
            "check reward, advantage and shape",
        )
    return value


def _sized(method: Method, hook: str, value: Any, shape: tuple[int, ...], named: str) -> Tensor:
    """The value, which must be a tensor of that shape. Raises TrainingError."""
    if not isinstance(value, Tensor):
        raise TrainingError(
            f"{hook}() of method '{method.key}' returned {type(value).__name__}, not a tensor {named} = {list(shape)}",
            f"return a tensor {named}",
        )
    if tuple(value.shape) != shape:
        raise TrainingError(
            f"{hook}() of method '{method.key}' returned a tensor {list(value.shape)}, not {named} = {list(shape)}",
            f"return {named}: B rollouts" + (", T the longest response" if len(shape) > 1 else ""),
        )
    return value


def splits_groups(plan: Sequence[MicroBatch], batch: Batch) -> bool:
    """Whether a group's rows stand in more than one micro-batch."""
    group = batch.group.tolist()
    homes: dict[int, int] = {}
    return any(homes.setdefault(group[row], place) != place for place, mb in enumerate(plan) for row in mb.rows)


def _wide(values: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))
