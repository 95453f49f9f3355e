"""Methods against numbers worked by hand, most of them on one toy batch: one prompt, four rollouts, nine tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.errors import ConfigError
from harness.core.records import Side, Status, Verdict
from rewards.method import Batch, Draw, Group, Method, Now, Progress, method
from rewards.methods.dapo import overlong
from rewards.methods.high_entropy_tokens import quantile
from tests.rewards.conftest import FakeContext, make_batch, make_example

P_OLD = torch.tensor([[0.5, 0.4, 0.8], [0.9, 0.2, 1.0], [0.6, 0.3, 0.4], [0.25, 1.0, 1.0]])
RATIO = torch.tensor([[1.0, 1.5, 0.5], [1.0, 1.5, 1.0], [0.5, 1.0, 1.5], [2.0, 1.0, 1.0]])
ENTROPY = torch.tensor([[0.1, 1.2, 0.4], [0.05, 0.9, 0.0], [0.3, 2.0, 0.6], [1.5, 0.0, 0.0]])
A_GRPO = torch.tensor([1.5, -0.5, -0.5, -0.5])


def toy(**changed: Any) -> Batch:
    signals = {"old.logp": P_OLD.log(), "old.entropy": ENTROPY, "start.logp": P_OLD.log()}
    return make_batch(signals=signals, max_new_tokens=3, **changed)


def now() -> Now:
    return Now((P_OLD * RATIO).log().requires_grad_(), ENTROPY.clone().requires_grad_())


def advantage_of(made: Method, batch: Batch) -> Tensor:
    return made.shape(made.advantage(made.reward(batch), batch), batch)


def loss_of(made: Method, batch: Batch, policy: Now) -> Tensor:
    return sum(made.loss(policy, advantage_of(made, batch), batch).values(), torch.zeros(()))


def make(key: str, **options: Any) -> Any:
    return method.get(key)(**options)


def plain_dapo(**options: Any) -> Any:
    return make("dapo", overlong_cache=0.0, mask_truncated=False, **options)


def near(value: Tensor | float, wanted: Sequence[Any] | float, atol: float = 1e-4) -> None:
    found = torch.as_tensor(value).detach().float()
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), atol=atol, rtol=0)


def nine_gradients(made: Method) -> Tensor:
    policy, batch = now(), toy()
    loss_of(made, batch, policy).backward()  # type: ignore[no-untyped-call]
    assert policy.logp.grad is not None
    return 9 * policy.logp.grad


def test_grpo() -> None:
    near(advantage_of(make("grpo"), toy())[:, 0], A_GRPO.tolist())
    near(loss_of(make("grpo"), toy(), now()), 0.20625)
    near(loss_of(make("grpo", reduction="token"), toy(), now()), -0.016667)
    near(nine_gradients(make("grpo", reduction="token")), [[-1.5, 0, -0.75], [0.5, 0.75, 0], [0, 0.5, 0.75], [1, 0, 0]])


def test_dapo_and_dr_grpo() -> None:
    near(loss_of(plain_dapo(), toy(), now()), -0.03)
    near(loss_of(make("dr-grpo"), toy(), now()), -0.00625)
    near(overlong(torch.tensor([10, 16, 18, 20]), 20, 0.2), [0, 0, -0.5, -1])
    assert overlong(torch.tensor([20]), 20, 0.0).tolist() == [0]


def test_dapo_masks_truncated_rollouts_and_keeps_the_outcome_clean() -> None:
    made, batch = make("dapo", overlong_cache=0.5), toy(truncated=[True, False, False, False])
    advantage = advantage_of(made, batch)
    assert torch.equal(advantage[0], torch.zeros(3)) and float(advantage[2, 0]) < 0
    near(made.reward(batch), [0, -1 / 3, -1, 0])  # lengths 3, 2, 3, 1 of 3; the penalty starts at 1.5
    assert batch.outcome.tolist() == [1, 0, 0, 0]


def group(name: str, right: Sequence[bool | None]) -> Group:
    verdicts = tuple(
        Verdict(status=Status.UNGRADED, protocol="strict", reason="lost", side=Side.INSTRUMENT)
        if r is None
        else Verdict(status=Status.CORRECT if r else Status.INCORRECT, protocol="strict", reason="")
        for r in right
    )
    batch = make_batch([float(bool(r)) for r in right], [1] * len(right))
    return Group(
        example=make_example(name), prompt=batch.prompts[0], rollouts=batch.rollouts, verdicts=verdicts, components=()
    )


def test_dynamic_sampling_draws_uniform_groups_again() -> None:
    answers: dict[str, list[list[Any]]] = {
        "a": [[1, 0]],
        "b": [[1, 1], [0, 1]],
        "c": [[0, 0], [0, 0], [1, 0]],
        "d": [[1, None]] * 3,
    }
    asked: list[list[str]] = []

    def draw(draws: Sequence[Draw]) -> list[Group]:
        asked.append([d.example.id for d in draws])
        return [group(n, answers[n][len(asked) - 1]) for n in asked[-1]]

    prompts = [make_example(n) for n in "abcd"]
    found = make("dapo", refill="same", max_draws=3).collect(draw, prompts, Progress())
    assert asked == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"]]
    assert [g.example.id for g in found] == ["a", "b", "c"], "an ungraded rollout does not make a group mixed"
    asked.clear()
    assert len(make("dapo", dynamic_sampling=False).collect(draw, prompts, Progress())) == 4 and len(asked) == 1
    asked.clear()
    none = make("dapo", max_draws=1).collect(draw, prompts[3:], Progress())
    assert [g.example.id for g in none] == ["d"], "a step without mixed groups keeps what it drew"


class Source:
    """Draws by script: `mixed` names the prompts whose groups are mixed; `order` is what further prompts come from."""

    def __init__(self, mixed: str, order: str) -> None:
        self.mixed, self.order = mixed, list(order)
        self.asked: list[str] = []

    def __call__(self, draws: Sequence[Draw]) -> list[Group]:
        self.asked.append("".join(d.example.id for d in draws))
        return [group(d.example.id, [1, 0] if d.example.id in self.mixed else [1, 1]) for d in draws]

    def further(self, count: int) -> list[Any]:
        taken, self.order = self.order[:count], self.order[count:]
        return [make_example(n) for n in taken]


@pytest.mark.parametrize(
    ("mixed", "order", "rounds", "asked", "kept"),
    [
        ("abcd", "xyz", 10, ["abcd"], "abcd"),
        ("acyz", "wxyz", 10, ["abcd", "wx", "yz"], "acyz"),
        ("ay", "wxy", 10, ["abcd", "wxy"], "ay"),  # the set is used up
        ("acz", "wxyz", 2, ["abcd", "wx"], "ac"),
        ("", "wx", 10, ["abcd", "wx"], "abcd"),  # nothing mixed: the first draw is kept for the log
    ],
)
def test_dapo_fills_the_step_with_further_prompts(
    mixed: str, order: str, rounds: int, asked: list[str], kept: str
) -> None:
    source = Source(mixed, order)
    found = make("dapo", max_draws=rounds).collect(source, [make_example(n) for n in "abcd"], Progress())
    assert source.asked == asked
    assert "".join(g.example.id for g in found) == kept


def test_truncated_rollouts_are_in_no_denominator_of_dapo() -> None:
    """A row of ten tokens beside a truncated one of a hundred: TRL's mean is over the ten."""
    batch = make_batch([1, 0], [10, 100], truncated=[False, True], signals={"old.logp": torch.zeros(2, 100)})
    advantage = torch.tensor([[1.0], [0.0]]) * batch.mask
    now_ = Now(torch.zeros(2, 100), torch.zeros(2, 100))
    for options, wanted in (({}, -1.0), ({"truncated_in_mean": True}, -10 / 110), ({"reduction": "rollout"}, -1.0)):
        made = make("dapo", **options)
        near(made.loss(now_, advantage, batch)["policy"], wanted)
        parts = [made.loss(Now(n.logp[i : i + 1], n.entropy[i : i + 1]), advantage[i : i + 1], p)["policy"]
                 for i, n in ((0, now_), (1, now_)) for p in [batch.select(torch.tensor([i]), keep_totals=True)]]  # fmt: skip
        near(sum(parts, torch.zeros(())), wanted)


