"""Methods that read logits, head inputs, hidden states, prompt tokens or spliced answers, against numbers worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.records import Answer, AnswerType, Example
from rewards.method import Chunk, Now, Progress, Row, method
from rewards.methods.self_certainty import certainty
from rewards.support.ridge import Ridge
from rewards.support.splice import replace_answer
from tests.rewards.conftest import FakeContext, make_batch, make_chunk, make_prompt


def make(key: str, **options: Any) -> Any:
    return method.get(key)(**options)


def near(value: Tensor | float, wanted: Sequence[Any] | float, atol: float = 1e-4) -> None:
    found = torch.as_tensor(value).detach().float()
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), atol=atol, rtol=0)


def reading(logits: Tensor, ids: Tensor, **changed: Any) -> Chunk:
    """A chunk of one rollout per row whose head inputs are the logits themselves."""
    base = make_chunk([ids.shape[1]] * len(ids), layers=())
    return replace(base, ids=ids, head=logits, project=lambda states, t: states / t, **changed)


def test_lp_reg_proxy() -> None:
    p = torch.tensor([0.90, 0.06, 0.03, 0.01])
    made = make("lp-reg")
    found = made.filtered(p.log()[None].expand(4, 4), torch.arange(4)).exp()
    near(found, [0.909091, 0.060606, 0.030303, 0.0], atol=1e-6)
    ids = torch.tensor([[2, 0, 3]])
    near(made.proxy(reading(p.log().expand(1, 3, 4), ids))["proxy_logp"][0, :2].exp(), [0.030303, 0.909091], atol=1e-6)


@pytest.mark.parametrize(("now", "loss", "slope"), [(0.03, 0.500051, 0.489899), (0.02, 0.432969, -0.181818)])
def test_lp_reg_on_a_selected_token(now: float, loss: float, slope: float) -> None:
    """Token 2 of the worked example, twice, so that S holds more than one token."""
    batch = make_batch([0, 0], [1, 1], signals={
        "old.logp": torch.full((2, 1), 0.03).log(), "old.proxy_logp": torch.full((2, 1), 0.030303).log()
    })  # fmt: skip
    logp = torch.full((2, 1), now).log().requires_grad_()
    value = make("lp-reg", k_neg=1.0).loss(Now(logp, torch.zeros(2, 1)), torch.full((2, 1), -0.5), batch)["policy"]
    near(value, loss)
    (gradient,) = torch.autograd.grad(value, logp)
    near(gradient.sum(), slope)


def test_lp_reg_selects_the_least_likely_negative_tokens() -> None:
    made = make("lp-reg", k_neg=0.5)
    logp = torch.tensor([[-5.0, -4.0, -3.0, -2.0, -1.0, -6.0]])
    proxy = logp + torch.tensor([[0.1, -0.1, 0.1, 0.1, 0.1, 0.1]])
    advantage = torch.tensor([[-1.0, -1.0, -1.0, -1.0, 1.0, -1.0]])
    mask = torch.tensor([[True] * 5 + [False]])
    assert made.chosen(logp, proxy, advantage, mask).tolist() == [[True, False, False, False, False, False]]
    assert not made.chosen(logp, proxy, advantage.clamp(max=0) * (logp < -3.5), mask).any(), "one token is no selection"


def test_delta() -> None:
    state = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    batch = make_batch([1, 0], [2, 2], signals={"old.logp": torch.full((2, 2), 0.5).log(), "old.state": state})
    made = make("delta")
    advantage = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    near(made.means(advantage.clamp(min=0), batch), [0.25, 0.25])
    near(made.means((-advantage).clamp(min=0), batch), [-0.25, 0.25])
    lam = made.weights(advantage, batch)
    near(lam, [[1.078796, 0.921204], [0.921204, 1.078796]])
    near(made.shape(advantage, batch), [[1.078796, 0.921204], [-0.921204, -1.078796]])


def test_delta_without_contrast_is_left_alone() -> None:
    state = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    batch = make_batch([1, 1], [2, 2], signals={"old.logp": torch.full((2, 2), -0.5), "old.state": state})
    advantage = torch.tensor([[1.0, 1.0], [0.5, 0.5]])
    assert torch.equal(make("delta").shape(advantage, batch), advantage)


FORM = "<think>t</think><answer>\n 1</answer>"


def test_rlpr() -> None:
    spliced = torch.tensor([[0.5, 0.9], [0.2, 0.4], [0.9, 0.7], [0.1, 0.3]])
    made = make("rlpr")
    chunk = make_chunk([2, 2, 2, 2], layers=())
    kept = torch.tensor([True, True, True, False])[:, None] & chunk.mask
    found = made.likelihood(replace(chunk, logp=spliced.log(), mask=kept))["probability"]
    near(found, [0.7, 0.3, 0.8, 0.0])
    signals = {"spliced.probability": found, "direct.probability": torch.full((4,), 0.35)}
    batch = make_batch([0] * 4, [3] * 4, row_signals=signals, texts=[FORM] * 3 + ["no tags"], signals={})
    reward = made.reward(batch)
    near(reward, [0.415, 0.1, 0.505, 0.0])
    near(made.advantage(reward, batch)[:, 0], [0.658428, -0.637852, 1.028794, -1.049370])


def test_rlpr_filter(tmp_path: Path) -> None:
    made, context = make("rlpr"), FakeContext(tmp_path)
    signals = {"spliced.probability": torch.tensor([0.7, 0.3, 0.8, 0.0]), "direct.probability": torch.full((4,), 0.35)}
    texts = [FORM] * 3 + ["no tags"]

    def at(step: int) -> Any:
        progress = Progress(step=step, total=20)
        return make_batch([0] * 4, [3] * 4, row_signals=signals, texts=texts, signals={}, progress=progress)

    made.learn(at(4), context)
    assert made._spread is None, "the average starts with step 6"
    made._spread = 0.2
    made.learn(at(12), context)
    near(made._spread, 0.20043)
    batch = at(12)
    assert float(made.advantage(made.reward(batch), batch).abs().sum()) > 0
    made._spread = 0.5
    assert float(made.advantage(made.reward(batch), batch).abs().sum()) == 0, "0.243 is below half of 0.5"
    early = at(9)
    assert float(made.advantage(made.reward(early), early).abs().sum()) > 0, "the filter starts with step 11"


def test_rlpr_views(tmp_path: Path) -> None:
    made, context = make("rlpr"), FakeContext(tmp_path)
    made.setup(context)
    answer = Answer(type=AnswerType.INTEGER, golds=("42",))
    example = Example(id="a", task="toy", messages=(), answer=answer)
    row = Row(example, make_prompt("a"), context.encode(FORM), "a#0")
    view = made.spliced(row)
    assert context.decode(view.response) == "<think>t</think><answer>\n 42" and view.keep == 2
    assert made.spliced(replace(row, response=context.encode("<answer>1"))).keep == 0
    direct = made.direct(row)
    assert context.decode(direct.response) == "42" and direct.keep == 2 and direct.prompt is row.prompt


def test_splicing_keeps_the_tokens_before_the_answer() -> None:
    """Tokens of three characters: the one that reaches into the answer is encoded anew, with what it had before it."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(sum(ord(c) << (8 * k) for k, c in enumerate(text[i : i + 3])) for i in range(0, len(text), 3))

    def decode(ids: Sequence[int]) -> str:
        return "".join(chr((i >> (8 * k)) & 255) for i in ids for k in range(3) if (i >> (8 * k)) & 255)

    ids = encode("ab<answer> 17</answer>")  # the answer starts at character 11, in the fourth token
    found, kept = replace_answer(ids, "2048", encode, decode)
    assert found[:3] == ids[:3] and decode(found) == "ab<answer> 2048" and kept == 2
    with pytest.raises(ValueError):
        replace_answer(encode("none"), "1", encode, decode)


