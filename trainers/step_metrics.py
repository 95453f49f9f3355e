"""One line of train/metrics.jsonl from a batch: reward by component, shares, entropy, ratio, lengths, engine mismatch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.records import Status
from rewards import losses
from rewards.method import Batch
from trainers.gradient import Tally


def step_metrics(
    batch: Batch, advantage: Tensor, tallies: Sequence[Tally], kl: float | None
) -> dict[str, float | None]:
    """Means are over graded rollouts unless the name says otherwise; `entropy` and `engine_*` are per token over the
    rollouts that were in a forward pass (nats; absent where there was none); `engine_kl` is the k3 estimate of
    KL(engine || trainer)."""
    graded = batch.graded
    count = max(int(graded.sum()), 1)
    lengths = torch.tensor([float(len(r.token_ids)) for r in batch.rollouts])
    status = [v.status for v in batch.verdicts]
    names = sorted({name for c in batch.components for name in c})
    keep = graded.tolist()
    found: dict[str, float | None] = {
        "reward": float(batch.base_reward[graded].sum()) / count,
        **{f"reward/{n}": sum(c[n] for c, k in zip(batch.components, keep, strict=True) if k) / count for n in names},
        "accuracy": float(batch.outcome.sum()) / len(status),
        "ungraded": sum(s is Status.UNGRADED for s in status) / len(status),
        "truncated": float(batch.truncated.float().mean()),
        "length_mean": float(lengths.mean()),
        "length_max": float(lengths.max()),
        "active_groups": active_groups(advantage, batch.group),
        "advantage_abs": float(advantage.abs().sum()) / max(float(batch.mask.sum()), 1.0),
        "kl_start": kl,
    }
    seen = batch.mask & _forwarded(batch, tallies)[:, None]
    if bool(seen.any()):
        difference = (batch.old_logp - batch.engine_logp)[seen]
        found |= {
            "entropy": float(batch.signals["old.entropy"][seen].mean()) if "old.entropy" in batch.signals else None,
            "engine_mismatch_mean": float(difference.abs().mean()),
            "engine_mismatch_max": float(difference.abs().max()),
            "engine_kl": float(losses.kl_k3(batch.engine_logp, batch.old_logp)[seen].mean()),
        }
    tokens = sum(t.tokens for t in tallies)
    terms = sorted({name for t in tallies for name in t.terms})
    found |= {f"loss/{n}": sum(t.terms.get(n, 0.0) for t in tallies) / len(tallies) for n in terms}
    found |= {
        "loss": sum(sum(t.terms.values()) for t in tallies) / len(tallies) if tallies else None,
        "ratio_mean": sum(t.ratio_sum for t in tallies) / tokens if tokens else None,
        "ratio_max": max(t.ratio_max for t in tallies) if tokens else None,
        "rollouts": float(len(status)),
        "rollouts_in_backward": float(sum(t.rows for t in tallies)),
        "optimiser_steps": float(len(tallies)),
    }
    return found


def _forwarded(batch: Batch, tallies: Sequence[Tally]) -> Tensor:
    """Rows [B] whose old log-probabilities are known: all graded ones, unless the step left some out of its forward."""
    if not tallies:
        return torch.zeros_like(batch.graded)
    if tallies[0].forwarded is None:
        return batch.graded
    rows = torch.zeros_like(batch.graded)
    rows[list(tallies[0].forwarded)] = True
    return rows


def active_groups(advantage: Tensor, group: Tensor) -> float:
    """Share of groups in which any token has an advantage."""
    active = torch.zeros(int(group.max()) + 1, device=group.device)
    active.index_add_(0, group, (advantage != 0).any(-1).float())
    return float((active > 0).float().mean())
