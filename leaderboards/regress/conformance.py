"""What every method promises, as checks: a way to build the method and rollouts with their signals in, named outcomes out.

Each property takes a `Subject` and a `Batch` and returns "" where it holds, else what is wrong. `check` runs all of them on
cases from small to large, so that a failure is shown on the smallest one. Code of a method that raises fails the property
that was being tried.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from harness.core.errors import attempt
from leaderboards.regress.odd import ODD
from rewards.method import Batch, Method, Now
from rewards.support.seeds import stable_hash
from trainers.passes import TAIL

Status = Literal["holds", "fails", "skipped"]
RTOL, ATOL = 1e-4, 1e-5


@dataclass(frozen=True, slots=True)
class Outcome:
    """One checked promise. `part` is contract, cost, learning or pinned; `detail` says where and what."""

    part: str
    name: str
    status: Status
    detail: str = ""


class NotApplicable(Exception):
    """The property says nothing about this method; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A method under test. `make(**options)`: a fresh one, set up; `other(key)`: another registered one, set up.

    `sweep(method, batch)`: the batch with the method's own readings of a policy, `context`: what its `learn` gets, and
    `ways(method, batch)`: the policy's gradient by each way of a step; None where there is no policy. `apart`: relative
    distance of those gradients that rounding may make.
    """

    make: Callable[..., Method]
    other: Callable[[str], Method]
    sweep: Callable[[Method, Batch], Batch] | None = None
    context: Any = None
    ways: Callable[[Method, Batch], Mapping[str, Tensor]] | None = None
    apart: float = 1e-4


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a method makes of a batch: advantage [B, T], summed loss, d loss / d logp [B, T]."""

    advantage: Tensor
    loss: Tensor
    gradient: Tensor


def drift(batch: Batch) -> Tensor:
    """[B, T] by how much the policy has moved since the rollouts: a function of rollout and position alone."""
    keys = batch.keys()
    phase = torch.tensor([float(stable_hash("drift", key) % 1000) for key in keys])
    return 0.4 * torch.sin(12.9898 * phase[:, None] + 78.233 * torch.arange(batch.ids.shape[1])[None])


def advantages(made: Method, batch: Batch) -> Tensor:
    """reward -> advantage -> shape as the trainer calls them, zero outside the mask."""
    with torch.no_grad():
        value = made.shape(made.advantage(made.reward(batch), batch), batch)
    if value.shape != batch.mask.shape:
        raise ValueError(f"advantages are {tuple(value.shape)}, not {tuple(batch.mask.shape)}")
    return torch.where(batch.mask, value, torch.zeros_like(value))


def loss_of(made: Method, batch: Batch, advantage: Tensor) -> tuple[Tensor, Tensor]:
    """(summed loss, its gradient [B, T]) with a policy that has moved away from the old one."""
    logp = (batch.old_logp + drift(batch)).requires_grad_()
    entropy = batch.signals["old.entropy"].clone().requires_grad_()
    loss = sum(made.loss(Now(logp, entropy), advantage, batch).values(), torch.zeros(()))
    (gradient,) = torch.autograd.grad(loss + 0 * logp.sum(), logp)
    return loss.detach(), gradient


def numbers(made: Method, batch: Batch) -> Numbers:
    advantage = advantages(made, batch)
    return Numbers(advantage, *loss_of(made, batch, advantage.detach()))


def _apart(what: str, one: Tensor, two: Tensor, rtol: float = RTOL, atol: float = ATOL) -> str:
    """What differs, or "". A difference of not-a-number from itself is none: another property reports it."""
    if one.shape != two.shape:
        return f"{what} has shape {tuple(two.shape)} instead of {tuple(one.shape)}"
    if torch.allclose(one, two, rtol=rtol, atol=atol, equal_nan=True):
        return ""
    return f"{what} differs by {float((one - two).abs().max()):.3g} (largest value {float(one.abs().max()):.3g})"


