"""The only training loop of flows: expert solutions or fresh rollouts in, a fitted velocity field out.

`offline` fits a new field to the latents of expert solutions under the frozen policy; `online` takes the steps that
follow a rollout batch. Weights are kept as `flow.safetensors` with `flow.json` beside them, which names the pairing,
layers and shape; whatever does not match on loading is an error. Source: arXiv 2510.10201 and its release (train_flow/).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.core.errors import ModelError
from harness.core.records import Example
from rewards.flow.field import FieldConfig, VelocityField
from rewards.flow.latents import Trajectory, layer_indices, pairs, pick, trajectories
from rewards.flow.matching import flow_loss
from rewards.method import Chunk

FORMAT = 1
HELD_OUT_TOKENS = 1024
Scan = Callable[[Sequence[Example]], Iterator[Chunk]]
Step = Callable[[Tensor, torch.optim.Optimizer], float]


@dataclass(frozen=True, slots=True)
class Target:
    """What a flow is fitted to: pairings, layers (percentiles or indices), latents that its weights belong to."""

    pairings: tuple[str, ...]
    layers: tuple[float | int, ...]

    def describe(self) -> dict[str, Any]:
        return {"pairing": list(self.pairings), "layers": list(self.layers)}


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings of the offline fit: AdamW with `lr`, warm-up over `warmup` of the steps, cosine to 0; `batch` solutions
    a step, `epochs` times; `batch_mul` draws of (t, e) per token; the share `held_out` of the examples is not fitted."""

    lr: float = 1e-4
    epochs: int = 2
    batch: int = 32
    batch_mul: int = 2
    warmup: float = 0.1
    weight_decay: float = 0.01
    held_out: float = 0.05
    seed: int = 0
    chunk: int = 8192
    precision: str = "float32"


@dataclass
class Report:
    """What a fit did: optimiser steps, fitted tokens, mean loss of the last tenth of the steps, loss on held-out
    latents before and after (NaN where nothing was held out), wall time."""

    steps: int = 0
    tokens: int = 0
    loss: float = math.nan
    held_out_before: float = math.nan
    held_out_after: float = math.nan
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list, repr=False)


def schedule(done: float, warmup: float, final: float) -> float:
    """Factor on the learning rate after the fraction `done` of training: linear warm-up, then a cosine to `final`."""
    if done < warmup:
        return done / warmup
    half_turn = math.pi * min((done - warmup) / max(1.0 - warmup, 1e-12), 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(half_turn))


