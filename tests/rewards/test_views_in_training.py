"""Methods that look twice, on real rollouts of a small picture policy: the views reach the model, and only as asked."""

from __future__ import annotations

import pytest
import torch

from harness.models import tiny
from rewards.method import Batch, Progress, method
from tests.trainers.workbench import recipe, trainer
from trainers.passes import run_passes, view_items, views
from trainers.rl import Trainer


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    folder = tmp_path_factory.mktemp("views")
    start = tiny.build("tiny-vl", folder / "tiny-vl")
    made = trainer(start, folder, recipe("tiny-vl", "train.prompts_per_step=2", "train.group_size=3"))
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


@pytest.mark.parametrize(("key", "view"), [("vppo", "masked"), ("dvrp", "masked"), ("dvrp", "noised"), ("sar", "bare")])
def test_a_view_changes_what_the_policy_sees(bench: tuple[Trainer, Batch], key: str, view: str) -> None:
    made, batch = bench
    work = method.get(key)()
    work.setup(made.context)
    signals = [run_passes(made.policy, work, work.passes, batch, 0, 4096, 1.0).signals for _ in range(2)]
    seen, plain = signals[0][f"{view}.logp"], signals[0]["old.logp"]
    assert torch.equal(seen, signals[1][f"{view}.logp"]), "a view is a function of its seed"
    assert bool(((seen - plain).abs().amax(-1) > 1e-5).all()), "every rollout's prompt has a picture"
    first = plain - seen
    batch = batch.with_signals(signals[0])
    with torch.no_grad():
        advantage = work.shape(work.advantage(work.reward(batch), batch), batch)
    assert bool(torch.isfinite(advantage).all()) and float(first[~batch.mask].abs().sum()) == 0.0


@pytest.mark.parametrize(("key", "view"), [("vppo", "masked"), ("dvrp", "noised")])
def test_a_prompt_is_seen_once_for_all_its_rollouts(bench: tuple[Trainer, Batch], key: str, view: str) -> None:
    """One item per prompt, so that its picture goes through the vision tower once."""
    _, batch = bench
    (pass_,) = [p for p in method.get(key)().passes if p.name == view]
    shown = view_items(batch, views(batch, range(len(batch.rollouts)), pass_, 0))
    assert [len(item.rows) for item in shown] == [3, 3]


def test_an_untouched_view_gives_the_same_log_probabilities(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    work = method.get("vppo")(corruption=0.0)
    work.setup(made.context)
    signals = run_passes(made.policy, work, work.passes, batch, 0, 4096, 1.0).signals
    torch.testing.assert_close(signals["masked.logp"], signals["old.logp"], atol=1e-5, rtol=1e-5)
