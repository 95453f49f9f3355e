"""From prompts to a batch: the order of prompts, draws, what an ungraded row does, token spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core import config
from harness.core.errors import TrainingError
from harness.core.records import Answer, AnswerType, Example, Finish, Prompt, Rollout, Side, Status, Verdict
from harness.engines import base
from harness.engines.base import Request
from harness.rollout.protocols import Tools
from rewards.method import Draw, Group, Progress
from tasks.base import user
from trainers.assemble import assemble, spans
from trainers.sampling import Sampler, prompts_at

RECIPE = config.load("tiny-lm", sets=["train.group_size=2", "rendering.max_prompt_tokens=6"])
GOLD = Answer(type=AnswerType.INTEGER, golds=("1",))


def example(name: str) -> Example:
    return Example(id=name, task="t-train", messages=user(name), answer=GOLD)


def verdict(status: Status, side: Side | None = None, extracted: str | None = "1") -> Verdict:
    return Verdict(status=status, protocol="strict", reason="match", extracted=extracted, side=side)


def rollout(item: str, index: int, text: str, finish: Finish = Finish.STOP) -> Rollout:
    ids = tuple(text.encode())
    return Rollout(
        prompt_id=item, sample_index=index, token_ids=ids, logprobs=(-1.0,) * len(ids), finish=finish, text=text
    )


class Renderer:
    hash = "h"

    def render(self, item: Example) -> Prompt:
        ids = tuple(item.id.encode())
        return Prompt(example_id=item.id, ids=ids, engine_ids=ids, text=item.id, template_hash="h")


class Engine(base.Engine):
    """Finishes rollouts in reverse order, so that nothing may rely on the order of arrival."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        requests = list(requests)
        self.seeds.append(requests[0].sampling.seed)
        for request in reversed(requests):
            for index in reversed(range(request.sampling.n)):
                yield rollout(request.prompt.example_id, index, f"{request.prompt.example_id}:{index}")


class Verifier:
    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        done: Future[dict[str, Verdict]] = Future()
        done.set_result({"strict": verdict(Status.CORRECT if job.response.endswith("0") else Status.INCORRECT)})
        return done

    def clusters(self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        return [answers.index(a) for a in answers]


def tools(engine: Engine) -> Tools:
    return Tools(Renderer(), engine, Verifier())


def clusters(answers: list[str | None], _: AnswerType) -> list[int]:
    return [answers.index(a) for a in answers]


def decode(ids: Any) -> str:
    return bytes(ids).decode()


def test_prompts_visit_every_example_once_an_epoch_and_depend_on_seed_and_step_only() -> None:
    examples = [example(str(k)) for k in range(7)]
    drawn = [e.id for step in range(7) for e in prompts_at(examples, 3, step, 4)]
    assert all(sorted(drawn[k : k + 7]) == sorted(e.id for e in examples) for k in range(0, 28, 7))
    assert [e.id for e in prompts_at(examples, 3, 5, 4)] == drawn[20:24]
    assert drawn != [e.id for step in range(7) for e in prompts_at(examples, 4, step, 4)]


def test_draw_keeps_rollouts_with_their_prompt_in_sample_order_and_drops_long_prompts() -> None:
    sampler = Sampler(tools(Engine()), RECIPE, seed=0)
    sampler.start(0)
    groups = sampler(
        [Draw(example=example("a")), Draw(example=example("far too long")), Draw(example=example("b"), n=3)]
    )
    assert [[r.text for r in g.rollouts] for g in groups] == [["a:0", "a:1"], ["b:0", "b:1", "b:2"]]
    assert [[v.correct for v in g.verdicts] for g in groups] == [[True, False], [True, False, False]]
    assert sampler.dropped == ["far too long"]
    assert sampler.sampled_tokens == 3 * 5


def test_every_draw_has_a_stream_of_its_own_and_a_resumed_step_repeats_it() -> None:
    engine = Engine()
    sampler = Sampler(tools(engine), RECIPE, seed=0)
    for step in (0, 1, 0):
        sampler.start(step)
        sampler([Draw(example=example("a"))])
        sampler([Draw(example=example("a"))])
    assert engine.seeds[:2] == engine.seeds[4:]
    assert len(set(engine.seeds[:4])) == 4


def test_further_prompts_are_new_to_the_step_and_a_resumed_step_repeats_them() -> None:
    examples = [example(str(k)) for k in range(9)]
    recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"prompts_per_step": 4})})

    def of(step: int, *counts: int) -> list[list[str]]:
        sampler = Sampler(tools(Engine()), recipe, seed=3, examples=examples)
        sampler.start(step)
        return [[e.id for e in sampler.further(count)] for count in counts]

    own = {e.id for e in prompts_at(examples, 3, 1, 4)}
    first, second, third = of(1, 2, 2, 9)
    assert len(first) == len(second) == 2
    assert sorted({*own, *first, *second, *third}) == sorted(e.id for e in examples)
    assert len(own) + len(first) + len(second) + len(third) == len(examples), "each prompt once"
    assert of(1, 4)[0] == [*first, *second], "whatever the size of a request"
    assert of(2, 4) != of(1, 4)
    assert Sampler(tools(Engine()), recipe, seed=3).further(2) == []


