"""The only training loop of flows: expert solutions or fresh rollouts in, a fitted velocity field out.

`offline` fits a new field to the latents of expert solutions under the frozen policy; `online` takes the steps that
follow a rollout batch. Memory does not grow with the number of solutions, and an offline fit that was stopped goes on.
Weights are kept as `flow.safetensors` with `flow.json` beside them, which names the pairing, layers and shape; whatever
does not match on loading is an error. Source: arXiv 2510.10201 and its release (train_flow/).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.core import checkpoint
from harness.core.errors import ModelError
from harness.core.records import Example
from rewards.flow.field import FieldConfig, VelocityField
from rewards.flow.latents import Sample, Trajectory, pairs, pick, trajectories
from rewards.flow.matching import Pairs, flow_loss
from rewards.method import Chunk
from rewards.support.layers import layer_indices
from rewards.support.schedule import cosine
from rewards.support.seeds import stable_hash

FORMAT = 1
HELD_OUT_TOKENS = 1024
WINDOW = 32
"""Expert solutions whose latents are in memory together, unless a step takes more."""
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
    latents before and after (None where nothing was held out), wall time over all sessions; solutions that were `cut` to
    the policy's context or to expert.max_tokens, and the tokens that they lost."""

    steps: int = 0
    tokens: int = 0
    loss: float | None = None
    held_out_before: float | None = None
    held_out_after: float | None = None
    seconds: float = 0.0
    cut: int = 0
    cut_tokens: int = 0
    losses: list[float] = field(default_factory=list, repr=False)