def test_ridge() -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    y = torch.tensor([0.0, 1.0, 1.0, 1.0])
    found = Ridge.fit(x, y, 0.01)
    near(found.coefficients, [0.352672, -0.143978], atol=1e-6)
    near(found(x), [0.168121, 0.999377, 0.666874, 1.165628], atol=1e-6)
    wide = torch.randn(5, 12, generator=torch.Generator().manual_seed(0)).double()  # more features than samples
    dual, target = Ridge.fit(wide, y.new_tensor([0.0, 1, 1, 0, 1]), 0.3), torch.tensor([0.0, 1, 1, 0, 1]).double()
    z = (wide - dual.mean) / dual.scale
    primal = torch.linalg.solve(z.t() @ z + 0.3 * torch.eye(12).double(), z.t() @ (target - target.mean()))
    torch.testing.assert_close(dual.coefficients, primal)


def test_poise(tmp_path: Path) -> None:
    made = make("poise")
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    phi = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    batch = make_batch([1, 0], [2, 1], row_signals={"old.phi": phi}, signals={})
    near(made.advantage(made.reward(batch), batch)[:, 0], [0.5, -0.5])  # before the first fit: the batch's mean
    made._probe = Ridge.fit(x, torch.tensor([0.0, 1.0, 1.0, 1.0]), 0.01)
    near(made.advantage(made.reward(batch), batch), [[0.0, 0.0], [-0.168121, 0.0]])
    near(made.learn(batch, FakeContext(tmp_path))["probe_error"], (0.168121**2 + 0.0) / 2)
    assert torch.equal(made._seen[0][1], torch.tensor([0.0, 1.0])), "the target of a state is the other's reward"


