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
        totals=totals(mask, graded, group, tensors["truncated"]),
        progress=progress,
        weights=weights,
        mini_batches=recipe.train.mini_batches,
        max_new_tokens=recipe.train.max_new_tokens,
        ratio_cap=recipe.train.ratio_cap,
        signals_ready=False,
    )


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _clusters(group: Group, clusters: Callable[..., list[int]]) -> list[int]:
    return clusters([v.extracted for v in group.verdicts], group.example.answer.type)


def _thinking(text: str) -> tuple[int, int] | None:
    """The last thinking part with its tags. A chat template may have opened it: then it begins with the response."""
    close, opened = text.rfind("</think>"), text.rfind("<think>")
    if opened > close:
        return opened, len(text)
    return None if close < 0 else (max(text.rfind("<think>", 0, close), 0), close + len("</think>"))


def _answer(text: str) -> tuple[int, int] | None:
    """The last answer part with its tags; one that is never closed reaches to the end."""
    start = text.rfind("<answer>")
    if start < 0:
        return None
    end = text.find("</answer>", start)
    return start, len(text) if end < 0 else end + len("</answer>")


def _boxed(text: str) -> tuple[int, int] | None:
    """What is inside the last `\\boxed{...}`, up to the brace that closes it; None for a box that is never closed."""
    start = text.rfind("\\boxed{") + len("\\boxed{")
    depth = 1
    for place in range(start, len(text)) if "\\boxed{" in text else ():
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return start, place
    return None


_PARTS = {"think": _thinking, "answer": _answer, "boxed": _boxed}


def spans(rollouts: Sequence[Rollout], decode: Callable[[Sequence[int]], str]) -> dict[str, Tensor]:
    """Token ranges [B, 2] (start, end) of the last thinking and answer part and of the inside of the last box; (-1, -1)
    where there is none. A token that lies in a range only in part counts as inside."""
    found = {name: torch.full((len(rollouts), 2), -1) for name in _PARTS}
    for row, rollout in enumerate(rollouts):
        for name, part in _PARTS.items():
            place = part(rollout.text)
            if place is not None and place[0] < place[1]:
                first = _token_at(rollout.token_ids, place[0] + 1, decode) - 1
                found[name][row] = torch.tensor([first, _token_at(rollout.token_ids, place[1], decode)])
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