def split(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """(fitted, held out): the last examples by count, at least one from twenty examples on."""
    count = max(1, round(share * len(examples))) if share > 0 and len(examples) >= 20 else 0
    return list(examples[: len(examples) - count]), list(examples[len(examples) - count :])


@dataclass(frozen=True, slots=True)
class Around:
    """What a fit needs beside the field: `scan` gives solutions' latents, `step` takes an optimiser step, `track` shows a
    bar. The fit's state is kept in `state` (None: nowhere) at least every `save_seconds` and removed by who asked."""

    scan: Scan
    step: Step
    track: Callable[..., Any]
    state: Path | None = None
    save_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """The solutions of one optimiser step: its number from 0, their latents, layer positions l/L."""

    number: int
    items: list[Trajectory]
    depths: list[float]


def read(chunks: Iterator[Chunk], layers: Sequence[float | int]) -> Iterator[tuple[list[Trajectory], list[float]]]:
    """Latents of every chunk's rows, copied to the host, with the layer positions."""
    for chunk in chunks:
        indices = layer_indices(layers, chunk.layers)
        items = trajectories(chunk.keys, pick(chunk.hidden, indices), chunk.mask, range(len(chunk.keys)))
        yield items, [index / chunk.layers for index in indices]


def parts(
    scan: Scan, examples: Sequence[Example], layers: Sequence[float | int], how: Fit, first: int = 0
) -> Iterator[Part]:
    """Steps from `first` on: `how.batch` solutions each, in an order that is a function of seed and epoch alone. About
    WINDOW solutions are scanned together, so no more of them are in memory; a scan may give them in any order."""
    size = math.ceil(len(examples) / how.batch)
    together = max(1, WINDOW // how.batch)
    for epoch in range(how.epochs):
        generator = torch.Generator().manual_seed(stable_hash("order", how.seed, epoch))
        order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, size, together):
            steps = [s for s in range(start, min(start + together, size)) if epoch * size + s >= first]
            if not steps:
                continue
            wanted = {s: [examples[i] for i in order[s * how.batch : (s + 1) * how.batch]] for s in steps}
            found: dict[str, Trajectory] = {}
            depths: list[float] = []
            for items, depths in read(scan([e for s in steps for e in wanted[s]]), layers):  # noqa: B007
                found |= {item.key: item for item in items}
            for s in steps:
                yield Part(epoch * size + s, [found[e.id] for e in wanted[s] if e.id in found], depths)


def offline(net: VelocityField, examples: Sequence[Example], target: Target, how: Fit, around: Around) -> Report:
    """Fit `net` in place to expert solutions. A fit that was stopped goes on from its kept state, to the same weights.

    Source: arXiv 2510.10201, appendix (AdamW, lr 1e-4, cosine, warm-up 10 %, 2 epochs).
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    fitted, kept = split(examples, how.held_out)
    total = how.epochs * math.ceil(len(fitted) / how.batch)
    held, positions = Sample(HELD_OUT_TOKENS), list[float]()
    for items, positions in read(around.scan(kept), target.layers) if kept else ():  # noqa: B007
        held.add(items)
    sets = held.pairs(positions, target.pairings)
    report = _resume(net, optimiser, around)
    if report is None:
        report = Report(held_out_before=_on_held_out(net, sets, how))
    started, saved, spent = time.monotonic(), time.monotonic(), report.seconds
    stream = parts(around.scan, fitted, target.layers, how, report.steps)
    for part in around.track(stream, "fitting the flow", total - report.steps):
        optimiser.param_groups[0]["lr"] = how.lr * cosine((part.number + 1) / max(total, 1), how.warmup, 0.0)
        found = pairs(part.items, [1.0] * len(part.items), part.depths, target.pairings) if part.items else []
        key = stable_hash("fit", how.seed, part.number)
        loss = flow_loss(net, found, key, how.batch_mul, how.chunk, how.precision)
        around.step(loss, optimiser)
        report.losses.append(float(loss.detach()))
        report.steps, report.tokens = part.number + 1, report.tokens + sum(i.tokens for i in part.items)
        report.seconds = spent + time.monotonic() - started
        if around.state is not None and time.monotonic() - saved >= around.save_seconds:
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "report": asdict(report)}
            checkpoint.save(around.state, report.steps, state)
            saved = time.monotonic()
    last = report.losses[-max(1, len(report.losses) // 10) :]
    report.loss = sum(last) / len(last) if last else None
    report.held_out_after = _on_held_out(net, sets, how)
    report.seconds = spent + time.monotonic() - started
    return report


def _resume(net: VelocityField, optimiser: torch.optim.Optimizer, around: Around) -> Report | None:
    """The state of a stopped fit, put into `net` and `optimiser`; None where there is none."""
    state = None if around.state is None else checkpoint.newest(around.state)
    if state is None:
        return None
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    return Report(**state["report"])


def held_out_loss(
    net: VelocityField, items: Sequence[Trajectory], depths: Sequence[float], pairings: Sequence[str], how: Fit
) -> float | None:
    """Flow-matching loss on latents that the field has not seen, at most HELD_OUT_TOKENS of them, always with the same
    times and noise for the same number of tokens: comparable from call to call. None without latents."""
    count = sum(item.tokens for item in items)
    if not count:
        return None
    chosen = torch.linspace(0, count - 1, min(count, HELD_OUT_TOKENS)).long()
    return _on_held_out(net, pairs(items, [1.0] * len(items), depths, pairings, chosen), how)


@torch.no_grad()
def _on_held_out(net: VelocityField, sets: Sequence[Pairs], how: Fit) -> float | None:
    return float(flow_loss(net, sets, 0, 4, how.chunk, how.precision)) if sets else None


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
    generator = torch.Generator().manual_seed(how.seed)
    count = sum(item.tokens for item in items)
    metrics = {"flow/tokens": float(count)}
    held_out = held_out_loss(net, items, depths, pairings, how)
    if held_out is not None:
        metrics["flow/held_out"] = held_out
    order = torch.randperm(count, generator=generator)
    losses, norms = [], []
    for number in range(steps):
        # fewer tokens than steps: the shares repeat
        share = order[number % max(min(steps, count), 1) :: steps] if count else order
        sets = pairs(items, weights, depths, pairings, share) if count else []
        loss = flow_loss(net, sets, stable_hash("learn", how.seed, number), how.batch_mul, how.chunk, how.precision)
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