def _differs(one: Numbers, two: Numbers) -> str:
    pairs = (("advantage", one.advantage, two.advantage), ("loss", one.loss, two.loss))
    found = [_apart(n, a, b) for n, a, b in (*pairs, ("gradient", one.gradient, two.gradient))]
    return next((text for text in found if text), "")


# --- the properties -----------------------------------------------------------------------------------------------


def off_switch(subject: Subject, batch: Batch) -> str:
    """With the options that `identity` names, the method is its base."""
    identity = type(subject.make()).identity
    if identity is None:
        raise NotApplicable("declares no off switch")
    key, overrides = identity
    text = _differs(numbers(subject.other(key), batch), numbers(subject.make(**overrides), batch))
    return text and f"with {overrides} it is not '{key}': {text}"


def widened(batch: Batch, by: int) -> Batch:
    """The batch with `by` more columns of padding."""
    width = batch.ids.shape[1]

    def pad(value: Tensor) -> Tensor:
        if value.dim() < 2 or value.shape[1] != width:
            return value
        return torch.cat([value, value.new_zeros((value.shape[0], by, *value.shape[2:]))], 1)

    changed: dict[str, Any] = {name: pad(getattr(batch, name)) for name in ("ids", "mask", "engine_logp")}
    return replace(batch, **changed, stored={k: pad(v) for k, v in batch.stored.items()})


def padding(subject: Subject, batch: Batch) -> str:
    """Columns of padding change nothing and get nothing."""
    width = batch.ids.shape[1]
    short, long = numbers(subject.make(), batch), numbers(subject.make(), widened(batch, 4))
    if bool((long.gradient[:, width:] != 0).any()):
        return f"padding has a gradient of {float(long.gradient[:, width:].abs().max()):.3g}"
    return _differs(short, Numbers(long.advantage[:, :width], long.loss, long.gradient[:, :width]))


def mask(subject: Subject, batch: Batch) -> str:
    """Values outside the mask are never read, and no token outside it has a gradient."""
    by_token = {  # readings of prompt tokens have a mask of their own
        k: v
        for k, v in batch.stored.items()
        if v.shape == batch.mask.shape and v.is_floating_point() and k.split(".")[-1] not in TAIL
    }
    dirty = {**batch.stored, **{k: torch.where(batch.mask, v, torch.full_like(v, 1e3)) for k, v in by_token.items()}}
    clean, other = numbers(subject.make(), batch), numbers(subject.make(), batch.with_signals(dirty))
    outside = clean.gradient[~batch.mask]
    if bool((outside != 0).any()):
        return f"a token outside the mask has a gradient of {float(outside.abs().max()):.3g}"
    return _differs(clean, other)


def permutation(subject: Subject, batch: Batch) -> str:
    """The order of rollouts does not matter."""
    order = torch.arange(len(batch.rollouts) - 1, -1, -1)
    one, two = numbers(subject.make(), batch), numbers(subject.make(), batch.select(order))
    return _differs(Numbers(one.advantage[order], one.loss, one.gradient[order]), two)


def micro_batches(subject: Subject, batch: Batch) -> str:
    """Advantages of a group by itself and losses of what `loss_scope` names add up to the whole."""
    made = subject.make()
    if made.scope == made.loss_scope == "batch":
        raise NotApplicable("batch scope: advantages and loss see the whole mini-batch")
    whole = numbers(made, batch)
    groups = [(batch.group == g).nonzero().squeeze(-1) for g in torch.unique(batch.group).tolist()]
    for rows in groups if made.scope != "batch" else ():
        own = advantages(subject.make(), batch.select(rows, keep_totals=True))
        text = _apart("advantage of a group by itself", whole.advantage[rows], own)
        if text:
            return f"{text}; declare scope = 'batch' if its statistics run over all groups"
    if made.loss_scope == "batch":
        return ""
    loss, gradient = torch.zeros(()), torch.zeros_like(whole.gradient)
    for rows in groups if made.loss_scope == "group" else torch.arange(len(batch.rollouts))[:, None]:
        value, gradient[rows] = loss_of(made, batch.select(rows, keep_totals=True), whole.advantage[rows])
        loss = loss + value
    text = _apart("sum of the parts' losses", whole.loss, loss) or _apart("gradient", whole.gradient, gradient)
    return text and f"{text}; the loss is declared to need a {made.loss_scope} alone (loss_scope)"