def test_poise_keeps_the_last_batches(tmp_path: Path) -> None:
    made, context = make("poise", buffer=1), FakeContext(tmp_path)
    for number in range(4):
        phi = torch.full((2, 3), float(number))
        made.learn(make_batch([1, 0], [2, 1], row_signals={"old.phi": phi}, signals={}), context)
    assert [float(phi[0, 0]) for phi, _ in made._seen] == [2.0, 3.0]
    again = make("poise", buffer=1)
    again.load_state_dict(made.state_dict())
    batch = make_batch([1, 0], [2, 1], row_signals={"old.phi": torch.randn(2, 3)}, signals={})
    for one in (made, again):
        one.learn(batch, context)
    assert torch.equal(made._probe.coefficients, again._probe.coefficients)


def test_poise_features() -> None:
    chunk = make_chunk([5, 1], layers=(2,), size=4, padding=1)
    states = chunk.hidden[2]
    entropy = torch.tensor([[0.3, 9.0, 0.1, 0.5, 0.2, 0.6, 9.0], [0.2, 9.0, 1.5, 9.0, 9.0, 9.0, 9.0]])[:, 1:]
    mask = chunk.mask & (torch.arange(6) > 0)
    found = make("poise", tokens=2).features(replace(chunk, tail=1, mask=mask, entropy=entropy))["phi"]
    near(found[0, :4], states[0, :2].mean(0).tolist())
    near(found[0, 4:8], states[0, 4:6].mean(0).tolist())
    inner = torch.tensor([0.1, 0.5, 0.2, 0.6])
    near(found[0, 8:], [float(inner.mean()), 0.6, float(inner.std(correction=0))])
    near(found[1, 4:], [0.0] * 7)  # a response without tokens


def test_self_certainty() -> None:
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.97, 0.01, 0.01, 0.01]])
    near(certainty(p.log(), torch.zeros(3, dtype=torch.long)), [0.429813, 0.0, 2.075198])
    padded = torch.cat([p.log(), torch.full((3, 2), -1e30)], 1)
    near(certainty(padded, torch.zeros(3, dtype=torch.long)), [0.429813, 0.0, 2.075198])
    made = make("self-certainty")
    chunk = reading(2.0 * p.log()[None], torch.zeros(1, 3, dtype=torch.long), temperature=0.5)
    near(made.read_certainty(replace(chunk, head=p.log()[None]))["certainty"], [[0.429813, 0.0, 2.075198]])
    batch = make_batch([0], [3], signals={"old.certainty": torch.tensor([[0.429813, 0.0, 2.075198]])})
    near(made.reward(batch), [0.835004])


