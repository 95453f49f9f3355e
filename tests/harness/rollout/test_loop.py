"""The one loop: nothing depends on the order of finishing, prompts are rendered as places free up, engines stay full."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from harness.core.errors import DataError, EngineError, ImageError
from harness.core.records import Example, Finish, Prompt, PromptStyle, Rollout, Sampling, Verdict
from harness.engines.base import Engine, Request
from harness.evaluation.evaluate import Experiment, evaluate
from harness.models import loading
from harness.models.renderer import Renderer
from harness.rollout.grading import TRAINING
from harness.rollout.loop import Ask, Graded, RolloutLoop
from harness.rollout.protocols import Tools
from tests.harness.fakes import Exact, Letters, example
from tests.harness.models.test_renderer import BUDGET


class Continuous(Engine):
    """Decodes `places` rows side by side, one token a step, and fills a place as it becomes free. A response's length is
    its own (log-normal, keyed by item and sample), and so is its text. `steps` counts decode steps of the whole batch."""

    def __init__(self, places: int, spread: float = 0.8) -> None:
        self.places, self.spread = places, spread
        self.steps, self.calls, self.pulled, self.given = 0, 0, 0, 0
        self.most_ahead = 0

    def length(self, item: str, index: int) -> int:
        return max(1, round(100 * random.Random(f"{item}/{index}").lognormvariate(0.0, self.spread)))

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        self.calls += 1
        queue = iter(requests)
        rows: list[tuple[int, Request, int]] = []
        waiting: list[tuple[Request, int]] = []
        while True:
            while len(rows) < self.places and (waiting or (pulled := next(queue, None))):
                if not waiting:
                    self.pulled += pulled.sampling.n
                    waiting = [(pulled, i) for i in pulled.samples or range(pulled.sampling.n)]
                request, index = waiting.pop(0)
                rows.append((self.length(request.prompt.example_id, index), request, index))
            if not rows:
                return
            self.most_ahead = max(self.most_ahead, self.pulled - self.given)
            shortest = min(left for left, _, _ in rows)
            self.steps += shortest
            rows = [(left - shortest, request, index) for left, request, index in rows]
            for _, request, index in [row for row in rows if not row[0]]:
                self.given += 1
                yield self.rollout(request, index)
            rows = [row for row in rows if row[0]]

    def rollout(self, request: Request, index: int) -> Rollout:
        item = request.prompt.example_id
        size = self.length(item, index)
        return Rollout(
            prompt_id=item,
            sample_index=index,
            token_ids=(1,) * size,
            logprobs=(0.0,) * size,
            finish=Finish.STOP,
            text=str(size % 3),
        )

    def describe(self) -> dict[str, Any]:
        return {"engine": "continuous"}


class AtOnce(Exact):
    """Grades in the caller's thread, so that nothing is left to wait for."""

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        done: Future[dict[str, Verdict]] = Future()
        done.set_result(self._grade(job))
        return done


ONE, FOUR = Sampling(max_new_tokens=8), Sampling(max_new_tokens=8, n=4)


def asks(count: int, sampling: Sampling = ONE) -> list[Ask]:
    return [Ask(example(str(i)), sampling) for i in range(count)]


def run(engine: Engine, work: Iterable[Ask], **fields: Any) -> list[Graded]:
    renderer = fields.pop("renderer", Letters())
    loop = RolloutLoop(Tools(renderer, engine, fields.pop("verifier", AtOnce())), fields.pop("longest", 100), **fields)
    return list(loop.run(work))


def content(graded: Iterable[Graded]) -> dict[tuple[str, int], tuple[str, str, str]]:
    return {
        (g.example.id, g.rollout.sample_index): (g.rollout.text, g.verdicts["strict"].status, g.rollout.finish)
        for g in graded
    }


def test_one_call_for_all_requests_keeps_the_engine_full() -> None:
    """1,000 log-normal lengths on 64 places: batch by batch, every batch waits for its slowest."""
    work = asks(1000)
    planned, streamed = Continuous(64), Continuous(64)
    for first in range(0, len(work), 64):
        run(planned, work[first : first + 64])
    run(streamed, work)
    lengths = [streamed.length(str(i), 0) for i in range(1000)]
    assert (planned.calls, streamed.calls) == (16, 1)
    assert streamed.steps <= sum(lengths) / 64 + max(lengths), "no place is empty before the last request has begun"
    assert planned.steps > 3 * streamed.steps, (planned.steps, streamed.steps)


@pytest.mark.parametrize("places", [1, 3, 64])
def test_what_comes_out_does_not_depend_on_how_many_decode_together(places: int) -> None:
    reference = run(Continuous(7), asks(30, FOUR))
    found = run(Continuous(places), asks(30, FOUR), verifier=Exact(delay=0.0005))
    assert content(found) == content(reference) and len(found) == 120
    if places == 64:
        order = [g.example.id for g in found]
        assert order != sorted(order, key=int), "rollouts come as they finish"