def early(subject: Subject, batch: Batch) -> str:
    """Advantages are there before the forward pass, unless the method declares `advantage_needs_signals`."""
    made = subject.make()
    if made.advantage_needs_signals:
        raise NotApplicable("declares advantage_needs_signals")
    before = advantages(subject.make(), replace(batch, stored={}, signals_ready=False))
    return _apart("advantage before the forward pass", advantages(made, batch), before)


def one_forward(subject: Subject, batch: Batch) -> str:
    """Every way of a step gives the policy the same gradient: one forward, group by group, by coefficients."""
    if subject.ways is None:
        raise NotApplicable("no policy at hand")
    found = dict(subject.ways(subject.make(), batch))
    exact = found.pop("general")
    for name, gradient in found.items():
        distance = float((gradient - exact).norm()) / max(float(exact.norm()), 1e-12)
        if not distance <= subject.apart and bool((exact != gradient).any()):
            return f"gradient of '{name}' is a relative {distance:.2g} away from the general one"
    return ""


def detached(subject: Subject, batch: Batch) -> str:
    """Advantages are numbers; the loss reaches the policy alone, and nothing keeps the graph of a step."""
    made = subject.make()
    with torch.no_grad():
        for name, value in (("reward", reward := made.reward(batch)), ("advantage", made.advantage(reward, batch))):
            if value.requires_grad:
                return f"a gradient leaks into {name}(): detach it"
        shaped = made.shape(made.advantage(reward, batch), batch)
    if shaped.requires_grad:
        return "a gradient leaks into shape(): detach it"
    own = {id(p) for net in made.networks.values() for p in net.parameters()}
    parameters = [p for net in made.networks.values() for p in net.parameters() if p.requires_grad]
    logp = (batch.old_logp + drift(batch)).requires_grad_()
    entropy = batch.signals["old.entropy"].clone().requires_grad_()
    terms = made.loss(Now(logp, entropy), torch.where(batch.mask, shaped, torch.zeros_like(shaped)), batch)
    total = sum(terms.values(), torch.zeros(())) + 0 * logp.sum()
    reached = torch.autograd.grad(total, parameters, allow_unused=True) if parameters else ()
    if any(g is not None for g in reached):
        return "the loss of the policy reaches the method's own networks: train them in learn()"
    kept = [n for n, v in vars(made).items() if isinstance(v, Tensor) and v.requires_grad and id(v) not in own]
    kept = [n for n in kept if not isinstance(getattr(made, n), torch.nn.Parameter)]
    return f"attribute '{kept[0]}' keeps the graph of a step: detach it" if kept else ""


def clean_outcome(subject: Subject, batch: Batch) -> str:
    """Outcome, reward components and signals stay as they were."""
    held = {"outcome": batch.outcome, "base_reward": batch.base_reward, **batch.stored}
    before = {k: v.clone() for k, v in held.items()}
    numbers(subject.make(), batch)
    changed = [k for k, v in held.items() if not torch.equal(v, before[k]) and not bool(torch.isnan(v).any())]
    for name in changed:
        held[name].copy_(before[name])
    return f"batch.{changed[0]} was changed in place: work on a copy" if changed else ""


def inert(subject: Subject, batch: Batch) -> str:
    """`inert` lets the trainer leave rows of zero advantages out of the backward pass."""
    made = subject.make()
    if not made.inert:
        raise NotApplicable("declares inert = False")
    advantage = 0.5 * batch.mask
    advantage[0] = 0.0
    _, gradient = loss_of(made, batch, advantage)
    return "a row without advantage has a gradient: declare inert = False" if bool((gradient[0] != 0).any()) else ""