def test_cispo_and_gspo() -> None:
    near(loss_of(make("cispo"), toy(), now()), 0.023442)
    near(nine_gradients(make("cispo")), [[-1.5, -1.92, -0.75], [0.5, 0.64, 0], [0.25, 0.5, 0.64], [0.64, 0, 0]])
    near(loss_of(make("gspo"), toy(), now()), 0.187345)


def test_gspo_gradient_is_that_of_the_sequence_ratio() -> None:
    """The token form against autograd through `min(s A, clip(s) A)` with `s = exp(mean_t drift)`."""
    batch, made = toy(), make("gspo", clip_low=0.05, clip_high=0.3)
    policy = now()
    loss_of(made, batch, policy).backward()  # type: ignore[no-untyped-call]
    logp = policy.logp.detach().clone().requires_grad_()
    drift = torch.where(batch.mask, logp - batch.old_logp, 0.0).sum(-1) / batch.lengths
    s, a = drift.exp(), advantage_of(made, batch)[:, 0]
    near(s, [0.908560, 1.224745, 0.908560, 2.0])
    (-torch.minimum(s * a, s.clamp(0.95, 1.3) * a)).mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(policy.logp.grad, logp.grad)


def test_equal_gradients_on_policy() -> None:
    """At ratio 1, grpo, dapo, gspo and cispo have the same gradient for equal reductions."""
    gradients = []
    for key in ("grpo", "dapo", "gspo", "cispo"):
        options = {"overlong_cache": 0.0} if key == "dapo" else {}
        made, logp = make(key, reduction="rollout", **options), P_OLD.log().requires_grad_()
        loss_of(made, toy(), Now(logp, ENTROPY)).backward()  # type: ignore[no-untyped-call]
        gradients.append(logp.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


def test_baselines() -> None:
    near(advantage_of(make("rloo"), toy())[:, 0], [1, -1 / 3, -1 / 3, -1 / 3])
    whitened = advantage_of(make("reinforce-pp-baseline"), toy())
    near(whitened, [[4 / 3] * 3, [-2 / 3, -2 / 3, 0], [-2 / 3] * 3, [-2 / 3, 0, 0]])


def test_whitening_couples_prompts_by_their_lengths() -> None:
    batch = make_batch(
        [1, 0, 0, 0, 1, 1, 0, 1], [3, 2, 3, 1, 2, 2, 1, 3], group=[0] * 4 + [1] * 4, signals={"old.logp": torch.zeros(8, 3)}
    )  # fmt: skip
    wanted = [1.524510, -0.831551, -0.831551, -0.831551, 0.346479, 0.346479, -2.009581, 0.346479]
    near(advantage_of(make("reinforce-pp-baseline"), batch)[:, 0], wanted)


def test_positive_and_negative_samples() -> None:
    near(advantage_of(make("psr"), toy())[:, 0], [1, 0, 0, 0])
    near(advantage_of(make("nsr"), toy())[:, 0], [0, -1, -1, -1])
    near(advantage_of(make("w-reinforce"), toy())[:, 0], [0.1, -1, -1, -1])
    on_policy = Now(P_OLD.log(), ENTROPY)
    near(loss_of(make("nsr"), toy(), on_policy), 1.0)
    near(loss_of(make("nsr", denominator="all"), toy(), on_policy), 0.666667)
    near(loss_of(make("w-reinforce", positive_weight=0.0), toy(), on_policy), 0.666667)
    near(loss_of(make("psr"), toy(), on_policy), -1.0)
    wrong, still = make_batch([0, 0], [2, 1], signals={"old.logp": torch.zeros(2, 2)}), torch.zeros(2, 2)
    near(loss_of(make("psr"), wrong, Now(still, still)), 0.0)


def test_entropy_adv() -> None:
    made = make("entropy-adv")
    base = advantage_of(made, toy())
    psi = made.bonus(ENTROPY, base)
    near(psi, [[0.04, 0.48, 0.16], [0.02, 0.25, 0], [0.12, 0.25, 0.24], [0.25, 0, 0]])
    near((base + psi) * toy().mask, [[1.54, 1.98, 1.66], [-0.48, -0.25, 0], [-0.38, -0.25, -0.26], [-0.25, 0, 0]])
    policy = now()
    loss = loss_of(made, toy(), policy)
    loss.backward()  # type: ignore[no-untyped-call]
    assert policy.entropy.grad is None, "the bonus is detached: no gradient through the entropy"
    # the surrogate of the shaped advantages, by hand
    shaped = (base + psi) * toy().mask
    ratio = RATIO
    wanted = -torch.minimum(ratio * shaped, ratio.clamp(0.8, 1.28) * shaped)[toy().mask].sum() / 9
    near(loss, float(wanted), atol=1e-6)
    with pytest.raises(ConfigError):
        make("entropy-adv", kappa=1.0)


def test_high_entropy_tokens() -> None:
    mask = toy().mask
    near(quantile(ENTROPY[mask], 0.8), 1.32)
    for q in (0.0, 0.3, 0.8, 1.0):
        near(quantile(ENTROPY[mask], q), float(torch.quantile(ENTROPY[mask], q)), atol=1e-6)
    made = make("high-entropy-tokens", overlong_cache=0.0)
    kept = made.kept(ENTROPY, mask)
    assert kept.nonzero().tolist() == [[2, 1], [3, 0]]
    policy = now()
    loss_of(made, toy(), policy).backward()  # type: ignore[no-untyped-call]
    assert policy.logp.grad is not None
    near(9 * policy.logp.grad, [[0, 0, 0], [0, 0, 0], [0, 0.5, 0], [1, 0, 0]])


def test_redit_on_given_noise() -> None:
    made = make("redit")
    noise = torch.tensor([0.05, -0.05, 0.0, 0.0])
    near(made.advantage(1 + noise, toy())[:, 0], [1.224715, -1.224715, 0, 0])
    near(made.advantage(torch.tensor([1.0, 0, 0, 0]) + noise, toy())[:, 0], [1.498534, -0.561950, -0.468292, -0.468292])


def test_redit_noise_is_keyed(tmp_path: Any) -> None:
    for distribution in ("gaussian", "uniform"):
        made = make("redit", distribution=distribution)
        draws = torch.tensor([made.noise(step, f"p{i}#0") for step in range(40) for i in range(50)])
        spread = 0.05 if distribution == "gaussian" else 0.05 / 3**0.5
        assert abs(float(draws.mean())) < 0.005 and abs(float(draws.std()) / spread - 1) < 0.06
        assert len(set(draws.tolist())) == 2000
        if distribution == "uniform":
            assert float(draws.abs().max()) <= 0.05
    first, other = make("redit"), make("redit")
    other.setup(FakeContext(tmp_path, seed=1))
    batch = toy()
    assert torch.equal(first.reward(batch), make("redit").reward(batch))
    assert not torch.equal(first.reward(batch), other.reward(batch))
    assert not torch.equal(first.reward(batch), first.reward(toy(progress=Progress(step=1))))
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(first.reward(batch.select(order)), first.reward(batch)[order])
    assert batch.outcome.tolist() == [1, 0, 0, 0] and batch.base_reward.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"mu": 1.0}, [1, 0, -0.5, -0.5]),
        ({"mu": 0.0}, [0.5, -0.5, 0, 0]),
        ({"mu": 0.5}, [0.75, -0.25, -0.25, -0.25]),
        ({"mu": 1.0, "alpha": 0.5}, [0.5, 0, -0.25, -0.25]),
    ],
)
def test_canon(options: dict[str, float], wanted: list[float]) -> None:
    made = make("canon", **options)
    near(made.criterion(toy()), [0.566667, 0.475, 0.966667, 1.5])
    near(advantage_of(made, toy())[:, 0], wanted)