def test_prompts_are_rendered_as_places_become_free() -> None:
    renderer, engine = Letters(), Continuous(8)
    loop = RolloutLoop(Tools(renderer, engine, AtOnce()), 100)
    seen = 0
    for _ in loop.run(iter(asks(500))):
        seen += 1
        assert len(renderer.rendered) <= seen + 8
    assert seen == 500 and engine.most_ahead <= 8


def test_verdicts_are_given_out_while_the_engine_generates() -> None:
    engine = Continuous(4)
    loop = RolloutLoop(Tools(Letters(), engine, AtOnce()), 100)
    given = [engine.given for _ in loop.run(asks(40))]
    assert given == list(range(1, 41)), "each is out before the next is generated"


def test_a_slow_verifier_holds_generation_up_instead_of_filling_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.rollout.loop.IN_GRADING", 5)
    engine = Continuous(4)
    loop = RolloutLoop(Tools(Letters(), engine, Exact(delay=0.002)), 100)
    seen = 0
    for _ in loop.run(asks(60)):
        seen += 1
        assert engine.given - seen <= 6
    assert seen == 60


def test_long_prompts_are_ungraded_and_not_asked() -> None:
    """Longer than allowed, or as long as the engine's context: no room for a response."""
    work = [Ask(example("1"), FOUR), Ask(example("1000"), FOUR), Ask(example("2"), FOUR)]
    engine = Continuous(4)
    for fields in ({"longest": len("what is 1?")}, {}):
        engine.context = 0 if fields else len("what is 1000?")
        found = run(engine, work, protocols=TRAINING, **fields)
        refused = [g for g in found if g.too_long]
        assert {(g.example.id, g.rollout.sample_index) for g in refused} == {("1000", k) for k in range(4)}
        assert all(g.verdicts["strict"].reason == "prompt_too_long" for g in refused)
        assert len(found) == 12 and set(refused[0].verdicts) == {"strict"}


def test_only_the_wanted_samples_come() -> None:
    found = run(Continuous(4), [Ask(example("5"), FOUR, samples=(1, 3))])
    assert sorted(g.rollout.sample_index for g in found) == [1, 3]

    class Whole(Continuous):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            return super().generate(replace(r, samples=None) for r in requests)

    found = run(Whole(4), [Ask(example("5"), FOUR, samples=(1, 3))])
    assert sorted(g.rollout.sample_index for g in found) == [1, 3], "what an engine draws beside them is left out"


def test_what_the_engine_finished_before_it_failed_is_given_out() -> None:
    class Dies(Continuous):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            for number, rollout in enumerate(super().generate(requests)):
                if number == 9:
                    raise EngineError("out of memory", "lower engine.batch")
                yield rollout

    class Broken(Letters):
        def render(self, item: Example) -> Prompt:
            if item.id == "20":
                raise ImageError("item 20: image 20.png is broken", "fetch it again")
            return super().render(item)

    for tools, count, error in (
        (Tools(Letters(), Dies(4), Exact(delay=0.001)), 9, EngineError),
        (Tools(Broken(), Continuous(4), Exact(delay=0.001)), 20, ImageError),
    ):
        seen = []
        with pytest.raises(error):
            for graded in RolloutLoop(tools, 100).run(asks(40)):
                seen.append(graded)
        assert len(seen) == count


def test_an_item_is_asked_once_at_a_time() -> None:
    with pytest.raises(DataError, match="item 3 is asked twice"):
        run(Continuous(4), [Ask(example("3"), ONE), Ask(example("3"), ONE)])


def test_samples_of_a_real_policy_do_not_depend_on_the_batch(tiny_lm: loading.Loaded) -> None:
    """Rollouts and results of tiny-lm, one row at a time and many."""
    from harness.engines.transformers import TransformersEngine

    examples = [example(str(i), gold="1") for i in range(12)]
    plan = Experiment(
        task="toy-test",
        examples=examples,
        sampling=Sampling(max_new_tokens=24, n=3, seed=3),
        protocol="strict",
        max_prompt_tokens=200,
    )
    tools = [
        Tools(Renderer.of(tiny_lm, PromptStyle(), BUDGET), TransformersEngine(tiny_lm, batch=size), Exact())
        for size in (1, 5, 64)
    ]
    graded = []
    for part in tools:
        loop = RolloutLoop(part, 200)
        found = list(loop.run(Ask(e, plan.sampling) for e in examples))
        graded.append({(g.example.id, g.rollout.sample_index): g.rollout.token_ids for g in found})
    assert graded[0] == graded[1] == graded[2] and len(graded[0]) == 36
    results = [{k: v for k, v in evaluate(plan, part).items() if k != "cost"} for part in tools[1:]]
    assert results[0] == results[1]
