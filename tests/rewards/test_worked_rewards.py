"""Reward-level methods and methods with views against numbers worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.core.errors import ConfigError
from harness.core.records import Message, Text
from rewards.method import Batch, Draw, Group, Now, Progress, Row, method
from rewards.methods.pattern_reward import PHRASES, pattern_score
from rewards.methods.rlcr import calibration_error, confidence
from rewards.methods.vppo import top_share
from rewards.support.views import black, mask_patches, noise_patches
from tests.rewards.conftest import FakeContext, make_batch, make_example, make_prompt


def make(key: str, **options: Any) -> Any:
    return method.get(key)(**options)


def near(value: Tensor | float, wanted: Sequence[Any] | float, atol: float = 1e-4) -> None:
    found = torch.as_tensor(value).detach().float()
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), atol=atol, rtol=0)


def z(made: Any, reward: Tensor, batch: Batch) -> Tensor:
    return made.advantage(reward, batch)[:, 0]


def test_drpo() -> None:
    s = torch.tensor([-0.5, -0.8, -1.2, -0.9])
    for lam, weights, objective in ((0.1, [0.993307, 0.006693], 0.546867), (1.0, [0.622459, 0.377541], None)):
        logp = s[:, None].expand(4, 4).clone().requires_grad_()
        batch = make_batch([1, 1, 0, 0], [1, 3, 2, 4], signals={"old.logp": logp.detach()})
        terms = make("drpo", lam=lam).loss(Now(logp, torch.zeros(4, 4)), torch.zeros(4, 4), batch)
        if objective is not None:
            near(-terms["policy"], objective)
        terms["policy"].backward()
        assert logp.grad is not None
        by_s = -logp.grad.sum(-1)  # s is a mean, so its slope is the sum of the tokens'
        near(by_s, [*weights, -0.492501, -0.507499])
    assert float(terms["kl"].detach()) == 0.0


def test_drpo_penalty_and_prompts_without_both_kinds() -> None:
    now = Now(torch.full((2, 2), -1.002), torch.zeros(2, 2))
    batch = make_batch([1, 1], [2, 2], signals={"old.logp": torch.full((2, 2), -1.0)})
    terms = make("drpo").loss(now, torch.zeros(2, 2), batch)
    near(terms["kl"], 0.0038, atol=1e-6)
    assert float(terms["policy"]) == 0.0


def test_sar() -> None:
    pairs = [([-0.1, -0.3, -0.2], [-0.5, -0.9, -0.7]), ([-0.4] * 3, [-0.1] * 3), ([-2.0] * 3, [-0.1] * 3)]
    signals = {"old.logp": torch.tensor([p[0] for p in pairs]), "bare.logp": torch.tensor([p[1] for p in pairs])}
    batch = make_batch([1, 0, 0], [3, 3, 3], signals=signals)
    near(make("sar").alignment(batch), [0.393469, -0.349859, -1.0])
    near(make("sar").reward(batch), [1.078694, -0.069972, -0.2])


def test_sar_view_has_neither_question_nor_picture() -> None:
    view = make("sar", context=2).bare(Row(make_example("a"), make_prompt("a", picture=True), (5, 6), "a#0"))
    assert view.response == (5, 6) and view.prompt.ids == (1, 2) and view.prompt.mm_token_type_ids == (0, 0)
    assert view.prompt.patches is None and view.prompt.images == ()


def clusters(answers: Sequence[str | None]) -> dict[str, Any]:
    known = {a: i for i, a in enumerate(dict.fromkeys(answers))}
    return {"extracted": list(answers), "cluster": [known[a] for a in answers]}


def test_empo() -> None:
    made = make("empo")
    batch = make_batch([0] * 7, [1] * 7, signals={}, **clusters(["a", "a", "b", "a", "c", "", "b"]))
    reward = made.reward(batch)
    near(reward, [0.428571, 0.428571, 0.285714, 0.428571, 0.142857, 0, 0.285714])
    near(z(made, reward, batch), [0.86602, 0.86602, 0, 0.86602, -0.86602, -1.73204, 0])
    different = make_batch([1, 0, 0], [1] * 3, signals={}, **clusters(["a", "b", "c"]))
    assert made.reward(different).tolist() == [0, 0, 0], "no two answers agree"
    two = make_batch([0] * 4, [1] * 4, group=[0, 0, 1, 1], signals={}, **clusters(["a", "a", "a", "b"]))
    assert made.reward(two).tolist() == [1, 1, 0, 0], "answers of different prompts are never counted together"


def test_laser_len() -> None:
    batch = make_batch([1, 1, 0, 0], [15, 50, 10, 30], extracted=["1", "1", "2", None], signals={}, max_new_tokens=164)
    made = make("laser-len", target=0.25)
    near(made.reward(batch), [1.5, 1, -0.5, -1])
    near(z(made, made.reward(batch), batch), [1.050209, 0.630126, -0.630126, -1.050209])


def test_dler() -> None:
    batch = make_batch([1, 0, 0, 0, 1, 1, 0, 1], [3, 2, 3, 1, 2, 2, 1, 3], group=[0] * 4 + [1] * 4, signals={})
    made = make("dler")
    wanted = [1.524510, -0.831551, -0.831551, -0.831551, 0.346479, 0.346479, -2.009581, 0.346479]
    near(z(made, made.reward(batch), batch), wanted)


@pytest.mark.parametrize(("alpha", "reward"), [(1.0, 0.55), (0.5, 0.475), (2.0, 0.7)])
def test_pear(alpha: float, reward: float) -> None:
    entropy = torch.tensor([[0.8, 0.4, 0.6, 0.2, 0.1]] * 3)
    spans = {"think": torch.tensor([[0, 3], [0, 3], [-1, -1]])}
    batch = make_batch([1, 0, 1], [5, 5, 5], signals={"old.entropy": entropy}, spans=spans)
    near(make("pear", alpha=alpha).reward(batch), [reward, 0, 1 - 0.42])


def test_gated_reward() -> None:
    parts = [{"outcome": o, "format": r} for o, r in zip((1, 0, 1, 0), (0.2, 0.5, -0.1, 0.3), strict=True)]
    both = {"outcome": 1.0, "format": 1.0}
    batch = make_batch([1, 0, 1, 0], [1] * 4, components=parts, weights=both, signals={})
    near(make("gated-reward").reward(batch), [1.2, 0, 0.9, 0])
    near(make("gated-reward", tau=-1.0).reward(batch), [1.2, 0.5, 0.9, 0.3])


def test_gated_reward_pays_what_the_recipe_pays() -> None:
    parts = [{"outcome": o, "format": 1.0} for o in (1.0, 0.0)]
    for weights in ({"outcome": 1.0}, {"outcome": 0.5, "format": 0.5}, {"outcome": 1.0, "format": 0.0}):
        reward = [sum(weights.get(n, 0.0) * v for n, v in p.items()) for p in parts]
        batch = make_batch([1, 0], [1, 1], components=parts, weights=weights, reward=reward, signals={})
        near(make("gated-reward", tau=-1.0).reward(batch), reward)  # ungated it is the recipe's own sum
        near(make("gated-reward").reward(batch), [reward[0], 0.0])


def test_flip_noise(tmp_path: Any) -> None:
    group = [i // 2 for i in range(400)]
    batch = make_batch([1, 0] * 200, [1] * 400, group=group, signals={})
    made = make("flip-noise", p=0.3)
    flipped = made.reward(batch).reshape(200, 2)[:, 0] == 0
    assert torch.equal(flipped, made.reward(batch).reshape(200, 2)[:, 1] == 1), "a group flips as a whole"
    assert 0.2 < float(flipped.float().mean()) < 0.4
    assert torch.equal(make("flip-noise", p=1.0).reward(batch), 1 - batch.outcome)
    made.setup(FakeContext(tmp_path, seed=5))
    assert not torch.equal(made.reward(batch).reshape(200, 2)[:, 0] == 0, flipped)
    assert batch.outcome.tolist() == [1, 0] * 200


def test_flip_noise_swaps_what_the_recipe_pays_for_right_and_wrong() -> None:
    """RLFR's language recipe: 0.5 for a right answer, 0.5 for a boxed one."""
    weights = {"outcome": 0.5, "format": 0.5}
    batch = make_batch([1, 0], [1, 1], reward=[1.0, 0.5], weights=weights, signals={})
    near(make("flip-noise", p=1.0).reward(batch), [0.5, 1.0])


