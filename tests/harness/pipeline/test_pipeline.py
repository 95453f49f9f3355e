"""The main job end to end on the built-in policies, shortened: train, evaluate, reuse, foreign policies, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli.show import show
from harness.core.errors import ConfigError, ImageError, ModelError, ResourceError, RlfrEvalError
from harness.core.progress import ProgressBars
from harness.core.runs import read_evaluation
from harness.evaluation.score import ScoreOptions, score
from harness.models import loading
from harness.pipeline import run
from harness.pipeline.options import RunOptions

SHORT = (
    "train.steps=1",
    "train.prompts_per_step=2",
    "train.group_size=2",
    "train.max_new_tokens=8",
    "train.checkpoint_every=1",
    "evaluation.max_new_tokens=8",
    "expert.limit=4",
    "validation.limit=4",
    "validation.every=1",
    "methods.rlfr.depth=1",
)
QUIET = ProgressBars(quiet=True)


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunOptions, list[Path]]:
    """base, grpo and rlfr on a few items of two tasks of one modality."""
    out = tmp_path_factory.mktemp("runs")
    options = RunOptions(tasks=("arithmetic",), methods=("base", "grpo", "rlfr"), limit=6, out=out, sets=SHORT)
    return options, run.run(options, QUIET)


def test_every_method_gives_a_result_with_interval_counts_and_cost(trained: tuple[RunOptions, list[Path]]) -> None:
    found = [read_evaluation(folder).results for folder in trained[1]]
    assert [r["run"]["method"] for r in found] == ["base", "grpo", "rlfr"]
    for results in found:
        accuracy = results["metrics"]["accuracy"]
        assert (accuracy["n"], results["task"], results["protocol"]) == (6, "arithmetic-test", "official")
        assert accuracy["ci95"][0] <= accuracy["value"] <= accuracy["ci95"][1]
        assert results["cost"]["sampled_tokens"] > 0
    assert [r["run"]["train_steps"] for r in found] == [0, 1, 1]
    assert found[1]["run"]["overlap"]["overlapping"] == 0
    assert len({r["run"]["setting"] for r in found[1:]}) == 1


def test_a_run_folder_holds_what_a_user_needs(trained: tuple[RunOptions, list[Path]]) -> None:
    run = trained[1][1].parents[1]
    for name in (
        "config.yaml",
        "train/metrics.jsonl",
        "train/samples.jsonl",
        "train/manifest.json",
        "policy/config.json",
    ):
        assert (run / name).is_file(), name
    assert list((run / "train").rglob("events.out.tfevents*"))
    assert not (run / ".lock").exists()
    line = json.loads((run / "train" / "metrics.jsonl").read_text().splitlines()[0])
    assert 0.0 <= line["validation_accuracy"] <= 1.0
    assert loading.load(run / "policy").model.config.model_type == "qwen2"


def test_a_training_log_is_shown_and_graded_again(
    trained: tuple[RunOptions, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same record is written in training and evaluation: `show` reads it, and `score` finds the same verdicts."""
    run_folder = next(f for f in trained[1] if "grpo" in str(f)).parents[1]
    rows = [json.loads(line) for line in (run_folder / "train" / "samples.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 4 and {r["step"] for r in rows} == {1} and all(r["question"] for r in rows)
    assert show(run_folder / "train", as_json=True) == 4
    assert [json.loads(line)["sample"] for line in capsys.readouterr().out.splitlines()] == rows
    show(run_folder / "train")
    assert "training, 1 steps" in capsys.readouterr().out
    options = ScoreOptions(
        task="arithmetic-train",
        responses=run_folder / "train" / "samples.jsonl",
        out=tmp_path / "again",
        ids=tuple(dict.fromkeys(r["id"] for r in rows)),
        protocol="strict",
    )
    score(options)
    again = [json.loads(line) for line in (tmp_path / "again" / "samples.jsonl").read_text("utf-8").splitlines()]
    new = {(r["id"], r["sample_index"]): (r["response"], r["gold"], r["verdict"], r["finish"]) for r in again}
    assert new == {(r["id"], r["sample_index"]): (r["response"], r["gold"], r["verdict"], r["finish"]) for r in rows}
    evaluated = [json.loads(line) for line in (trained[1][0] / "samples.jsonl").read_text("utf-8").splitlines()]
    assert rows[0].keys() == evaluated[0].keys()


def test_the_same_command_trains_and_generates_nothing_again(trained: tuple[RunOptions, list[Path]]) -> None:
    options, folders = trained
    before = {f: (f / "results.json").stat().st_mtime_ns for f in folders}
    metrics = folders[1].parents[1] / "train" / "metrics.jsonl"
    written = metrics.stat().st_mtime_ns
    assert run.run(options, QUIET) == folders
    assert before == {f: (f / "results.json").stat().st_mtime_ns for f in folders}
    assert metrics.stat().st_mtime_ns == written


def test_another_method_option_is_another_run(trained: tuple[RunOptions, list[Path]]) -> None:
    from dataclasses import replace

    options, folders = trained
    work = replace(options, methods=("grpo",), sets=(*SHORT, "methods.grpo.clip_high=0.3"))
    (other,) = run.run(work, QUIET)
    assert other.parents[1] != folders[1].parents[1]


def test_a_policy_trained_elsewhere_becomes_a_row(trained: tuple[RunOptions, list[Path]], tmp_path: Path) -> None:
    _, folders = trained
    policy = folders[1].parents[1] / "policy"
    elsewhere = Path(shutil.copytree(policy, tmp_path / "elsewhere"))
    work = RunOptions(
        tasks=("arithmetic",), policy=elsewhere, label="mine", recipe="tiny-lm", limit=6, out=tmp_path, sets=SHORT
    )
    (folder,) = run.run(work, QUIET)
    theirs, ours = read_evaluation(folder), read_evaluation(folders[1])
    assert theirs.results["run"]["label"] == "mine"
    assert [s["response"] for s in theirs.samples()] == [s["response"] for s in ours.samples()]


def test_a_runs_own_policy_scores_the_runs_own_number(trained: tuple[RunOptions, list[Path]], tmp_path: Path) -> None:
    """Without any flag for it: recipe, prompt, precision and decoding are those of the run."""
    _, folders = trained
    policy = folders[2].parents[1] / "policy"
    said: list[str] = []
    heard = ProgressBars(quiet=True)
    heard.say = said.append  # type: ignore[method-assign]
    work = RunOptions(tasks=("arithmetic",), policy=policy, label="again", limit=6, out=tmp_path)
    (folder,) = run.run(work, heard)
    theirs, ours = read_evaluation(folder), read_evaluation(folders[2])
    assert theirs.results["metrics"]["accuracy"] == ours.results["metrics"]["accuracy"]
    assert theirs.results["generation"] == ours.results["generation"]
    assert [s["response"] for s in theirs.samples()] == [s["response"] for s in ours.samples()]
    assert said[0].startswith(
        f"recipe tiny-lm (as in {policy.parent}/config.yaml); float32; the policy's chat template"
    )
    assert "the first prompt (arithmetic-test item " in said[1] and "    <|im_start|>user\n" in said[1]


def test_real_images_through_the_whole_path(shared_data: Path, tmp_path: Path) -> None:
    """MATH-Vision items with their pictures; the prompt of item 1 with a huge picture is held to the pixel budget."""
    work = RunOptions(
        tasks=("mathvision",),
        methods=("rlfr",),
        model="tiny-vl",
        data_dirs={"": shared_data / "mathvision"},
        ids=("1", "101", "1051"),
        out=tmp_path,
        sets=(*SHORT, "rendering.max_prompt_tokens=300"),
    )
    (folder,) = run.run(work, QUIET)
    found = read_evaluation(folder)
    assert found.results["metrics"]["accuracy"]["n"] == 3
    for sample in found.samples():
        assert sample["finish"] == "prompt_too_long" or sample["image_sha256"]


def options(**changes: Any) -> RunOptions:
    base: dict[str, Any] = {"tasks": ("arithmetic",), "methods": ("grpo",), "limit": 2, "sets": SHORT}
    return RunOptions(**(base | changes))


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"tasks": ("arithmetic-train",)}, ConfigError, "arithmetic-train would be trained on and evaluated"),
        ({"tasks": ("arithmetic-validation",)}, ConfigError, "would be validated on and evaluated"),
        (
            {"sets": ("train.task=file:x.jsonl",)},
            ConfigError,
            "'file:x.jsonl' can be evaluated, it cannot be trained on",
        ),
        ({"data_dirs": {"arithmetik": Path()}}, ConfigError, "reads no task 'arithmetik': did you mean 'arithmetic"),
        ({"sets": ("methods.grpo.beta=1",)}, ConfigError, "method 'grpo' has no option 'beta'"),
        ({"sets": ("methods.gripo.eps=1",)}, RlfrEvalError, "unknown method 'gripo': did you mean 'grpo'"),
        ({"tasks": ("math500",), "recipe": "qwen2.5-math-7b", "sets": ()}, ResourceError, "billion parameters"),
        ({"model": "no/such-model", "recipe": "tiny-lm", "sets": ()}, ModelError, "no/such-model"),
        ({"tasks": ("charts",), "recipe": "tiny-lm"}, ConfigError, "the task needs images"),
    ],
)
def test_what_cannot_work_is_refused_before_work_starts(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as found:
        run.run(options(out=tmp_path, **changes), QUIET)
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_match_are_named(trained: tuple[RunOptions, list[Path]], tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(trained[1][1].parents[1] / "policy", broken)
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 5, "layer_types": None}))
    work = options(methods=(), policy=broken, label="broken", recipe="tiny-lm", out=tmp_path / "runs")
    with pytest.raises(ModelError, match="layers"):
        run.run(work, QUIET)


def test_a_broken_picture_names_its_item(shared_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    lines = (shared_data / "mathvision" / "test.jsonl").read_text().splitlines()
    (data / "test.jsonl").write_text("\n".join(lines[:2]))
    (data / "images" / "1.jpg").write_bytes(b"not a picture")
    work = options(
        tasks=("mathvision",), methods=("base",), model="tiny-vl", data_dirs={"": data}, out=tmp_path / "runs"
    )
    with pytest.raises(ImageError, match=r"item 1: image images/1.jpg is broken"):
        run.run(work, QUIET)