def state(subject: Subject, batch: Batch) -> str:
    """A method restored from its saved state gives the same numbers, to the last bit."""
    made, again, file = subject.make(), subject.make(), io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file))
    one, two = numbers(made, batch), numbers(again, batch)
    return next((n for n in ("advantage", "loss", "gradient") if _apart(n, getattr(one, n), getattr(two, n), 0, 0)), "")


def optimisers(subject: Subject, batch: Batch) -> str:
    """Every optimiser that the method made moves every parameter that it holds, within four rounds of `learn`."""
    made = subject.make()
    if not made.optimisers:
        raise NotApplicable("makes no optimiser")
    if subject.sweep is None:
        raise NotApplicable("no policy at hand")
    names = {id(p): f"{net}.{name}" for net, m in made.networks.items() for name, p in m.named_parameters()}
    held = [(key, p) for key, o in made.optimisers.items() for g in o.param_groups for p in g["params"]]
    before = [p.detach().clone() for _, p in held]
    for number in range(4):
        swept = replace(subject.sweep(made, batch), progress=replace(batch.progress, step=number))
        advantages(made, swept)
        made.learn(swept, subject.context)
    still = [
        f"{key}: {names.get(id(p), 'a parameter')}"
        for (key, p), old in zip(held, before, strict=True)
        if p.requires_grad and torch.equal(p.detach(), old)
    ]
    return f"{len(still)} of {len(held)} parameters never move, the first is {still[0]}" if still else ""


def finite(case: str) -> Callable[[Subject, Batch], str]:
    """The property that this odd batch gives finite numbers, and ungraded rows none."""

    def holds(subject: Subject, batch: Batch) -> str:
        odd = ODD[case](batch)
        found = numbers(subject.make(), odd)
        for name in ("advantage", "loss", "gradient"):
            value = getattr(found, name)
            if not bool(torch.isfinite(value).all()):
                return f"{name} is {float(value[~torch.isfinite(value)].flatten()[0])}"
        if bool((found.gradient[~odd.graded] != 0).any()):
            return "an ungraded row has a gradient"
        return ""

    return holds


Property = Callable[[Subject, Batch], str]
PROPERTIES: dict[str, Property] = {
    "off switch equals its base": off_switch,
    "padding changes nothing": padding,
    "values outside the mask are never read": mask,
    "order of rollouts does not matter": permutation,
    "micro-batches sum to the whole": micro_batches,
    "advantages need the signals they declare": early,
    "one forward equals the general step": one_forward,
    "no gradient leaks": detached,
    "clean outcome untouched": clean_outcome,
    "rows without advantage have no gradient": inert,
    "state round trip": state,
    "optimisers move their parameters": optimisers,
    **{f"finite on {case}": finite(case) for case in ODD},
}


def cases(batch: Batch) -> dict[str, Batch]:
    """Parts of the batch, smallest first: two rollouts of a group, a group, everything."""
    first = (batch.group == batch.group[0]).nonzero().squeeze(-1)
    found = {
        "2 rollouts of 1 prompt": batch.select(first[:2]),
        f"{len(first)} rollouts of 1 prompt": batch.select(first),
    }
    found[f"{len(batch.rollouts)} rollouts of {int(batch.group.max()) + 1} prompts"] = batch
    return found


def check_one(name: str, subject: Subject, tried: Mapping[str, Batch]) -> Outcome:
    """The first case, smallest first, on which the property fails."""
    for case, batch in tried.items():
        text, error = attempt(PROPERTIES[name], subject, batch)
        if isinstance(error, NotApplicable):
            return Outcome("contract", name, "skipped", str(error))
        if error is not None:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            return Outcome("contract", name, "fails", f"smallest case: {case}: raised {said}")
        if text:
            return Outcome("contract", name, "fails", f"smallest case: {case}: {text}")
    return Outcome("contract", name, "holds")


def check(subject: Subject, tried: Mapping[str, Batch], names: Sequence[str] = tuple(PROPERTIES)) -> list[Outcome]:
    return [check_one(name, subject, tried) for name in names]