def test_noisy_rewards() -> None:
    batch = make_batch(signals={"old.logp": torch.zeros(4, 3)})
    backward = make("noisy-backward", inject=False)
    near(backward.reward(batch), [1.285714] + [-0.142857] * 3)
    near(z(backward, backward.reward(batch), batch), [1.071429] + [-0.357143] * 3)
    forward = make("noisy-forward", inject=False)
    near(z(forward, forward.reward(batch), batch), [0.2, -0.8, -0.8, -0.8])
    with pytest.raises(ConfigError):
        make("noisy-backward", false_positive=0.6, false_negative=0.5)


def test_backward_is_a_no_op_under_z_scoring_and_forward_at_zero_is_nsr() -> None:
    batch = make_batch(signals={"old.logp": torch.zeros(4, 3)})
    corrected = make("noisy-backward", inject=False).reward(batch)
    near(z(make("grpo"), corrected, batch), z(make("grpo"), batch.base_reward, batch).tolist())
    forward = make("noisy-forward", false_negative=0.0, false_positive=0.0)
    assert torch.equal(forward.advantage(forward.reward(batch), batch), make("nsr").advantage(batch.base_reward, batch))


def test_corrections_are_right_on_average() -> None:
    """With injected errors: mean backward reward is the truth; mean forward weight is 0 for right, -.7 for wrong."""
    batch = make_batch([1, 0] * 10_000, [1] * 20_000, signals={})
    backward, forward = make("noisy-backward"), make("noisy-forward")
    truth = backward.reward(batch)
    near(truth[0::2].mean(), 1.0, atol=0.03)
    near(truth[1::2].mean(), 0.0, atol=0.03)
    weight = forward.advantage(forward.reward(batch), batch)[:, 0]
    near(weight[0::2].mean(), 0.0, atol=0.02)
    near(weight[1::2].mean(), -0.7, atol=0.02)


