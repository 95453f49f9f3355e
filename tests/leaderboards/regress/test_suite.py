"""`regress` names what each broken plug-in breaks, tells tolerance from drift and hacking from learning, and exits by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.cli import app
from harness.core.errors import RunError
from harness.core.registry import load_plugin
from leaderboards.regress import bench as bench_module
from leaderboards.regress import conformance, learn, pinned, suite
from leaderboards.regress.bench import Bench
from leaderboards.regress.conformance import Outcome
from leaderboards.regress.learn import Curve
from tests.leaderboards import synthetic

PLUGINS = Path(__file__).with_name("plugins.py")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    load_plugin(PLUGINS)
    return Bench(tmp_path_factory.mktemp("bench"))


def outcomes(bench: Bench, key: str, names: Sequence[str]) -> list[Outcome]:
    subject = bench.subject(key)
    swept = bench.sweep(subject.make(), bench.batch)
    return conformance.check(subject, conformance.cases(swept), names)


def test_grpo_keeps_every_promise(bench: Bench) -> None:
    found = outcomes(bench, "grpo", list(conformance.PROPERTIES))
    assert [o for o in found if o.status == "fails"] == []


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("broken-nan", "finite on a group that is all right", "2 rollouts of 1 prompt: advantage is nan"),
        ("broken-leak", "no gradient leaks", "2 rollouts of 1 prompt: a gradient leaks into reward()"),
        ("broken-mask", "padding changes nothing", "padding has a gradient"),
        ("broken-mask", "values outside the mask are never read", "4 rollouts of 1 prompt: a token outside"),
        ("broken-mask", "micro-batches sum to the whole", "16 rollouts of 4 prompts: sum of the parts' losses"),
        ("broken-raises", "padding changes nothing", "2 rollouts of 1 prompt: raised KeyError: 'old.nothing'"),
        ("broken-raises", "advantages need the signals they declare", "a signal was read before the forward pass"),
        ("broken-optimiser", "optimisers move their parameters", "2 of 2 parameters never move"),
        ("broken-optimiser", "clean outcome untouched", "batch.outcome was changed in place"),
    ],
)
def test_each_broken_plugin_is_caught_and_named(bench: Bench, key: str, name: str, said: str) -> None:
    (outcome,) = outcomes(bench, key, [name])
    assert (outcome.name, outcome.status) == (name, "fails") and said in outcome.detail


def test_the_recorded_batch_can_be_made_again(tmp_path: Path) -> None:
    bench_module.write_recorded(tmp_path / "batch.json")
    assert (tmp_path / "batch.json").read_text() == bench_module.RECORDED.read_text()


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_pinned_numbers_hold(bench: Bench, key: str) -> None:
    found = pinned.check(bench, bench.subject(key), key, pinned.STORED, update=False)
    assert [o.status for o in found] == ["holds", "holds"], found


def test_an_option_changed_in_secret_moves_pinned_numbers(bench: Bench) -> None:
    subject = bench.subject("grpo", {"clip_high": 0.1})
    (outcome, _) = pinned.check(bench, subject, "grpo", pinned.STORED, update=False)
    assert outcome.status == "fails" and "reference" in outcome.detail


def moved(by: Sequence[float]) -> list[str]:
    reference = {f"n{i}": 1.0 + i for i in range(len(by))}
    values = {k: v * (1 + d) for (k, v), d in zip(reference.items(), by, strict=True)}
    return [o.status for o in pinned.compared(values, reference)]


def test_tolerance_and_drift_are_told_apart() -> None:
    assert moved([0.0] * 12) == ["holds", "holds"]
    assert moved([1e-2] + [0.0] * 11) == ["fails", "holds"]
    assert moved([1e-3] * 12) == ["holds", "fails"]
    assert moved([1e-3, -1e-3] * 6) == ["holds", "holds"]
    assert moved([1e-6] * 12) == ["holds", "holds"], "rounding is no drift"
    assert moved([float("nan")] + [0.0] * 11)[0] == "fails"


def test_a_number_without_reference_is_told(tmp_path: Path) -> None:
    assert pinned.compared({"a": 1.0, "b": 2.0}, {"a": 1.0})[0].status == "fails"
    pinned.store(tmp_path / "r.json", "mine", {"a": 1.0})
    pinned.store(tmp_path / "r.json", "other", {"a": 2.0})
    assert pinned.references(tmp_path / "r.json", "mine") == {"a": 1.0}
    assert pinned.references(tmp_path / "r.json", "third") is None


UP = [0.1 + 0.03 * i for i in range(20)]


@pytest.mark.parametrize(
    ("reward", "accuracy", "status"),
    [
        (UP, [0.3, 0.6], "holds"),
        (UP, [0.3, 0.3], "fails"),
        (UP, [0.3, 0.1], "fails"),
        (UP, [0.97, 0.97], "holds"),
        ([0.5, 0.51] * 10, [0.3, 0.25], "holds"),
        ([0.0, 1.0] * 9 + [1.0, 1.0], [0.3, 0.3], "holds"),
        ([*UP[:-1], float("nan")], [0.3, 0.6], "fails"),
    ],
    ids=["learns", "hacks", "hacks and forgets", "no room", "no rise", "noise", "not finite"],
)
def test_reward_hacking_on_recorded_curves(reward: list[float], accuracy: list[float], status: str) -> None:
    assert learn.hacking([Curve(reward, accuracy)] * 2).status == status


def test_a_worse_method_fails_and_a_noisy_one_does_not() -> None:
    stream = np.random.default_rng(0)
    theirs = (stream.random((3, 400)) < 0.6).astype(float)
    worse = np.where(stream.random((3, 400)) < 0.4, 0.0, theirs)
    assert learn.not_worse(worse, theirs, 0.02, "grpo").status == "fails"
    same = (stream.random((3, 400)) < 0.59).astype(float)
    assert learn.not_worse(same, theirs, 0.02, "grpo").status == "holds"


def test_learning_is_judged_from_run_folders(tmp_path: Path) -> None:
    def runs(key: str, share: float, reward: list[float], accuracy: list[float]) -> list[Path]:
        found = []
        for seed in (0, 1, 2):
            folder = synthetic.evaluation(tmp_path, synthetic.facts(key, seed), synthetic.draw(200, share, seed))
            log = folder.parent.parent / "train" / "metrics.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            span = np.linspace(accuracy[0], accuracy[1], len(reward))
            lines = [
                json.dumps({"reward": 0.0, "method_reward": r, "validation_accuracy": a})
                for r, a in zip(reward, span, strict=True)
            ]
            log.write_text("\n".join(lines) + "\n")
            found.append(folder)
        return found

    base = runs("grpo", 0.6, UP, [0.3, 0.6])
    good = learn.judge([*base, *runs("fine", 0.6, UP, [0.3, 0.6])], "fine", "grpo")
    assert [o.status for o in good] == ["holds", "holds"]
    bad = learn.judge([*base, *runs("hacked", 0.3, UP, [0.3, 0.3])], "hacked", "grpo")
    assert [o.status for o in bad] == ["fails", "fails"]
    with pytest.raises(RunError, match="no finished evaluation of 'other'"):
        learn.judge(base, "other", "grpo")


def test_the_hackable_reward_is_caught_by_a_short_training(bench: Bench) -> None:
    from leaderboards.regress.control import HackableRepetition

    curve, _ = learn.train(bench, HackableRepetition(), 0, "hackable")
    outcome = learn.hacking([curve])
    assert outcome.status == "fails" and "reward hacking" in outcome.detail


def test_exit_codes_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Outcome("contract", "padding", "holds"), Outcome("cost", "a step", "skipped", "why\x07")]

    def fake(options: suite.Options) -> suite.Report:
        assert options.seeds == 2 and options.suite == "learn" and options.plugins == (PLUGINS,)
        return suite.Report(options.method, options.baseline, options.suite, found)

    monkeypatch.setattr(suite, "run", fake)
    words = ["regress", "--method", "rlfr", "--suite", "learn", "--seeds", "2", "--plugin", str(PLUGINS)]
    junit = tmp_path / "junit.xml"
    assert app.main([*words, "--json", "--junit", str(junit)]) == 0
    assert json.loads(capsys.readouterr().out)["exit_code"] == 0
    found.append(Outcome("learning", "reward", "fails", "hacked"))
    assert app.main([*words, "--junit", str(junit)]) == 1
    assert "1 of 3 fail" in capsys.readouterr().out
    root = ElementTree.parse(junit).getroot()
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "rflr"], "unknown method 'rflr': did you mean"),
        (["--method", "base"], "'base' does not train"),
        (["--method", "rlfr", "--suite", "long"], "smoke or learn"),
        (["--method", "rlfr", "--junit", "/no/folder/x.xml"], "no folder /no/folder"),
        (["--method", "rlfr", "--plugin", "/no/p.py"], "no such file"),
    ],
)
def test_what_could_not_run_exits_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["regress", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_plugin_that_cannot_be_imported_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "torn_plugin.py"
    file.write_text("def broken(:\n")
    assert app.main(["regress", "--method", "rlfr", "--plugin", str(file)]) == 2
    assert "SyntaxError" in capsys.readouterr().err