def test_progrpo() -> None:
    tail = torch.tensor([[0.6, 0.5, 0.9, 0.1]] * 2).log()
    rows = {"old.tail_logp": tail, "old.tail_mask": torch.tensor([[True] * 3 + [False]] * 2)}
    p = torch.tensor([[0.9, 0.5, 0.8, 0.95, 0.9], [0.9, 0.9, 0.2, 0.6, 0.9]])
    batch = make_batch([1, 0], [5, 5], signals={"old.logp": p.log()}, row_signals=rows)
    made = make("progrpo")
    near(made.asked(batch), [0.646330] * 2)
    near(made.said(batch), [0.5, 0.2])
    shift = made.advantage(batch.base_reward, batch) - make("dapo").advantage(batch.base_reward, batch)
    near(shift[:, 0], [0.043899, 0.133899])
    flat = make_batch([1, 1], [5, 5], signals={"old.logp": p.log()}, row_signals=rows)
    assert float(made.advantage(flat.base_reward, flat).abs().sum()) == 0, "nothing to learn in a uniform group"
    one = make("progrpo", correct_only=True).advantage(batch.base_reward, batch)
    near((one - make("dapo").advantage(batch.base_reward, batch))[:, 0], [0.043899, 0.0])


def test_resrl() -> None:
    def norm(rows: list[list[float]]) -> Tensor:
        return torch.nn.functional.layer_norm(torch.tensor(rows), (4,))

    known = norm([[2.0, 0, 0, 0], [0, 2.0, 0, 0]] * 2)
    asked = norm([[2.0, 0, 0, 0], [0, 0, 2.0, 0], [1.0, 1.0, 0, 0]])
    made = make("resrl", rank=1)
    near(made.weights(known, asked), [0.1, 1.0, 0.180380])
    latent = torch.stack([torch.cat([known, known[:1]]), torch.cat([asked, known[:2]])])
    batch = make_batch([1, 0], [4, 3], signals={"old.latent": latent[:, :4]})
    shaped = made.shape(batch.mask * torch.tensor([[1.0], [-1.0]]), batch)
    near(shaped, [[0.1] * 4, [-0.1, -1.0, -0.180380, 0.0]])


def test_resrl_directions_are_those_of_the_exact_decomposition() -> None:
    draw = torch.Generator().manual_seed(0)
    sizes = 0.5 ** torch.arange(40.0)
    centred = torch.randn(60, 40, generator=draw) * sizes
    found = make("resrl").weights(centred, centred[:5], 3)
    assert torch.equal(found, make("resrl").weights(centred, centred[:5], 3))
    from rewards.methods.resrl import directions

    fast = directions(centred, 4, draw)
    exact = torch.linalg.svd(centred, full_matrices=False).Vh[:4].t()
    torch.testing.assert_close(fast @ fast.t(), exact @ exact.t(), atol=1e-3, rtol=0)
    flat = torch.zeros(6, 5)
    flat[:, 0] = torch.arange(6.0) - 2.5
    assert directions(flat, 4, draw).shape == (5, 1), "null directions are arbitrary"


def test_nthr() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    hot = torch.eye(3)
    residual = torch.stack([hot[[0, 1]] - p, hot[[0, 2]] - p])
    state = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]])
    batch = make_batch([1, 0], [2, 2], signals={"old.residual": residual, "old.state": state})
    right, wrong = torch.tensor([0]), torch.tensor([1])
    bound, found = make("nthr").influence(right, wrong, batch)
    near(found, [[0.38, -0.72]])
    near(bound, 0.67)
    advantage = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    near(make("nthr").shape(advantage, batch), [[1.0, 1.0], [-1.0, -1.0]])
    near(make("nthr", beta=0.5).shape(advantage, batch), [[1.0, 1.0], [0.0, -1.0]])


def test_nthr_slices() -> None:
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 4, 1], [6, 4, 0]])
    seen = (torch.tensor([1, 4]), torch.tensor([0, 4, 6]))
    chunk = reading(logits, ids, seen=seen.__getitem__)
    found = make("nthr").slices(chunk)
    full = torch.nn.functional.one_hot(ids, 7) - logits.softmax(-1)
    near(found["residual"][0], [[*row, 0.0] for row in full[0][:, [1, 4]].tolist()])
    near(found["residual"][1], full[1][:, [0, 4, 6]].tolist())