FORM = "<think>a</think> <answer>1</answer> <analysis>b</analysis> <confidence>{}</confidence>"


def test_rlcr() -> None:
    cases = [(1, 0.9, 1.495, 0.99), (1, 0.3, 1.255, 0.51), (0, 0.9, 0.595, -0.81), (0, 0.3, 0.955, -0.09)]
    texts = [FORM.format(q) for _, q, _, _ in cases]
    batch = make_batch([c for c, *_ in cases], [1] * 4, texts=texts, signals={})
    near(make("rlcr").reward(batch), [r for _, _, r, _ in cases])
    paper = make("rlcr", format_weight=0.0, correct_weight=1.0, brier_weight=1.0).reward(batch) - 1
    near(paper, [p for *_, p in cases])
    broken = make_batch([1, 1], [1, 1], texts=[FORM.format("95%"), "1"], signals={})
    assert make("rlcr").reward(broken).tolist() == [0, 0]


def test_rlcr_pays_best_for_the_true_probability() -> None:
    for p in (0.2, 0.5, 0.9):
        expected = [p * (1 - (q - 1) ** 2) + (1 - p) * (1 - q**2) for q in np.linspace(0, 1, 101)]
        assert abs(float(np.argmax(expected)) / 100 - p) < 1e-9


def test_confidence_and_calibration(tmp_path: Any) -> None:
    for text, value in (
        ("0.9", 0.9),
        (" 1 ", 1.0),
        ("0", 0.0),
        (".5", 0.5),
        ("95%", None),
        ("2", None),
        ("1.5", None),
        ("", None),
    ):
        assert confidence(FORM.format(text)) == value
    assert confidence(FORM.format("0.9") + " more") is None
    q, c = torch.tensor([0.95, 0.85, 0.85, 0.35, 0.15]), torch.tensor([1.0, 1, 0, 1, 0])
    near(calibration_error(q, c), 0.31)
    batch = make_batch(
        c.int().tolist(), [1] * 5, texts=[FORM.format(float(x)) for x in (0.95, 0.85, 0.85, 0.35, 0.15)], signals={}
    )
    found = make("rlcr").learn(batch, FakeContext(tmp_path))
    near(torch.tensor([found["rlcr/brier"], found["rlcr/ece"], found["rlcr/auroc"]]), [0.2385, 0.31, 0.75])


def vppo_batch(pictures: bool = True) -> Batch:
    old = torch.tensor([[0.8, 0.5, 0.9, 0.6, 0.7], [0.8, 0.5, 0.9, 0.6, 1.0]]).log()
    masked = torch.tensor([[0.8, 0.1, 0.9, 0.3, 0.7], [0.8, 0.4, 0.9, 0.6, 1.0]]).log()
    return make_batch([1, 0], [5, 4], pictures=pictures, signals={"old.logp": old, "masked.logp": masked})


