"""What passes may ask for beyond log-probabilities: head inputs and logits, prompt tokens, kept tokens, readings of any shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from rewards.method import Batch, Chunk, Method, Pass, Progress, Row, View, method
from rewards.support.layers import layer_indices
from tests.trainers import small
from tests.trainers.workbench import recipe, trainer
from trainers.passes import Reading, read, run_passes, scored, tail_values
from trainers.rl import Trainer


class Probe(Method):
    """Reads everything a chunk offers."""

    key: ClassVar[str] = "probe"
    asked: tuple[Pass, ...] = ()

    @property
    def passes(self) -> tuple[Pass, ...]:
        return self.asked

    def own(self, chunk: Chunk) -> dict[str, Tensor]:
        again = chunk.per_token(lambda z, ids: z.log_softmax(-1).gather(1, ids[:, None])[:, 0])
        spread = chunk.per_token(lambda z, ids: -(z.softmax(-1) * z.log_softmax(-1).clamp(min=-1e9)).sum(-1))
        assert chunk.head is not None and chunk.seen is not None
        return {
            "again": again[:, chunk.tail :], "spread": spread[:, chunk.tail :], "state": chunk.head[:, chunk.tail :],
            "row": torch.stack([chunk.head.sum((1, 2)), chunk.mask.sum(-1).float(), chunk.mask.sum(-1) * 2.0], -1),
            "seen": torch.tensor([float(chunk.seen(i).sum()) for i in range(len(chunk.rows))]),
        }  # fmt: skip


def probe(*passes: Pass) -> Probe:
    made = Probe()
    made.asked = passes
    return made


@pytest.fixture(scope="module")
def bench(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    made = trainer(tiny_lm, tmp_path_factory.mktemp("hooks"), recipe())
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


def signals(made: Trainer, batch: Batch, *passes: Pass, budget: int = 4096, temperature: float = 1.0) -> dict[str, Any]:
    return dict(run_passes(made.policy, probe(*passes), passes, batch, 0, budget, temperature).signals)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_streamed_logits_give_the_log_probabilities(bench: tuple[Trainer, Batch], temperature: float) -> None:
    made, batch = bench
    asked = Pass(name="old", head=True, read="own", rows=("row", "seen"))
    found = signals(made, batch, asked, temperature=temperature)
    for mine, theirs in (("again", "logp"), ("spread", "entropy")):
        wanted = torch.where(batch.mask, found[f"old.{theirs}"], 0.0)
        torch.testing.assert_close(found[f"old.{mine}"], wanted, atol=1e-5, rtol=1e-5)
    assert found["old.state"].shape == (*batch.ids.shape, made.policy.hidden_size)
    assert found["old.row"].shape == (len(batch.rollouts), 3), "a reading per rollout is not padded to the tokens"
    assert torch.equal(found["old.row"][:, 1], batch.lengths.float())
    for row, group in enumerate(batch.group.tolist()):
        ids = batch.ids[(batch.group == group)[:, None] & batch.mask]
        assert float(found["old.seen"][row]) == float(ids.unique().sum())


def test_readings_do_not_depend_on_micro_batches(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    asked = (Pass(name="old", head=True, read="own", rows=("row", "seen"), tail=5), Pass(name="all", tail="prompt"))
    one, two = (signals(made, batch, *asked, budget=budget) for budget in (4096, 100))
    for name in one:
        width = min(one[name].shape[-1], two[name].shape[-1])  # prompts' tokens are as wide as a micro-batch needs
        torch.testing.assert_close(one[name][..., :width].float(), two[name][..., :width].float(), atol=2e-4, rtol=1e-4)


def test_tail_moves_nothing_of_the_response(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    found = signals(made, batch, Pass(name="old"), Pass(name="few", tail=4), Pass(name="all", tail="prompt"))
    for name in ("few", "all"):
        for key in ("logp", "entropy"):
            torch.testing.assert_close(found[f"{name}.{key}"], found[f"old.{key}"], atol=1e-5, rtol=1e-5)
    for row, prompt in enumerate(batch.prompts):
        size = len(prompt.ids) - 1
        assert found["all.tail_mask"][row].sum() == size and bool(found["all.tail_mask"][row, :size].all())
        last = found["all.tail_logp"][row, size - 4 : size]
        torch.testing.assert_close(last, found["few.tail_logp"][row, :4], atol=1e-5, rtol=1e-5)


def test_prompt_tokens_are_scored_as_responses_would_be(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    found = signals(made, batch, Pass(name="all", tail="prompt"))

    def shifted(row: Row) -> View:
        return View(replace(row.prompt, ids=row.prompt.ids[:1]), row.prompt.ids[1:])

    wanted = signals(made, batch, Pass(name="as", view=shifted))["as.logp"]
    for row, prompt in enumerate(batch.prompts):
        size = len(prompt.ids) - 1
        torch.testing.assert_close(found["all.tail_logp"][row, :size], wanted[row, :size], atol=1e-4, rtol=1e-4)


def test_only_kept_tokens_are_in_the_mask(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    seen: list[Row] = []

    def view(row: Row) -> View:
        seen.append(row)
        return View(row.prompt, (*row.response, 5, 6), keep=2)

    found = signals(made, batch, Pass(name="view", view=view, head=True, read="own", rows=("row", "seen")))
    assert torch.equal(found["view.row"][:, 1][batch.graded], torch.full((int(batch.graded.sum()),), 2.0))
    nonzero = (found["view.again"] != 0).nonzero()
    lengths = torch.tensor([len(r.token_ids) for r in batch.rollouts])
    assert {(int(r), int(p)) for r, p in nonzero} == {
        (r, int(lengths[r]) + k) for r in range(len(lengths)) for k in (0, 1)
    }
    assert {(r.seed, r.step) for r in seen} == {(0, 0)}


def test_image_tokens_of_a_prompt_are_not_counted() -> None:
    policy = small.policy("qwen2_5_vl")
    prompt = small.image_prompt([(1, 4, 6)], 4)
    item = replace(small.item(prompt, (3, 2)), tail=scored(prompt, "prompt"))
    text = replace(small.item(small.text_prompt(4, 1), (6,), 2), tail=3)
    (mb,) = policy.plan([item, text], 4096)
    with torch.no_grad():
        out = policy(mb, (1,), head=True)
        plain = policy(policy.plan([replace(item, tail=0), replace(text, tail=0)], 4096)[0], (1,))
    found = read(probe(), Pass(name="p", tail="prompt"), out, mb, _three_rows(), Reading(policy, 0, 1.0))
    assert found["p.tail_mask"][0].tolist() == [k == 0 for k in (prompt.mm_token_type_ids or ())[1:]]
    assert bool((found["p.tail_logp"][~found["p.tail_mask"]] == 0).all())
    assert found["p.tail_mask"][2].tolist() == [True] * 3 + [False] * (mb.tail - 3)
    torch.testing.assert_close(
        torch.cat([found["p.logp"][0, :3], found["p.logp"][1, :2], found["p.logp"][2]]), plain.logp
    )
    assert float(tail_values(torch.ones(3, mb.tail + 6), mb)["tail_logp"].sum()) == float(found["p.tail_mask"].sum())


def _three_rows() -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(ids=torch.zeros(3, 6))


def test_layers_may_be_counted_from_the_end() -> None:
    assert layer_indices((-2, 0.5), 4) == (2,) and layer_indices((-1, 0), 3) == (0, 2)


def test_text_for_views(bench: tuple[Trainer, Batch]) -> None:
    context = bench[0].context
    assert context.decode(context.encode("12 + 3")) == "12 + 3"
    example = bench[0].parts.examples[0]
    assert context.render(example).ids == bench[0].parts.renderer.render(example).ids


def test_a_reference_answer_is_scored_behind_the_reasoning(bench: tuple[Trainer, Batch]) -> None:
    """rlpr on responses in its form: the mean probability of the reference's tokens, by a pass of its own."""
    made, batch = bench
    text = "<think>so</think><answer> {}</answer>"
    ids = [made.context.encode(text.format(n)) for n in range(len(batch.rollouts))]
    spoken = tuple(
        replace(r, token_ids=i, text=made.context.decode(i)) for r, i in zip(batch.rollouts, ids, strict=True)
    )
    width = max(map(len, ids))
    mask = torch.arange(width)[None] < torch.tensor([len(i) for i in ids])[:, None]
    formed = replace(batch, rollouts=spoken, mask=mask, ids=torch.zeros(mask.shape, dtype=torch.long))
    work = method.get("rlpr")()
    work.setup(made.context)
    found = run_passes(made.policy, work, work.passes, formed, 0, 4096, 1.0).signals["spliced.probability"]

    def golds(row: Row) -> View:
        return View(row.prompt, made.context.encode(f"<think>so</think><answer> {row.example.answer.golds[0]}"))

    logp = signals(made, formed, Pass(name="as", view=golds))["as.logp"]
    for row, example in enumerate(formed.examples):
        end = len(made.context.encode(f"<think>so</think><answer> {example.answer.golds[0]}"))
        start = len(made.context.encode("<think>so</think><answer> "))
        torch.testing.assert_close(found[row], logp[row, start:end].exp().mean(), atol=1e-5, rtol=1e-4)
