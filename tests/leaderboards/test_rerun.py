"""`reproduce` and `replicate` on the built-in policies, shortened: the same work is done again from what a run wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.core.config import recipes
from harness.core.errors import RunError
from harness.core.progress import ProgressBars
from harness.core.runs import read_evaluation
from harness.models import hub
from harness.pipeline import run
from harness.pipeline.options import RunOptions
from leaderboards import published, rerun, studies
from leaderboards.table import build
from tests.harness.pipeline.test_pipeline import SHORT
from tests.leaderboards.browser import rewrite
from tests.leaderboards.synthetic import draw, evaluation, facts


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grpo run whose configuration is not the recipe's."""
    out = tmp_path_factory.mktemp("runs")
    options = RunOptions(tasks=("arithmetic",), methods=("grpo",), limit=5, seeds=(3,), out=out, sets=SHORT, n=2)
    (folder,) = run.run(options, ProgressBars(quiet=True))
    return folder


def test_a_row_is_done_again_to_the_letter(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["reproduce", str(trained.parents[1]), "--out", str(tmp_path), "--dry-run"]) == 0
    assert "--method grpo --seed 3" in capsys.readouterr().out and not list(tmp_path.glob("tiny-lm"))
    assert app.main(["reproduce", str(trained), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "10 of 10 responses and verdicts are equal" in out and "response by response" in out
    (again,) = tmp_path.glob("tiny-lm/grpo/*/*/eval/*")
    assert again.name == trained.name, "the same settings, items and weights have the same key"
    before, now = (read_evaluation(f).results for f in (trained, again))
    assert before["run"]["config"] == now["run"]["config"] and before["generation"] == now["generation"]


def test_the_fit_of_the_flow_is_training_time_whether_it_was_cached_or_not(tmp_path: Path) -> None:
    """The fit that seed 1 finds in the cache is said to have taken 1,000 seconds: they are seed 1's too."""
    words: dict[str, Any] = {"tasks": ("arithmetic",), "methods": ("rlfr",), "limit": 2, "out": tmp_path, "sets": SHORT}
    (first,) = run.run(RunOptions(**words), ProgressBars(quiet=True))
    assert 0 < read_evaluation(first).results["run"]["train_seconds"] < 500
    (file,) = (hub.cache_dir() / "methods").rglob("flow.json")
    about = json.loads(file.read_text())
    assert about["report"]["seconds"] > 0
    about["report"]["seconds"] = 1000.0
    file.write_text(json.dumps(about))
    (second,) = run.run(RunOptions(**words, seeds=(1,)), ProgressBars(quiet=True))
    assert 1000 < read_evaluation(second).results["run"]["train_seconds"] < 1500


def test_what_does_not_agree_is_said(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", facts("grpo"), draw(100, 0.6, 1))
    same, other = (evaluation(tmp_path / n, facts("grpo"), draw(100, s, 1)) for n, s in (("b", 0.6), ("c", 0.3)))
    rewrite(same, 4, "in other words, 1")
    first, second = (rerun.agreement(read_evaluation(one), read_evaluation(f)) for f in (same, other))
    assert first.agrees and not first.bitwise and first.same == 99
    assert not second.agrees and second.difference.p < 0.001
    with pytest.raises(RunError, match="holds other samples"):
        rerun.agreement(
            read_evaluation(one), read_evaluation(evaluation(tmp_path / "d", facts("grpo"), draw(50, 0.5, 1)))
        )


def test_recorded_rows_and_missing_configurations_are_refused(tmp_path: Path) -> None:
    outside = evaluation(tmp_path, facts("policy", label="mine"), draw(10, 0.5, 1))
    with pytest.raises(RunError, match="was not made by a recipe"):
        rerun.rerun_options(read_evaluation(outside), tmp_path)
    bare = evaluation(tmp_path, facts("grpo"), draw(10, 0.5, 1))
    with pytest.raises(RunError, match="cannot be read"):
        rerun.rerun_options(read_evaluation(bare), tmp_path)


@pytest.mark.parametrize("name", studies.papers())
def test_every_shipped_paper_names_what_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rewards.method import method
    from tasks.resolve import resolve

    paper = studies.read(name)
    for study in paper.studies:
        assert study.recipe in recipes() and set(study.methods) <= set(method.keys())
        for task in study.tasks:
            assert resolve(task).name == task
            figures = {f.method for f in published.published(task) if f.model == study.model and f.method}
            assert not study.model or figures == set(study.methods), task
    assert app.main(["replicate", name, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert all(f"--seed {seed}" in out for study in paper.studies for seed in study.seeds)


def test_a_study_is_one_file_and_reuses_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    sets = "".join(f"      - {item}\n" for item in (*SHORT, "expert.limit=3"))
    file.write_text(
        "title: mine\nsource: own\nstudies:\n  - name: one\n    recipe: tiny-lm\n    methods: [base]\n"
        f"    seeds: [0, 1]\n    tasks: [arithmetic-test]\n    sets:\n{sets}"
    )
    words = ["replicate", str(file), "--out", str(tmp_path / "runs")]
    assert app.main(words) == 0
    out = capsys.readouterr().out
    assert "trains nothing" in out and "no published figure" in out
    written = list((tmp_path / "runs").rglob("results.json"))
    before = [f.stat().st_mtime_ns for f in written]
    assert app.main(words) == 0
    assert before == [f.stat().st_mtime_ns for f in written] and len(before) == 1, "a greedy base needs one seed"
    file.write_text("title: x\nsource: y\nstudies: [{name: a, recipe: b, methods: [c], tasks: [d], sede: 1}]\n")
    assert app.main(words) == 2 and "sede" in capsys.readouterr().err
    assert app.main(["replicate", "rlf", "--dry-run"]) == 2 and "did you mean 'rlfr'" in capsys.readouterr().err


def test_ours_stand_beside_the_published_figures(tmp_path: Path) -> None:
    for method, share in (("base", 0.4), ("rlfr", 0.74)):
        evaluation(tmp_path, facts(method), draw(400, share, 0), task="mathvista-testmini")
    board = build([read_evaluation(f) for f in tmp_path.glob("*/*/*/*/eval/*")])
    assert board.tables[0].published, "the table shows them, marked, below"
    found = {b.row.name: b for b in studies.beside(board, studies.read("rlfr").studies)}
    assert set(found) == {"base", "rlfr"} and found["rlfr"].figure.score == pytest.approx(0.734)
    assert found["rlfr"].inside and not found["base"].inside