def test_vppo() -> None:
    made, batch = make("vppo", penalty=0.0), vppo_batch()
    dependence = made.dependence(batch)
    near(dependence, [[0, 0.809438, 0, 0.193147, 0], [0, 0.023144, 0, 0, 0]])
    near(dependence.sum(-1) / batch.lengths, [0.200517, 0.005786])
    kept = top_share(dependence, batch.mask, 0.4)
    assert kept[0].nonzero().flatten().tolist() == [1, 3]
    assert int(kept[1].sum()) == 2 and bool(kept[1, 1])
    near(made.scale(dependence, batch, torch.tensor([True, True])), [1.1, 0.9])
    advantage = made.shape(torch.tensor([[1.0], [-1.0]]) * batch.mask, batch)
    loss = made.loss(Now(batch.old_logp, torch.zeros(2, 5)), advantage, batch)
    assert set(loss) == {"policy"}
    near(loss["policy"], -0.044444)
    penalised = make("vppo").loss(Now(batch.old_logp, torch.zeros(2, 5)), advantage, batch)["penalty"]
    near(penalised, float(0.06 * -batch.old_logp[batch.mask].mean()))


def test_vppo_leaves_text_prompts_alone() -> None:
    made, batch = make("vppo"), vppo_batch(pictures=False)
    advantage = torch.tensor([[1.0], [-1.0]]) * batch.mask
    assert torch.equal(made.shape(advantage, batch), advantage)


def test_masked_pictures_are_seeded_by_prompt_and_step() -> None:
    made, prompt = make("vppo"), make_prompt("p0", picture=True)
    rows = [Row(make_example("p0"), prompt, (5,), f"p0#{i}") for i in range(2)]
    assert not np.array_equal(
        made.masked(replace(rows[0], seed=1)).prompt.patches.patches, made.masked(rows[0]).prompt.patches.patches
    )
    views = [made.masked(r).prompt.patches for r in rows]
    assert np.array_equal(views[0].patches, views[1].patches), "the same mask for all rollouts of a prompt"
    patches = []
    for step in range(30):
        patches.append(made.masked(replace(rows[0], step=step)).prompt.patches.patches)
    hidden = np.array([[np.array_equal(row, black(1176)) for row in p] for p in patches])
    assert 0.35 < hidden.mean() < 0.65 and len({tuple(h) for h in hidden}) > 5


def test_views_of_pictures() -> None:
    prompt = make_prompt("a", picture=True)
    assert prompt.patches is not None
    before = prompt.patches.patches.copy()
    near(torch.tensor(black(1176)[[0, 391, 392, 1175]]), [-1.792263, -1.792263, -1.752097, -1.480219])
    everything = mask_patches(prompt, 1.0, 0).patches
    assert everything is not None and np.array_equal(everything.patches, np.tile(black(1176), (4, 1)))
    assert everything.sha256 != prompt.patches.sha256 and np.array_equal(everything.grid, prompt.patches.grid)
    nothing = mask_patches(prompt, 0.0, 0).patches
    assert nothing is not None and np.array_equal(nothing.patches, before)
    slight, strong = noise_patches(prompt, 3.3, 0).patches, noise_patches(prompt, 1000, 0).patches
    assert slight is not None and strong is not None
    assert np.corrcoef(slight.patches.ravel(), before.ravel())[0, 1] > 0.99
    assert abs(np.corrcoef(strong.patches.ravel(), before.ravel())[0, 1]) < 0.1 and abs(strong.patches.std() - 1) < 0.05
    assert np.array_equal(prompt.patches.patches, before), "the prompt itself is never changed"
    text = replace(prompt, patches=None)
    assert mask_patches(text, 1.0, 0) is text and noise_patches(text, 500, 0) is text


def test_dvrp() -> None:
    p, masked, noised = (torch.tensor([x]).log() for x in ((0.5, 0.8), (0.1, 0.8), (0.45, 0.8)))
    signals = {"old.logp": p, "masked.logp": masked, "noised.logp": noised}
    batch, made = make_batch([1], [2], pictures=True, signals=signals), make("dvrp")
    logp = p.clone().requires_grad_()
    terms = made.loss(Now(logp, torch.zeros(1, 2)), torch.zeros(1, 2), batch)
    near(terms["necessary"] / -0.01, 0.404719)
    near(terms["robust"] / 0.01, 0.002680)
    extra = terms["necessary"] + terms["robust"]
    near(extra, -0.004020, atol=1e-6)
    extra.backward()
    assert logp.grad is not None
    near(logp.grad, [[-0.0035, 0]], atol=1e-6)
    near(torch.tensor([made.noise_step(x) for x in (0.0, 0.5, 1.0)]), [496.6536, 250, 3.3464])
    text = make_batch([1], [2], signals=signals)
    assert float(made.loss(Now(p, p), torch.zeros(1, 2), text)["necessary"]) == 0.0