def test_canon_by_length() -> None:
    """Lengths 3, 2, 3, 1: the lower half is {3, 1}, the upper {0, 2} (equal lengths keep their order)."""
    near(advantage_of(make("canon", metric="length"), toy())[:, 0], [1, -0.5, 0, -0.5])
    near(advantage_of(make("canon", metric="length", alpha=0.5, beta=0.1), toy())[:, 0], [0.6, -0.35, 0.1, -0.35])


def test_dispo() -> None:
    ratio = torch.tensor([[0.5, 1.0, 3.0, 20.0]])
    made = make("dispo", overlong_cache=0.0)
    for sign, weight, loss in ((1.0, [0.8, 1, 3, 11], 3.95), (-1.0, [0.5, 1, 3, 20], -6.125)):
        advantage = torch.full((1, 4), sign)
        near(made.weight(ratio, advantage), [weight])
        batch = make_batch([1], [4], signals={"old.logp": -1 - ratio.log()})
        near(made.loss(Now(torch.full((1, 4), -1.0), torch.zeros(1, 4)), advantage, batch)["policy"], loss)


def test_ppl_shaping() -> None:
    logp = torch.tensor([[-0.2] * 3, [-0.4] * 3, [-0.6] * 3, [-0.8] * 3])
    batch = make_batch(signals={"old.logp": logp})
    made = make("ppl-shaping", alpha=0.1)
    near((1 - made.factor(batch)) / 0.1, [-1.161895, -0.387298, 0.387298, 1.161895])
    near(advantage_of(made, batch)[:, 0], [1.674284, -0.519365, -0.480635, -0.441905])
    assert float(make("ppl-shaping", alpha=9.0).factor(batch).min()) == 0.0, "a factor never turns negative"


