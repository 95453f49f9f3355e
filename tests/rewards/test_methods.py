"""What every registered method must satisfy, without a model: off switches, invariances, detachment, odd groups, resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rewards.method import Batch, Method, Now, Progress, method
from tests.rewards.conftest import FakeContext, make_batch

KEYS = sorted(k for k in method._builtin() if method.get(k).trains)
OUTCOME = [1, 0, 0, 1, 0, 0, 1, 0]
LENGTHS = [5, 3, 4, 2, 6, 1, 3, 4]
FORM = "<think>t</think><answer>1</answer><analysis>a</analysis><confidence>{}</confidence>"
TEXTS = [FORM.format(q) for q in (0.9, 0.2, "95%", 0.7, 0, 1)] + ["no tags", FORM.format(".5")]


def signals(rows: int = 8, length: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """Readings of any pass that a method may ask for."""
    draw = torch.Generator().manual_seed(seed)
    names = ("old.logp", "start.logp", "bare.logp", "masked.logp", "noised.logp", "old.entropy", "old.score")
    found = {n: torch.rand(rows, length, generator=draw) for n in (*names, "old.proxy_logp", "old.certainty")}
    found |= {n: torch.randn(rows, length, 4, generator=draw) for n in ("old.state", "old.latent", "old.residual")}
    return {n: -v if n.endswith("logp") else v for n, v in found.items()}


def row_signals(rows: int = 8, seed: int = 1) -> dict[str, Tensor]:
    """Readings per rollout."""
    draw = torch.Generator().manual_seed(seed)
    found = {n: torch.rand(rows, generator=draw) for n in ("spliced.probability", "direct.probability")}
    found |= {n: -20 - 5 * torch.rand(rows, generator=draw) for n in ("judged.mark", "first.mark")}
    found |= {"old.phi": torch.randn(rows, 11, generator=draw), "old.tail_logp": -torch.rand(rows, 9, generator=draw)}
    return {**found, "old.tail_mask": torch.arange(9)[None] < torch.arange(2, 2 + rows)[:, None]}


def make(**changed: Any) -> Batch:
    base: dict[str, Any] = {
        "outcome": OUTCOME, "lengths": LENGTHS, "group": [0, 0, 0, 0, 1, 1, 1, 1], "signals": signals(),
        "row_signals": row_signals(), "max_new_tokens": 6, "truncated": [False] * 4 + [True] + [False] * 3,
        "cluster": [0, 1, 1, 0, 2, 1, 0, 1],
        "progress": Progress(step=3, total=10), "pictures": True, "texts": TEXTS,
        "extracted": ["1", "2", None, "1", "3", "2", "1", "2"],
        "spans": {"think": torch.tensor([[0, 2], [-1, -1], [0, 3], [0, 1], [1, 4], [-1, -1], [0, 3], [0, 2]]),
                  "boxed": torch.tensor([[2, 4], [-1, -1], [1, 3], [0, 2], [3, 6], [0, 1], [1, 3], [2, 4]])},
    }  # fmt: skip
    return make_batch(**{**base, **changed})


def built(key: str, tmp_path: Any, **options: Any) -> Method:
    made = method.get(key)(**options)
    if "offline_epochs" in made.options():
        made = method.get(key)(**{"offline_epochs": 0, **options})
    made.setup(FakeContext(tmp_path))
    return made


def run(made: Method, batch: Batch, seed: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """(advantages, loss, d loss / d logp) with a policy that has moved away from the old one."""
    rows, length = batch.mask.shape
    drift = torch.rand(8, 6, generator=torch.Generator().manual_seed(seed)) - 0.5
    policy = torch.zeros(rows, length)
    policy[:, : min(6, length)] = drift[:rows, :length]
    logp = (batch.old_logp + policy).requires_grad_()
    with torch.no_grad():
        advantage = made.shape(made.advantage(made.reward(batch), batch), batch)
        advantage = torch.where(batch.mask, advantage, 0.0)
    entropy = batch.signals["old.entropy"].clone().requires_grad_()
    loss = sum(made.loss(Now(logp, entropy), advantage, batch).values(), torch.zeros(()))
    (gradient,) = torch.autograd.grad(loss + 0 * logp.sum(), logp)
    return advantage, loss.detach(), gradient


@pytest.mark.parametrize("key", KEYS)
def test_off_switch_equals_its_base(key: str, tmp_path: Any) -> None:
    cls = method.get(key)
    if cls.identity is None:
        pytest.skip("no off switch")
    base_key, overrides = cls.identity
    off, base = built(key, tmp_path, **overrides), built(base_key, tmp_path)
    mine, theirs = run(off, make()), run(base, make())
    exact = base_key == "grpo" and key in ("rlfr", "redit")
    for a, b in zip(mine, theirs, strict=True):
        if exact:
            assert torch.equal(a, b)
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("key", KEYS)
def test_padding_changes_nothing(key: str, tmp_path: Any) -> None:
    made = built(key, tmp_path)
    short, long = run(made, make()), run(made, make(padding=4))
    torch.testing.assert_close(long[0][:, :6], short[0])
    torch.testing.assert_close(long[1], short[1])
    torch.testing.assert_close(long[2][:, :6], short[2])
    assert float(long[2][:, 6:].abs().max()) == 0.0


@pytest.mark.parametrize("key", KEYS)
def test_values_outside_the_mask_are_never_read(key: str, tmp_path: Any) -> None:
    made, batch = built(key, tmp_path), make()
    valid = {2: batch.mask, 3: batch.mask[..., None]}
    dirty = {k: torch.where(valid[v.dim()], v, 1e3) for k, v in batch.stored.items() if k not in row_signals()}
    for a, b in zip(run(made, batch), run(made, batch.with_signals(dirty)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("key", KEYS)
def test_order_of_rollouts_does_not_matter(key: str, tmp_path: Any) -> None:
    made, batch = built(key, tmp_path), make()
    order = torch.tensor([2, 0, 3, 1, 5, 4, 7, 6])
    advantage = made.shape(made.advantage(made.reward(batch), batch), batch)
    moved = batch.select(order)
    again = made.shape(made.advantage(made.reward(moved), moved), moved)
    torch.testing.assert_close(again, advantage[order])
    logp = batch.old_logp + 0.1
    one = made.loss(Now(logp, batch.signals["old.entropy"]), advantage, batch)
    two = made.loss(Now(logp[order], moved.signals["old.entropy"]), advantage[order], moved)
    torch.testing.assert_close(sum(one.values()), sum(two.values()))


@pytest.mark.parametrize("key", KEYS)
def test_micro_batches_of_whole_groups_add_up(key: str, tmp_path: Any) -> None:
    """For row and group scope; batch-scope losses see the whole mini-batch by contract."""
    made, batch = built(key, tmp_path), make()
    if made.scope == "batch":
        pytest.skip("batch scope")
    advantage, loss, gradient = run(made, batch)
    total, parts = torch.zeros(()), []
    drift = torch.rand(8, 6, generator=torch.Generator().manual_seed(7)) - 0.5
    for rows in (torch.arange(4), torch.arange(4, 8)):
        part = batch.select(rows, keep_totals=True)
        own = made.shape(made.advantage(made.reward(part), part), part)
        torch.testing.assert_close(torch.where(part.mask, own, 0.0), advantage[rows])
        logp = (part.old_logp + drift[rows]).requires_grad_()
        value = sum(made.loss(Now(logp, part.signals["old.entropy"]), advantage[rows], part).values(), torch.zeros(()))
        parts.append(torch.autograd.grad(value, logp)[0])
        total = total + value.detach()
    torch.testing.assert_close(total, loss)
    torch.testing.assert_close(torch.cat(parts), gradient)


@pytest.mark.parametrize("key", KEYS)
def test_shaping_has_no_gradient_and_leaves_the_batch_alone(key: str, tmp_path: Any) -> None:
    made, batch = built(key, tmp_path), make()
    before = {k: v.clone() for k, v in {**batch.stored, "outcome": batch.outcome, "base": batch.base_reward}.items()}
    advantage, _, _ = run(made, batch)
    assert not advantage.requires_grad
    after = {**batch.stored, "outcome": batch.outcome, "base": batch.base_reward}
    assert all(torch.equal(after[k], v) for k, v in before.items())


ODD: dict[str, dict[str, Any]] = {
    "all right": {"outcome": [1] * 8},
    "all wrong": {"outcome": [0] * 8},
    "one token each": {"lengths": [1] * 8},
    "all truncated": {"truncated": [True] * 8, "lengths": [6] * 8},
    "partly ungraded": {"graded": [True, False, True, True, False, False, True, False]},
    "one graded row": {"graded": [False] * 3 + [True] + [False] * 4},
    "nothing graded": {"graded": [False] * 8},
    "groups of one": {"group": list(range(8))},
    "ragged groups": {"group": [0, 1, 1, 1, 1, 1, 2, 2]},
    "equal entropies": {"signals": {k: torch.full_like(v, -0.5 if "logp" in k else 0.5) for k, v in signals().items()}},
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("key", KEYS)
def test_odd_batches_stay_finite(key: str, case: str, tmp_path: Any) -> None:
    made, batch = built(key, tmp_path), make(**ODD[case])
    for value in run(made, batch):
        assert bool(torch.isfinite(value).all())
    advantage, _, gradient = run(made, batch)
    assert float(advantage[~batch.graded].abs().sum()) == 0.0
    assert float(gradient[~batch.graded].abs().sum()) == 0.0


@pytest.mark.parametrize("key", KEYS)
def test_inert_rows_have_no_gradient(key: str, tmp_path: Any) -> None:
    """`inert` promises the trainer that a row of zero advantages may be left out of the backward pass."""
    made, batch = built(key, tmp_path), make()
    if not made.inert:
        pytest.skip("not inert")
    advantage = torch.rand(8, 6) * batch.mask
    advantage[2] = 0.0
    logp = (batch.old_logp + 0.1).requires_grad_()
    loss = sum(made.loss(Now(logp, batch.signals["old.entropy"]), advantage, batch).values(), torch.zeros(()))
    (gradient,) = torch.autograd.grad(loss, logp)
    assert torch.equal(gradient[2], torch.zeros(6))


@pytest.mark.parametrize("key", KEYS)
def test_state_round_trip(key: str, tmp_path: Any) -> None:
    made = built(key, tmp_path)
    torch.save(made.state_dict(), tmp_path / "state.pt")
    again = built(key, tmp_path)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    for a, b in zip(run(made, make()), run(again, make()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("key", KEYS)
def test_facts_are_stated(key: str) -> None:
    cls = method.get(key)
    assert cls.provenance, "say where the formula was read"
    assert (cls.__doc__ or "").strip()
    # `rlfr-eval list` reads the class's own literals without importing it
    listed = method._declared()[key].facts
    assert listed["provenance"] == cls.provenance and listed.get("paper", "") == cls.paper
    assert key == "grpo" or cls.paper or cls.provenance == "own"