def test_grpo_lambda() -> None:
    group = [g for g in range(5) for _ in range(4)]
    right = [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    made = make("grpo-lambda")
    batch = make_batch(right, [5] * 20, group=group, signals={})
    assert made.shortened(batch) == [0]
    one = make_batch([1, 1, 1, 0], [100, 200, 300, 50], signals={})
    near(made.reward(one), [0.863738, 0.7, 0.536262, 0])
    near(z(made, made.reward(one), one), [0.904109, 0.467083, 0.030058, -1.401250])
    single = make_batch([1, 0], [7, 5], signals={})
    near(made.reward(single), [0.7, 0])
    plain = make("grpo-lambda", share=0.0)
    assert torch.equal(plain.reward(one), one.outcome)


def copo_batch() -> Batch:
    answers = [7, 7, 7, 7, 3, 3, 5, 8, 1, 1, 2, 2]
    right = [1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    signals = {"old.logp": torch.full((12, 2), -1.0)}
    return make_batch(right, [2] * 12, group=[i // 4 for i in range(12)], cluster=answers, signals=signals)


def test_copo() -> None:
    batch, first = copo_batch(), [0, 4, 8]
    near(make("copo").between(batch)[first], [1.120895, -0.320256, -0.800639])
    near(make("copo", consistency=True).between(batch)[first], [1.148945, -0.474771, -0.674174])
    near(make("copo", mode="soft").weight(batch)[first], [0.000045, 1, 0.999955])
    near(make("copo", mode="soft", middle=1.5).weight(batch)[first], [0, 0.5, 0.000045])
    assert make("copo").weight(batch)[[0, 8]].tolist() == [0, 0]


def test_copo_blends_losses() -> None:
    """On policy the slope of the loss is minus the blended advantage, over tokens and rollouts."""
    batch, made = copo_batch(), make("copo", middle=1.5)
    logp = batch.old_logp.clone().requires_grad_()
    ((enriched, advantage),) = made.steps(batch, made.advantage(made.reward(batch), batch))
    sum(made.loss(Now(logp, torch.zeros(12, 2)), advantage, enriched).values()).backward()
    assert logp.grad is not None
    near(-24 * logp.grad[4:8, 0], [-0.410127, -0.410127, 0.589871, -0.410127])
    parts = replace(batch, mini_batches=3)
    found = [float(b.signals["copo.between"][0]) for b, _ in made.steps(parts, advantage)]
    near(torch.tensor(found), [1.120895, -0.320256, -0.800639])  # the statistics of the rollout batch, not of a part


RAPO = [(0.3, 0.6, 0.153426, 0.346574), (0.6, 0.3, 0.386294, -1.386294), (0.4, 0.4, 0.0, 0.0)]


@pytest.mark.parametrize(("ref", "policy", "k", "slope"), RAPO)
def test_rapo(ref: float, policy: float, k: float, slope: float) -> None:
    target, logp = torch.tensor([[ref]]).log(), torch.tensor([[policy]]).log().requires_grad_()
    batch = make_batch([1], [1], signals={"old.logp": logp.detach(), "start.logp": target})
    entropy = torch.tensor([[0.7]], requires_grad=True)
    terms = make("rapo", alpha=1.0, beta=2.0).loss(Now(logp, entropy), torch.zeros(1, 1), batch)
    near(terms["forward_kl"], k)
    near(terms["entropy"], -1.4)
    (by_logp, by_entropy) = torch.autograd.grad(terms["forward_kl"] + terms["entropy"], (logp, entropy))
    near(by_logp, [[slope]])
    near(by_entropy, [[-2.0]])


def scripted(answers: dict[str, list[list[int]]], seen: list[list[Any]]) -> Any:
    """A sampler whose n-th draw of an item has the n-th listed outcomes."""
    calls: dict[str, int] = {}

    def draw(draws: Sequence[Draw]) -> list[Group]:
        seen.append(list(draws))
        groups = []
        for item in draws:
            number = calls.get(item.example.id, 0)
            calls[item.example.id] = number + 1
            right = answers[item.example.id][number]
            batch = make_batch(right, [10] * len(right), signals={})
            rollouts = tuple(replace(r, prompt_id=item.example.id) for r in batch.rollouts)
            groups.append(
                Group(example=item.example, prompt=batch.prompts[0], rollouts=rollouts, verdicts=batch.verdicts,
                      components=batch.components, train=item.train)
            )  # fmt: skip
        return groups

    return draw


def test_ghpo() -> None:
    solution = "a worked solution of some length"
    prompts = [replace(make_example(n, solution), messages=(Message("user", (Text("q?"),)),)) for n in "abc"]
    prompts[2] = replace(prompts[2], solution=None)
    seen: list[list[Any]] = []
    answers = {"a": [[1, 0]], "b": [[0, 0], [0, 0], [1, 0]], "c": [[0, 0]]}
    groups = make("ghpo").collect(scripted(answers, seen), prompts, Progress())
    assert [[d.example.id for d in draws] for draws in seen] == [["a", "b", "c"], ["b"], ["b"]]
    hinted = seen[2][0].example
    assert hinted.question.endswith("\n" + solution[: round(0.5 * len(solution))]) and "q?" in hinted.question
    assert [g.example.id for g in groups] == ["a", "b", "c"] and groups[1].example == hinted
    assert prompts[1].question == "q?", "the example itself is never changed"


def test_pppo_prefixes_and_rewards(tmp_path: Any) -> None:
    made = make("pppo", continuations=3, dynamic_sampling=False, overlong_cache=0.0)
    assert [make("pppo", eta=e).kept(n) for e in (0.15, 0.2, 0.35) for n in (3, 10, 20)] == [1, 1, 3, 1, 2, 4, 1, 3, 7]
    seen: list[list[Any]] = []
    first = [0, 0, 1, 0]
    probes = [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 0]]
    (group,) = made.collect(scripted({"a": [first, *probes]}, seen), [make_example("a")], Progress())
    assert [(d.n, len(d.prefix), d.train) for draws in seen[1:] for d in draws] == [(3, 1, False)] * 4
    batch = replace(make_batch(first, [10] * 4, signals={"old.logp": torch.zeros(4, 10)}), rollouts=group.rollouts)
    near(made.reward(batch), [2, 0, 4, 2])
    half = replace(batch, base_reward=0.5 * batch.base_reward, weights={"outcome": 0.5})
    near(made.reward(half), [1, 0, 2, 1])  # the own answer and a continuation's count alike
    near(z(made, made.reward(batch), batch), [0, -1.224745, 1.224745, 0])
    shaped = made.shape(made.advantage(made.reward(batch), batch), batch)
    assert (shaped != 0).sum(-1).tolist() == [0, 1, 1, 0], "only the prefix is trained"


def test_pppo_schedule_survives_a_resume() -> None:
    made = make("pppo", continuations=0)
    for validation in (None, 0.2, 0.2, 0.3, 0.1, 0.25, 0.25):
        made.collect(lambda draws: [], [], Progress(validation=validation))
    near(torch.tensor(made.kept(100)), 25.0)  # two new validations without progress
    again = make("pppo", continuations=0)
    again.load_state_dict(made.state_dict())
    assert again.kept(100) == 25
    for validation in (0.1, 0.2, 0.1, 0.2):
        again.collect(lambda draws: [], [], Progress(validation=validation))
    assert again.kept(100) == 35, "capped"


def test_crew() -> None:
    logp = torch.tensor([[0.5, 0.9, 0.8, 0.1, 0.3], [0.6, 0.5, 0.4, 0.9, 0.9], [0.9] * 5]).log()
    spans = {"boxed": torch.tensor([[1, 4], [0, 3], [-1, -1]])}
    batch = make_batch([1, 0, 1], [5, 5, 5], signals={"old.logp": logp}, spans=spans)
    near(make("crew").confidence(batch), [0.6, 0.5, 0])
    near(make("crew").reward(batch), [1.06, 0, 1])
    near(make("crew", only_right=False).reward(batch), [1.06, 0.05, 1])


def test_pattern_reward() -> None:
    text = "First, we need to expand. Wait, let me check the sign. Thus x=2, therefore the answer is \\boxed{2}."
    assert len(PHRASES) == 40
    near(
        torch.tensor([pattern_score(text), pattern_score(text + " user: "), pattern_score("wait " * 40)]),
        [0.3, 0, 0.002381],
    )
    batch = make_batch([0, 1, 0], [1] * 3, texts=[text] * 3, extracted=["2", "2", None], signals={})
    near(make("pattern-reward").reward(batch), [0.3, 0.3, 0])
    near(make("pattern-reward", mode="calibrate").reward(batch), [0.3, 1, 0])