def test_two_draws_of_one_item_in_one_call_are_refused() -> None:
    sampler = Sampler(tools(Engine()), RECIPE, seed=0)
    with pytest.raises(TrainingError, match="two draws of item a"):
        sampler([Draw(example=example("a")), Draw(example=example("a"))])


def batch_of(verdicts: list[Verdict], texts: list[str], finishes: list[Finish] | None = None) -> Any:
    finishes = finishes or [Finish.STOP] * len(texts)
    rollouts = tuple(rollout("a", k, t, f) for k, (t, f) in enumerate(zip(texts, finishes, strict=True)))
    named = tuple({"outcome": float(v.correct), "format": 0.0} for v in verdicts)
    group = Group(
        example=example("a"),
        prompt=Renderer().render(example("a")),
        rollouts=rollouts,
        verdicts=tuple(verdicts),
        components=named,
    )
    probe = Group(**{**{k: getattr(group, k) for k in Group.__dataclass_fields__}, "train": False})
    return assemble([group, probe], RECIPE, Progress(), torch.device("cpu"), clusters, decode)


def test_instrument_failures_leave_the_batch_and_hostile_answers_stay_as_wrong() -> None:
    batch = batch_of(
        [verdict(Status.CORRECT), verdict(Status.UNGRADED, Side.INSTRUMENT), verdict(Status.UNGRADED, Side.ANSWER)],
        ["ab", "abcd", "abc"],
    )
    assert batch.graded.tolist() == [True, False, True]
    assert batch.mask.sum(-1).tolist() == [2, 0, 3]
    assert batch.outcome.tolist() == [1.0, 0.0, 0.0]
    assert (batch.totals.rollouts, batch.totals.tokens, batch.totals.groups) == (2.0, 5.0, 1.0)
    assert batch.ids[0].tolist() == [97, 98, 0, 0]
    assert batch.engine_logp[2].tolist() == [-1.0, -1.0, -1.0, 0.0]


def test_probes_are_left_out_and_an_empty_step_says_so() -> None:
    assert len(batch_of([verdict(Status.CORRECT)], ["a"]).rollouts) == 1
    with pytest.raises(TrainingError, match="no rollout to train on"):
        assemble([], RECIPE, Progress(), torch.device("cpu"), clusters, decode)


def test_truncated_rows_are_marked() -> None:
    batch = batch_of([verdict(Status.INCORRECT)] * 2, ["a", "b"], [Finish.LENGTH, Finish.STOP])
    assert batch.truncated.tolist() == [True, False]


def test_spans_are_token_ranges_of_the_last_part_of_each_kind() -> None:
    text = "<think>hm \\boxed{1}</think><answer>\\boxed{\\frac{1}{2}}</answer>"
    found = spans([rollout("a", 0, text), rollout("a", 1, "no marks")], decode)
    shown = {name: text[slice(*found[name][0].tolist())] for name in found}
    assert shown == {
        "think": "<think>hm \\boxed{1}</think>",
        "answer": "<answer>\\boxed{\\frac{1}{2}}</answer>",
        "boxed": "\\frac{1}{2}",
    }
    assert all(found[name][1].tolist() == [-1, -1] for name in found)


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("so \\boxed{7} and then {x}.", "boxed", "7"),
        ("\\boxed{1} or \\boxed{\\text{a}{b}} }", "boxed", "\\text{a}{b}"),
        ("\\boxed{7", "boxed", None),
        ("\\boxed{}", "boxed", None),
        ("hm</think> 7", "think", "hm</think>"),
        ("a</think> b <think>c", "think", "<think>c"),
        ("<think>a</think><think>b</think>", "think", "<think>b</think>"),
        ("no tags", "think", None),
    ],
)
def test_spans_of_odd_texts(text: str, name: str, wanted: str | None) -> None:
    """The last box's inside whatever follows it; thinking that the chat template opened begins with the response."""
    place = spans([rollout("a", 0, text)], decode)[name][0].tolist()
    assert place == [-1, -1] if wanted is None else text[slice(*place)] == wanted


def test_spans_count_tokens_not_characters() -> None:
    pieces = {1: "x", 2: "<answer>", 3: "12", 4: "</answer>", 5: " end"}
    row = SimpleNamespace(token_ids=(1, 2, 3, 4, 5), text="".join(pieces.values()))
    found = spans([row], lambda ids: "".join(pieces[i] for i in ids))  # type: ignore[list-item]
    assert found["answer"][0].tolist() == [1, 4]