def test_position_shaping() -> None:
    batch = make_batch([1, 0, 0, 0], [1, 5, 2, 3], signals={"old.logp": torch.zeros(4, 5)})
    made = make("position-shaping")
    near(made.bonus(batch)[1], [0.007586, 0.022270, 0.05, 0.077730, 0.092414])
    near(advantage_of(made, batch)[1], [-0.507586, -0.522270, -0.55, -0.577730, -0.592414])
    near(made.bonus(batch)[0], [0.007586, 0, 0, 0, 0])
    late = make("position-shaping", start=0.5)
    assert torch.equal(advantage_of(late, batch), advantage_of(make("grpo"), batch))


def test_ace() -> None:
    shift = torch.tensor([0.0, 2.0, 1.0, 0.5]).log()
    batch = make_batch(signals={"old.logp": shift[:, None].expand(4, 3), "start.logp": torch.zeros(4, 3)})
    made = make("ace")
    near(made.factor(batch)[1:], [2.098612, 1.693147, 1.405465])
    near(advantage_of(made, batch)[:, 0], [1.5, -1.049306, -0.846574, -0.702733])
    summed = make("ace", confidence="sum", confidence_max=1.0)
    near(summed.factor(batch)[1], 1 + float(torch.nn.functional.softplus(torch.tensor(1.0))))


