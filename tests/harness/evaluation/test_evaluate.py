"""Evaluation: nothing lost and nothing twice after a kill, over-long prompts stay in n, both protocols are stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core import runs
from harness.core.config import Evaluation
from harness.core.errors import DataError, EngineError, ImageError
from harness.core.records import Example, Rollout, Status
from harness.engines.base import Engine, Request
from harness.evaluation.evaluate import Experiment, decoding, evaluate
from harness.evaluation.results import TaskFacts
from harness.rollout.protocols import Tools
from tests.harness.fakes import Exact, Letters, Slow, example

GREEDY = Evaluation(max_new_tokens=8)
THREE = Evaluation(max_new_tokens=8, n=3, temperature=0.6)
CHILD = """
import sys
from pathlib import Path
from tests.harness.evaluation.test_evaluate import THREE, go, items
go(items(12), sampling=THREE, folder=Path(sys.argv[1]), engine_seconds=float(sys.argv[2]))
"""


def items(count: int) -> list[Example]:
    return [example(str(i), gold=str(i % 3), subject="even" if i % 2 == 0 else "odd") for i in range(count)]


def go(examples: Sequence[Example], *, engine_seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """Evaluate the toy task; `fields` replace single settings of the experiment, its tools and its call."""
    settings: Evaluation = fields.pop("sampling", GREEDY)
    plan = Experiment(
        task="toy-test",
        examples=examples,
        sampling=decoding(settings, fields.pop("seed", 0)),
        protocol=fields.pop("protocol", settings.protocol),
        max_prompt_tokens=fields.pop("max_prompt_tokens", 100),
        version=fields.pop("task_version", 1),
        facts=TaskFacts(categories=("subject",)),
    )
    tools = Tools(
        fields.pop("renderer", Letters()), fields.pop("engine", Slow(engine_seconds)), fields.pop("verifier", Exact())
    )
    return evaluate(plan, tools, **fields)


def lines(folder: Path) -> list[dict[str, Any]]:
    (log,) = folder.glob("*/samples.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def timeless(row: dict[str, Any]) -> str:
    """A line without its grading time."""
    return json.dumps({**row, "seconds": 0})


def without_cost(results: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in results.items() if k not in ("cost", "folder")}


def test_results_and_log_of_a_small_task(tmp_path: Path) -> None:
    facts = runs.RunFacts(model="toy", method="base", seed=1)
    results = go(items(9), folder=tmp_path, run=facts, policy="abc", seed=5)
    assert results["metrics"]["accuracy"]["value"] == 1.0, "item i answers i mod 3, which is its gold"
    assert results["metrics"]["protocols"]["strict"]["value"] == pytest.approx(6 / 9), "the strict rule refuses 0"
    assert (results["n"], results["ungraded"], results["samples"]) == (9, 0, 9)
    assert {k: v["n"] for k, v in results["by_category"]["subject"].items()} == {"even": 5, "odd": 4}
    assert results["cost"]["sampled_tokens"] == sum(i % 5 + 1 for i in range(9))
    assert results["generation"]["sampling"]["seed"] == 5 and results["generation"]["policy"] == "abc"
    assert results["run"]["method"] == "base" and results["prompt_example"] == "what is 0?"
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("toy-test-") and len(folder.name) == len("toy-test-") + 8
    assert {**runs.read_evaluation(folder).results, "folder": str(folder)} == results
    row = {r["id"]: r for r in lines(tmp_path)}["4"]
    assert (row["response"], row["gold"], row["verdict"], row["extracted"]) == ("1", "1", "correct", "1")
    assert set(row["verdicts"]) == {"official", "strict"} and row["rewards"] == {"outcome": 1.0}


def test_memory_and_folder_agree(tmp_path: Path) -> None:
    assert without_cost(go(items(9))) == without_cost(go(items(9), folder=tmp_path))


def test_a_finished_evaluation_is_not_repeated(tmp_path: Path) -> None:
    first = go(items(9), folder=tmp_path)
    engine = Slow()
    assert go(items(9), folder=tmp_path, engine=engine) == first and engine.asked == []


@pytest.mark.parametrize(
    "change",
    [
        {"policy": "other"},
        {"seed": 1},
        {"task_version": 2},
        {"max_prompt_tokens": 99},
        {"sampling": Evaluation(max_new_tokens=9)},
        {"examples": items(8)},
        {"examples": [replace(e, messages=()) for e in items(9)]},
        {"protocol": "strict"},
    ],
)
def test_another_experiment_gets_another_folder(tmp_path: Path, change: dict[str, Any]) -> None:
    go(items(9), folder=tmp_path)
    go(**{"examples": items(9), "folder": tmp_path, **change})
    assert len(list(tmp_path.iterdir())) == 2


def test_another_renderer_or_engine_gets_another_folder(tmp_path: Path) -> None:
    go(items(3), folder=tmp_path)
    renderer, engine = Letters(), Slow()
    renderer.hash = "letters-2"
    go(items(3), folder=tmp_path, renderer=renderer)
    engine.describe = lambda: {"engine": "slow", "dtype": "bfloat16"}  # type: ignore[method-assign]
    go(items(3), folder=tmp_path, engine=engine)
    assert len(list(tmp_path.iterdir())) == 3


def test_another_protocol_draws_no_new_token(tmp_path: Path) -> None:
    go(items(9), folder=tmp_path)
    engine = Slow()
    strict = go(items(9), folder=tmp_path, engine=engine, protocol="strict")
    assert engine.asked == [] and strict["protocol"] == "strict"
    assert strict["metrics"]["accuracy"]["value"] == pytest.approx(6 / 9)
    assert without_cost(strict) == without_cost(go(items(9), protocol="strict"))


@pytest.mark.parametrize("change", ["verifier", "task"])
def test_new_rules_grade_the_old_responses_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A better verifier or task rule costs no token: the responses are taken over and graded by it."""

    class Harsh(Exact):
        def _verdict(self, job: Any, protocol: str) -> Any:
            verdict = super()._verdict(job, protocol)
            return replace(verdict, status=Status.INCORRECT, reason="harsh")

    examples = [*items(9), example("1000000")]
    go(examples, folder=tmp_path, max_prompt_tokens=12)
    if change == "verifier":
        monkeypatch.setattr("harness.evaluation.evaluate.VERSION", 99)
    version, engine = 2 if change == "task" else 1, Slow()
    fields: dict[str, Any] = {"max_prompt_tokens": 12, "verifier": Harsh(), "task_version": version}
    results = go(examples, folder=tmp_path, engine=engine, **fields)
    assert engine.asked == [] and results["metrics"]["accuracy"]["value"] == 0.0 and results["ungraded"] == 1
    assert without_cost(results) == without_cost(go(examples, **fields))
    newest = Path(results["folder"])
    rows = [json.loads(line) for line in (newest / "samples.jsonl").read_text().splitlines()]
    assert {r["reason"] for r in rows} == {"harsh", "prompt_too_long"}
    assert all(r["rewards"]["outcome"] == 0.0 for r in rows)
    assert len(list(tmp_path.iterdir())) == 2, "the older result stays"


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(items(9), folder=tmp_path, sampling=THREE, engine=Slow(0.005, stop_after=14))
    written = {(r["id"], r["sample_index"]) for r in lines(tmp_path)}
    assert len(written) >= 12, "what was graded is logged, though no item is the last of a batch"
    engine = Slow()
    results = go(items(9), folder=tmp_path, sampling=THREE, engine=engine)
    assert without_cost(results) == without_cost(go(items(9), sampling=THREE))
    every = {(str(i), k) for i in range(9) for k in range(3)}
    assert set(engine.asked) == every - written, "no sample of the log is generated again"
    assert results["samples"] == len(engine.asked) + len(written)


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """A real process is killed twice in the middle, the log is torn as well; the third one finishes."""
    root = Path(__file__).resolve().parents[3]
    kept: list[str] = []
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), "0.02"], cwd=root)
        _wait_for_lines(tmp_path, len(kept) + 7, child)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        (log,) = tmp_path.glob("*/samples.jsonl")
        text = log.read_text()
        assert text.startswith("".join(kept)) and not (log.parent / runs.MANIFEST).exists()
        kept = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        log.write_text("".join(kept) + '{"id": "3", "torn')
    results = go(items(12), folder=tmp_path, sampling=THREE)
    final = lines(tmp_path)
    assert (log.read_text()).startswith("".join(kept)), "what was written stays as it was"
    assert sorted((r["id"], r["sample_index"]) for r in final) == sorted(
        (str(i), k) for i in range(12) for k in range(3)
    )
    assert without_cost(results) == without_cost(go(items(12), sampling=THREE))
    straight = tmp_path / "straight"
    go(items(12), sampling=THREE, folder=straight)
    assert set(map(timeless, final)) == set(map(timeless, lines(straight))), "line by line as if nothing had happened"
    assert results["cost"]["seconds"] > 0.1, "the time of killed processes counts"