def test_laser() -> None:
    lz = torch.tensor([-13.0, -22.0, -21.0, -23.0])
    rows = {"judged.mark": lz, "first.mark": torch.full((4,), -23.0)}
    batch = make_batch([1, 0, 0, 0], [3, 2, 3, 1], row_signals=rows, signals={"old.logp": torch.full((4, 3), -0.5)})
    made = make("laser")
    near(made.score(lz, batch), [1.0, 0.1, 0.2, 0.0])
    near(make("laser", constant=-23.0).score(lz, batch), [1.0, 0.1, 0.2, 0.0])
    near(made.error(lz, batch), 0.008333)
    near(made.advantage(batch.base_reward, batch)[:, 0], [1.497588, -0.499196, -0.477331, -0.521061])
    cut = replace(batch, truncated=torch.tensor([False, False, True, False]))
    near(made.error(lz, cut), (0.75 * 0.01) / 4)


def test_laser_uses_the_verifier_where_scores_hardly_differ() -> None:
    rows = {"judged.mark": torch.tensor([-22.9, -23.0, -23.0, -23.0]), "first.mark": torch.full((4,), -23.0)}
    batch = make_batch(row_signals=rows, signals={"old.logp": torch.zeros(4, 3)})
    plain = make("grpo").advantage(batch.base_reward, batch)
    torch.testing.assert_close(make("laser").advantage(batch.base_reward, batch), plain)


def test_laser_trains_the_mark_and_leaves_the_policy_loss_alone(tmp_path: Path) -> None:
    made = make("laser", tau=0.0)
    made.setup(FakeContext(tmp_path))
    lz = torch.tensor([-13.0, -22.0, -21.0, -23.0])
    rows = {"judged.mark": lz, "first.mark": torch.full((4,), -23.0)}
    old = -torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    batch = make_batch(row_signals=rows, signals={"old.logp": old, "old.entropy": old.abs()})
    advantage = made.advantage(batch.base_reward, batch)
    ((part, own),) = made.steps(batch, advantage)
    assert part.rollouts[1].token_ids == (*batch.rollouts[1].token_ids, ord("✓"))
    assert part.ids[torch.arange(4), batch.lengths].tolist() == [ord("✓")] * 4
    assert torch.equal(part.lengths, batch.lengths)
    logp = part.old_logp.clone().requires_grad_()
    terms = made.loss(Now(logp, torch.zeros(4, 4)), own, part)
    near(terms["self_reward"], 0.1 * 0.008333)
    near(terms["policy"], float(make("grpo").loss(Now(old, torch.zeros(4, 3)), advantage, batch)["policy"]))
    (slope,) = torch.autograd.grad(terms["self_reward"], logp)
    moved = slope != 0
    assert moved[torch.arange(4), batch.lengths].tolist() == [False, True, True, False]  # two are exact already
    assert int(moved.sum()) == 2
    assert len(next(iter(make("laser", weight=0.0).steps(batch, advantage)))[0].ids[0]) == 3


def test_delta_bounds_the_loss_of_bad_tokens() -> None:
    batch = make_batch([0, 1], [1, 1], signals={"old.logp": torch.zeros(2, 1)})
    now = Now(torch.tensor([[3.0], [3.0]]), torch.zeros(2, 1))
    advantage = torch.tensor([[-1.0], [1.0]])
    near(make("delta").loss(now, advantage, batch)["policy"], (10.0 - 1.28) / 2)
    plain = make("delta", dual_clip=None).loss(now, advantage, batch)
    near(plain["policy"], make("dapo").loss(now, advantage, batch)["policy"].item())


def test_poise_predicts_what_the_recipe_can_pay() -> None:
    """RLFR's multimodal recipe pays 1 for a right answer and 0.5 for the tags."""
    made = make("poise")
    made._probe = Ridge(
        torch.zeros(1).double(), torch.ones(1).double(), torch.ones(1).double(), torch.zeros(()).double()
    )
    phi = torch.tensor([[1.4], [2.0], [-1.0]])
    for weights, wanted in (({"outcome": 1.0, "format": 0.5}, [1.4, 1.5, 0.0]), ({"outcome": 1.0}, [1.0, 1.0, 0.0])):
        near(made._predict(phi, make_batch([1, 1, 0], [1] * 3, weights=weights, signals={})), wanted)


def test_resrl_pays_less_for_long_right_responses() -> None:
    batch = make_batch([1, 1, 1, 0], [4096, 3500, 3798, 4096], max_new_tokens=4096, signals={})
    near(make("resrl").reward(batch), [0.7, 1.0, 0.85, 0.0])
    assert torch.equal(make("resrl", brevity=0.0).reward(batch), batch.base_reward)