@pytest.mark.parametrize("key", ["grpo", "rlfr", "dapo", "gspo", "cispo", "copo", "lp-reg", "delta", "rloo", "dispo"])
def test_the_recipe_caps_the_ratio_of_every_method(key: str) -> None:
    """A token with A < 0 whose ratio ran away: without the cap the loss grows with it, with the cap it does not."""
    options = {"rlfr": {"beta": 0.0}, "copo": {"mode": "local"}, "cispo": {"clip_high": 9.0}}.get(key, {})
    made = make(key, **options)
    logp = torch.tensor([[2.0, 2.0], [0.0, 0.0]])
    signals = {"old.logp": torch.zeros(2, 2), "old.proxy_logp": torch.zeros(2, 2)}
    batch = make_batch([0, 1], [2, 2], signals=signals)
    advantage = torch.tensor([[-1.0], [1.0]]) * batch.mask
    found = []
    for cap, shift in ((None, 0.0), (None, 0.5), (3.0, 0.0), (3.0, 0.5)):
        now_ = Now((logp + torch.tensor([[shift], [0.0]])).requires_grad_(), torch.zeros(2, 2))
        loss = made.loss(now_, advantage, replace(batch, ratio_cap=cap))["policy"]
        (slope,) = torch.autograd.grad(loss, now_.logp)
        found.append(float(slope[0].abs().sum()))
    assert found[2] == found[3], "capped, a further step away changes nothing"
    assert found[0] > found[2] or found[1] > found[3]