def split(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """(fitted, held out): the last examples by count, at least one from twenty examples on."""
    count = max(1, round(share * len(examples))) if share > 0 and len(examples) >= 20 else 0
    return list(examples[: len(examples) - count]), list(examples[len(examples) - count :])


def batches(
    chunks: Iterator[Chunk], layers: Sequence[float | int], size: int
) -> Iterator[tuple[list[Trajectory], list[float]]]:
    """Chunks of any size regrouped into `size` solutions, with their layer positions l/L."""
    waiting: list[Trajectory] = []
    depths: list[float] = []
    for chunk in chunks:
        indices = layer_indices(layers, chunk.layers)
        depths = [index / chunk.layers for index in indices]
        waiting += trajectories(chunk.keys, pick(chunk.hidden, indices), chunk.mask, range(len(chunk.keys)))
        while len(waiting) >= size:
            yield waiting[:size], depths
            waiting = waiting[size:]
    if waiting:
        yield waiting, depths


def offline(
    net: VelocityField,
    scan: Scan,
    examples: Sequence[Example],
    target: Target,
    how: Fit,
    step: Step,
    track: Callable[..., Any],
) -> Report:
    """Fit `net` in place to expert solutions; their order is a function of `how.seed` and the epoch alone.

    Source: arXiv 2510.10201, appendix (AdamW, lr 1e-4, cosine, warm-up 10 %, 2 epochs).
    """
    device = next(net.parameters()).device
    optimiser = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    generator = torch.Generator().manual_seed(how.seed)
    fitted, kept = split(examples, how.held_out)
    held: list[Trajectory] = []
    depths: list[float] = []
    for part, positions in batches(scan(kept), target.layers, how.batch) if kept else ():
        held, depths = held + part, positions
    total = how.epochs * math.ceil(len(fitted) / how.batch)
    report = Report()
    if held:
        report.held_out_before = held_out_loss(net, held, depths, target.pairings, how)

    def stream() -> Iterator[tuple[list[Trajectory], list[float]]]:
        for _ in range(how.epochs):
            order = torch.randperm(len(fitted), generator=generator).tolist()
            yield from batches(scan([fitted[i] for i in order]), target.layers, how.batch)

    for items, depths in track(stream(), "fitting the flow", total):
        optimiser.param_groups[0]["lr"] = how.lr * schedule((report.steps + 1) / max(total, 1), how.warmup, 0.0)
        sets = pairs(items, [1.0] * len(items), depths, target.pairings, device=device)
        loss = flow_loss(net, sets, generator, how.batch_mul, how.chunk, how.precision)
        step(loss, optimiser)
        report.losses.append(float(loss.detach()))
        report.steps, report.tokens = report.steps + 1, report.tokens + sum(i.tokens for i in items)
    last = report.losses[-max(1, len(report.losses) // 10) :]
    report.loss = sum(last) / len(last) if last else math.nan
    if held:
        report.held_out_after = held_out_loss(net, held, depths, target.pairings, how)
    return report


@torch.no_grad()
def held_out_loss(
    net: VelocityField, items: Sequence[Trajectory], depths: Sequence[float], pairings: Sequence[str], how: Fit
) -> float:
    """Flow-matching loss on latents that the field has not seen, at most HELD_OUT_TOKENS of them, always with the same
    times and noise for the same number of tokens: comparable from call to call."""
    count = sum(item.tokens for item in items)
    chosen = torch.linspace(0, count - 1, min(count, HELD_OUT_TOKENS)).long()
    device = next(net.parameters()).device
    sets = pairs(items, [1.0] * len(items), depths, pairings, chosen, device)
    return float(flow_loss(net, sets, torch.Generator().manual_seed(0), 4, how.chunk, how.precision))


def online(
    net: VelocityField,
    optimiser: torch.optim.Optimizer,
    items: Sequence[Trajectory],
    weights: Sequence[float],
    depths: Sequence[float],
    pairings: Sequence[str],
    how: Fit,
    steps: int,
    step: Step,
) -> dict[str, float]:
    """`steps` optimiser steps over the latents of one rollout batch: a shuffled share of the tokens each.

    `how.seed` decides shuffle, times and noise. Every call takes exactly `steps` steps, also without any latents (then
    with a zero gradient), so that ranks with unequal rollouts stay in step.
    """
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(how.seed)
    count = sum(item.tokens for item in items)
    metrics = {"flow/tokens": float(count)}
    if count:
        metrics["flow/held_out"] = held_out_loss(net, items, depths, pairings, how)
    order = torch.randperm(count, generator=generator)
    losses, norms = [], []
    for number in range(steps):
        # fewer tokens than steps: the shares repeat
        share = order[number % max(min(steps, count), 1) :: steps] if count else order
        sets = pairs(items, weights, depths, pairings, share, device) if count else []
        loss = flow_loss(net, sets, generator, how.batch_mul, how.chunk, how.precision)
        norms.append(step(loss, optimiser))
        losses.append(float(loss.detach()))
    return metrics | {"flow/loss": sum(losses) / len(losses), "flow/grad_norm": sum(norms) / len(norms)}


def identity(*parts: Any) -> str:
    """Content hash of what an offline fit depends on."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(folder: Path, net: VelocityField, target: Target, report: Report | None = None) -> None:
    """Write `flow.safetensors` and `flow.json` into a new folder, whole or not at all; an existing one is left alone
    (its name is its content, so another process wrote the same)."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, part / "flow.safetensors")
    about = {"format": FORMAT, **asdict(net.config), **target.describe()}
    if report is not None:
        about["report"] = {k: v for k, v in asdict(report).items() if k != "losses"}
    (part / "flow.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    try:
        os.replace(part, folder)
    except OSError:
        shutil.rmtree(part)
        if not (folder / "flow.json").is_file():
            raise


def load(
    folder: Path, target: Target, expected: FieldConfig, exact: bool = True
) -> tuple[VelocityField, dict[str, Any]]:
    """The field in `folder` and its report. Raises ModelError, naming the path, when it is missing or differs from
    `expected` (width and depth only if `exact`) in shape, pairing or layers."""
    facts = folder / "flow.json"
    if not facts.is_file() or not (folder / "flow.safetensors").is_file():
        raise ModelError(f"no flow weights at {folder}", "it must hold flow.safetensors and flow.json; check flow_path")
    about = json.loads(facts.read_text("utf-8"))
    check(about, target, str(folder))
    config = FieldConfig(about["size"], about["width"], about["depth"], about["eps"])
    if not exact:
        expected = replace(expected, width=config.width, depth=config.depth)
    if config != expected:
        raise ModelError(
            f"flow at {folder} has shape {asdict(config)}, expected {asdict(expected)}", "fit one for this policy"
        )
    net = VelocityField(config, torch.Generator().manual_seed(0))
    net.load_state_dict(load_file(folder / "flow.safetensors"))
    return net, about.get("report", {})


def check(about: Mapping[str, Any], target: Target, where: str) -> None:
    """Raises ModelError unless weights with these facts were fitted to `target`."""
    for name, mine in target.describe().items():
        theirs = list(about[name])
        if theirs != mine:
            raise ModelError(
                f"flow of {where} was fitted with {name} {theirs} and would score with {mine}",
                f"set {name} to {theirs}, or fit a flow anew",
            )
