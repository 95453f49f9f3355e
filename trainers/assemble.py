"""From graded groups to a Batch: rows, masks, spans and totals as tensors on the policy's device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.core.config import Recipe
from harness.core.errors import TrainingError
from harness.core.records import Finish, Rollout, Side, Status
from rewards.components import weigh
from rewards.method import Batch, Group, Progress, totals


def assemble(
    groups: Sequence[Group],
    recipe: Recipe,
    progress: Progress,
    device: torch.device,
    clusters: Callable[..., list[int]],
    decode: Callable[[Sequence[int]], str],
) -> Batch:
    """Groups as one Batch on `device`. Rows whose grading instrument failed are masked out; probes are left out."""
    groups = [g for g in groups if g.train and g.rollouts]
    if not groups:
        raise TrainingError(
            "no rollout to train on in this step", "raise rendering.max_prompt_tokens, or check the method's collect"
        )
    rows = [(g, i) for g in groups for i in range(len(g.rollouts))]
    length = max(1, *(len(g.rollouts[i].token_ids) for g, i in rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    engine_logp = torch.zeros(len(rows), length)
    verdicts = tuple(g.verdicts[i] for g, i in rows)
    graded = torch.tensor([not (v.status is Status.UNGRADED and v.side is Side.INSTRUMENT) for v in verdicts])
    for row, (g, i) in enumerate(rows):
        rollout = g.rollouts[i]
        size = len(rollout.token_ids)
        ids[row, :size] = torch.tensor(rollout.token_ids)
        mask[row, :size] = bool(graded[row])
        engine_logp[row, :size] = torch.tensor(rollout.logprobs)
    group = torch.tensor([n for n, g in enumerate(groups) for _ in g.rollouts])
    weights = {"outcome": recipe.rewards.outcome, "format": recipe.rewards.format}
    named = tuple(g.components[i] for g, i in rows)
    tensors = {
        "ids": ids,
        "mask": mask,
        "engine_logp": engine_logp,
        "group": group,
        "outcome": torch.tensor([float(v.correct) for v in verdicts]),
        "base_reward": torch.tensor([weigh(c, weights) for c in named]),
        "graded": graded,
        "truncated": torch.tensor([g.rollouts[i].finish is Finish.LENGTH for g, i in rows]),
        "cluster": torch.tensor([c for g in groups for c in _clusters(g, clusters)]),
    }
    return Batch(
        prompts=tuple(g.prompt for g, _ in rows),
        examples=tuple(g.example for g, _ in rows),
        rollouts=tuple(g.rollouts[i] for g, i in rows),
        verdicts=verdicts,
        components=named,
        **_on(device, tensors),
        spans={k: v.to(device) for k, v in spans([g.rollouts[i] for g, i in rows], decode).items()},
        totals=totals(mask, graded, group),
        progress=progress,
        mini_batches=recipe.train.mini_batches,
        max_new_tokens=recipe.train.max_new_tokens,
        signals_ready=False,
    )


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _clusters(group: Group, clusters: Callable[..., list[int]]) -> list[int]:
    return clusters([v.extracted for v in group.verdicts], group.example.answer.type)


_MARKS = {"think": ("<think>", "</think>"), "answer": ("<answer>", "</answer>"), "boxed": ("\\boxed{", "}")}


def spans(rollouts: Sequence[Rollout], decode: Callable[[Sequence[int]], str]) -> dict[str, Tensor]:
    """Token ranges [B, 2] (start, end) of the last think, answer and boxed part; (-1, -1) where there is none."""
    found = {name: torch.full((len(rollouts), 2), -1) for name in _MARKS}
    for row, rollout in enumerate(rollouts):
        for name, (left, right) in _MARKS.items():
            start = rollout.text.rfind(left)
            if start < 0:
                continue
            end = rollout.text.rfind(right, start + len(left)) if name == "boxed" else rollout.text.find(right, start)
            end = len(rollout.text) if end < 0 else end + len(right)
            first = _token_at(rollout.token_ids, start + 1, decode) - 1
            found[name][row] = torch.tensor([first, _token_at(rollout.token_ids, end, decode)])
    return found


def _token_at(ids: Sequence[int], characters: int, decode: Callable[[Sequence[int]], str]) -> int:
    """The smallest number of tokens whose text has at least so many characters (bisection over the decoder)."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(decode(ids[:middle])) >= characters:
            high = middle
        else:
            low = middle + 1
    return low
