"""docs/adding-a-method.md does what it says: its three methods keep the contract, and the last one refills a step."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.core.registry import load_plugin
from leaderboards.regress import conformance
from leaderboards.regress.bench import Bench
from rewards.method import Draw, Group, Method, Progress, method
from tests.rewards.conftest import make_example
from tests.rewards.test_worked import group

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"
KEYS = ("thrift", "thrift-tokens", "thrift-refill")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("page")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == len(KEYS)
    (folder / "thrift.py").write_text("\n\n".join(blocks), "utf-8")
    load_plugin(folder / "thrift.py")
    yield Bench(folder / "bench")
    for key in KEYS:
        method._classes.pop(key)
        method._origins.pop(key)
    sys.modules.pop("rlfr_plugin_thrift")


@pytest.mark.parametrize("key", KEYS)
def test_its_methods_keep_the_contract(bench: Bench, key: str) -> None:
    subject = bench.subject(key)
    cases = conformance.cases(bench.sweep(subject.make(), bench.batch))
    failed = [o for o in conformance.check(subject, cases) if o.status == "fails"]
    assert not failed, failed


def test_each_step_does_what_its_docstring_says(bench: Bench) -> None:
    batch = bench.batch
    earned = method.get("thrift")(bonus=0.5).reward(batch) - batch.base_reward
    right = batch.outcome >= 1
    assert float(earned.max()) > 0 and bool((earned[right] >= 0).all()) and bool((earned[~right] == 0).all())
    shorter = batch.lengths[right].argsort()
    assert bool((earned[right][shorter].diff() <= 0).all())
    made = method.get("thrift-tokens")(undecided=1e9)
    swept = bench.sweep(made, batch)
    advantage = made.advantage(made.reward(swept), swept)
    assert bool((made.shape(advantage, swept) == 0.2 * advantage).all())


def test_the_last_step_asks_for_further_prompts(bench: Bench) -> None:
    class Source:
        def __call__(self, draws: Sequence[Draw]) -> list[Group]:
            return [group(d.example.id, [1, 0] if d.example.id in "ax" else [0, 0]) for d in draws]

        def further(self, count: int) -> list[Any]:
            return [make_example(n) for n in "xyz"[:count]]

    found = method.get("thrift-refill")().collect(Source(), [make_example(n) for n in "abc"], Progress())
    assert [g.example.id for g in found] == ["a", "x", "y"]


def test_the_table_names_every_hook() -> None:
    named = set(re.findall(r"`(\w+)[`(]", PAGE.read_text("utf-8").partition("## Hooks")[2]))
    own = {n for n, v in vars(Method).items() if not n.startswith("_") and (callable(v) or isinstance(v, property))}
    assert own - {"options", "settings", "uses_expert"} <= named
