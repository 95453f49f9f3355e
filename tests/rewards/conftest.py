"""Builders shared by the tests of methods: batches, chunks and a trainer's context, all made by hand.

batch = make_batch(outcome=[1, 0, 0, 1], lengths=[3, 2, 3, 1], signals={"old.logp": logp})
chunk = make_chunk(lengths=[3, 2], layers=(1, 2, 3), size=16)
ctx = FakeContext(tmp_path, hidden_size=16)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.core.records import (
    Answer,
    AnswerType,
    Example,
    Finish,
    ImagePatches,
    Prompt,
    Rollout,
    Side,
    Status,
    Verdict,
)
from rewards.method import Batch, Chunk, Pass, Progress, totals

torch.set_num_threads(1)


def make_example(name: str, solution: str | None = None) -> Example:
    return Example(
        id=name, task="toy", messages=(), answer=Answer(type=AnswerType.INTEGER, golds=("1",)), solution=solution
    )


def make_batch(
    outcome: Sequence[float] = (1, 0, 0, 0),
    lengths: Sequence[int] = (3, 2, 3, 1),
    *,
    group: Sequence[int] | None = None,
    reward: Sequence[float] | None = None,
    graded: Sequence[bool] | None = None,
    truncated: Sequence[bool] | None = None,
    cluster: Sequence[int] | None = None,
    extracted: Sequence[str | None] | None = None,
    texts: Sequence[str] | None = None,
    components: Sequence[dict[str, float]] | None = None,
    weights: dict[str, float] | None = None,
    pictures: bool = False,
    signals: dict[str, Tensor] | None = None,
    row_signals: dict[str, Tensor] | None = None,
    spans: dict[str, Tensor] | None = None,
    padding: int = 0,
    progress: Progress | None = None,
    max_new_tokens: int | None = None,
    mini_batches: int = 1,
) -> Batch:
    """B rollouts in the order given; the default is the catalogue's toy batch (one prompt, four rollouts, T = 3).

    outcome [B]; lengths [B] (T is the longest plus `padding`); group [B] defaults to one group; reward [B] defaults to
    the outcome; graded, truncated, cluster [B] default to all True, all False, all 0; extracted answers to "1" and "0";
    components to the outcome alone, weights to 1 for it. `pictures` gives every prompt four black-and-white patches.
    `signals`: `pass.key` -> tensor.
    signals are padded to T; row_signals [B, ...] are taken as they are. Rollout i of group g is `p{g}#{i}`.
    """
    count, longest = len(outcome), max(lengths) + padding
    groups = torch.tensor(group if group is not None else [0] * count)
    fine = torch.tensor(graded if graded is not None else [True] * count)
    cut = torch.tensor(truncated if truncated is not None else [False] * count)
    mask = (torch.arange(longest)[None] < torch.tensor(lengths)[:, None]) & fine[:, None]
    ids = torch.where(mask, torch.arange(longest)[None] + 10, 0)
    right = torch.tensor(outcome, dtype=torch.float32)
    names = [f"p{g}" for g in groups.tolist()]
    answers = extracted if extracted is not None else ["1" if o else "0" for o in outcome]
    prompts = tuple(make_prompt(n, pictures) for n in names)
    rollouts = tuple(
        Rollout(
            prompt_id=n, sample_index=i, token_ids=tuple(ids[i, : lengths[i]].tolist()), logprobs=(0.0,) * lengths[i],
            finish=Finish.STOP, text=texts[i] if texts is not None else "",
        )
        for i, n in enumerate(names)
    )  # fmt: skip
    return Batch(
        prompts=prompts,
        examples=tuple(make_example(n) for n in names),
        rollouts=rollouts,
        verdicts=tuple(_verdict(bool(r), bool(g), a) for r, g, a in zip(right, fine, answers, strict=True)),
        components=tuple(components if components is not None else [{"outcome": float(r)} for r in right]),
        ids=ids,
        mask=mask,
        engine_logp=torch.zeros(count, longest),
        group=groups,
        outcome=right,
        base_reward=right.clone() if reward is None else torch.tensor(reward, dtype=torch.float32),
        graded=fine,
        truncated=cut,
        cluster=torch.tensor(cluster if cluster is not None else [0] * count),
        spans=spans or {},
        totals=totals(mask, fine, groups, cut),
        weights=weights or {"outcome": 1.0},
        progress=progress or Progress(step=0, total=10),
        mini_batches=mini_batches,
        max_new_tokens=max_new_tokens or longest,
        signals_ready=signals is not None,
        stored={k: _padded(v, longest) for k, v in (signals or {}).items()} | (row_signals or {}),
    )


def _verdict(right: bool, graded: bool, answer: str | None) -> Verdict:
    if not graded:
        return Verdict(status=Status.UNGRADED, protocol="strict", reason="gold_unparseable", side=Side.INSTRUMENT)
    status = Status.CORRECT if right else Status.INCORRECT
    return Verdict(status=status, protocol="strict", reason="", extracted=answer)


def make_prompt(name: str, picture: bool = False) -> Prompt:
    """Two tokens of text; with a picture, one image token of a 2 by 2 grid of patches in front."""
    if not picture:
        return Prompt(example_id=name, ids=(1, 2), engine_ids=(1, 2), text="?", template_hash="t")
    patches = np.tile(np.array([[1.0], [-1.0], [0.5], [0.0]], dtype=np.float32), (1, 1176))
    image = ImagePatches(patches, np.array([[1, 2, 2]]), "sha")
    return Prompt(
        example_id=name, ids=(9, 1, 2), engine_ids=(9, 1, 2), text="?", template_hash="t", patches=image,
        mm_token_type_ids=(1, 0, 0),
    )  # fmt: skip


def _padded(value: Tensor, longest: int) -> Tensor:
    """[B, T', ...] signals are cut or filled with 0 up to T; [B] signals stay."""
    if value.dim() < 2:
        return value
    if value.shape[1] >= longest:
        return value[:, :longest]
    return torch.nn.functional.pad(value, (0, 0) * (value.dim() - 2) + (0, longest - value.shape[1]))


def make_chunk(
    lengths: Sequence[int] = (5, 3, 4),
    *,
    layers: Sequence[int] = (1, 2, 3),
    depth: int = 4,
    size: int = 16,
    outcome: Sequence[float] | None = None,
    graded: Sequence[bool] | None = None,
    padding: int = 0,
    seed: int = 0,
    step: int = 0,
    content: int = 0,
    keys: Sequence[str] | None = None,
) -> Chunk:
    """b rollouts with smooth random latents of `size` channels, a function of `content` and the row alone."""
    longest = max(lengths) + padding
    rows = len(lengths)
    hidden = {layer: torch.zeros(rows, longest + 1, size) for layer in layers}
    for row, length in enumerate(lengths):
        for layer in layers:
            hidden[layer][row, : length + 1] = walk(length + 1, size, 1000 * content + 10 * row + layer)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    fine = torch.tensor(graded if graded is not None else [True] * rows)
    return Chunk(
        rows=torch.arange(rows),
        keys=tuple(keys) if keys is not None else tuple(f"p0#{i}" for i in range(rows)),
        ids=torch.zeros(rows, longest, dtype=torch.long),
        mask=mask & fine[:, None],
        logp=torch.zeros(rows, longest),
        entropy=torch.zeros(rows, longest),
        hidden=hidden,
        layers=depth,
        outcome=torch.tensor(outcome if outcome is not None else [1.0] * rows),
        graded=fine,
        seed=seed,
        step=step,
    )


def walk(count: int, size: int, seed: int) -> Tensor:
    """[count, size] states that a flow can learn: a rotation of the state before, plus a little noise."""
    draw = torch.Generator().manual_seed(seed)
    state, turn = torch.randn(size, generator=draw), torch.linspace(0.3, 1.2, size // 2)
    states = []
    for _ in range(count):
        a, b = state[: size // 2], state[size // 2 :]
        state = torch.cat([a * turn.cos() - b * turn.sin(), a * turn.sin() + b * turn.cos()])
        state = state + 0.05 * torch.randn(size, generator=draw)
        states.append(state)
    return torch.stack(states)


@dataclass
class FakeContext:
    """A trainer's context without a policy: `scan` gives each example latents of its own, keyed by its id."""

    cache: Path
    hidden_size: int = 16
    layers: int = 4
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    resumed: bool = False
    total_steps: int = 10
    policy_steps: int = 2
    policy_digest: str = "toy"
    examples: list[Example] = field(default_factory=list)
    scans: int = 0
    expert_tokens: int = 4096
    cut: dict[str, int] = field(default_factory=dict)

    def expert(self) -> list[Example]:
        return self.examples

    def scan(self, examples: Sequence[Example], pass_: Pass) -> Iterator[Chunk]:
        self.scans += 1
        for start in range(0, len(examples), 5):
            part = examples[start : start + 5]
            chunks = [make_chunk([6], depth=self.layers, size=self.hidden_size, content=int(e.id)) for e in part]
            hidden = {k: torch.cat([c.hidden[k] for c in chunks]) for k in chunks[0].hidden}
            base = make_chunk([6] * len(part), depth=self.layers, size=self.hidden_size, keys=[e.id for e in part])
            yield Chunk(**{**{n: getattr(base, n) for n in base.__slots__}, "hidden": hidden})

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def render(self, example: Example) -> Prompt:
        return make_prompt(example.id)

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return float(norm)

    def track(self, items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
        return iter(items)


Builder = Callable[..., Batch]