def _wait_for_lines(folder: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        logs = list(folder.glob("*/samples.jsonl"))
        if logs and logs[0].read_bytes().count(b"\n") >= count:
            return
        assert child.poll() is None, "the child ended before it could be killed"
        time.sleep(0.005)
    raise AssertionError("the child wrote nothing")


def test_long_prompts_stay_in_n_as_ungraded(tmp_path: Path) -> None:
    examples = [*items(3), example("1000000", gold="1")]
    results = go(examples, folder=tmp_path, max_prompt_tokens=len("what is 0?"), sampling=THREE)
    assert results["n"] == 4 and results["ungraded"] == 3 and results["samples"] == 12
    rows = [r for r in lines(tmp_path) if r["id"] == "1000000"]
    assert [r["reason"] for r in rows] == ["prompt_too_long"] * 3
    assert {r["side"] for r in rows} == {"instrument"} and {r["finish"] for r in rows} == {"prompt_too_long"}
    assert results["metrics"]["accuracy"]["value"] <= 3 / 4 and results["headline"] is False


def test_grading_overlaps_generation() -> None:
    """With a slow verifier and a slow engine the whole takes about the longer of the two, not the sum."""
    examples = items(20)
    start = time.perf_counter()
    go(examples, engine_seconds=0.02, verifier=Exact(delay=0.03))  # two threads: 0.3 s of grading
    assert time.perf_counter() - start < 0.4 + 0.3 - 0.1


def test_a_broken_picture_is_found_when_it_is_rendered(tmp_path: Path) -> None:
    class Broken(Letters):
        def render(self, item: Example) -> Any:
            if item.id == "7":
                raise ImageError("item 7: image images/7.jpg is broken", "fetch it again")
            return super().render(item)

    with pytest.raises(ImageError, match="item 7"):
        go(items(9), folder=tmp_path, renderer=Broken())
    assert {r["id"] for r in lines(tmp_path)} == {str(i) for i in range(7)}, "all before it are answered and kept"
    assert go(items(7), renderer=Broken())["n"] == 7


def test_missing_doubled_or_mixed_samples_are_errors() -> None:
    class Lossy(Slow):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            yield from list(super().generate(requests))[1:]

    class Mixed(Slow):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            for number, rollout in enumerate(super().generate(requests)):
                yield replace(rollout, policy_version=number)

    class Doubled(Slow):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            for rollout in super().generate(requests):
                yield from (rollout, rollout)

    with pytest.raises(EngineError, match="1 samples are missing"):
        go(items(9), engine=Lossy())
    with pytest.raises(EngineError, match="policy versions"):
        go(items(9), engine=Mixed())
    with pytest.raises(EngineError, match="sample 0 of item 8 came twice"):
        go(items(9), engine=Doubled())
    with pytest.raises(DataError, match="two items with id 0"):
        go([*items(2), *items(1)])
    with pytest.raises(DataError, match="no items"):
        go([])


def test_official_rule_truncation_and_protocols_reach_the_verifier() -> None:
    class Cut(Slow):
        def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
            from harness.core.records import Finish

            for rollout in super().generate(requests):
                yield replace(rollout, finish=Finish.LENGTH)

    verifier = Exact()
    engine: Engine = Cut()
    results = go([replace(e, rule="tasks.toy:official") for e in items(2)], engine=engine, verifier=verifier)
    assert {(j.rule, j.truncated, j.protocols) for j in verifier.jobs} == {
        ("tasks.toy:official", True, ("official", "strict"))
    }
    assert results["metrics"]["truncated"]["share"] == 1.0
