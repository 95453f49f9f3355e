"""The verbs that read finished runs, each through the command: compare, show, detect, rm, list runs, leaderboard's formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import app
from harness.core.locks import Lock
from tests.leaderboards.synthetic import draw, evaluation, facts


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = app.main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for task in ("toy-a", "toy-b"):
        evaluation(tmp_path, facts("base"), draw(60, 0.3, 0), task=task)
        for seed in (0, 1):
            evaluation(tmp_path, facts("grpo", seed), draw(60, 0.5, seed), task=task)
            evaluation(tmp_path, facts("rlfr", seed), draw(60, 0.55, 5 + seed), task=task)
    for config in tmp_path.glob("*/*/*/*/eval"):
        (config.parent / "config.yaml").write_text("model: {path: tiny-lm}\nmethod: m\nseed: 0\n")
    return tmp_path


def test_leaderboard_writes_every_format(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "leaderboard", "--out", runs, "--format", "md,csv,latex,json,html,png,svg")
    assert code == 0 and "Average" in out and "toy-a" in out
    for name in ("md", "csv", "tex", "json", "png", "svg"):
        assert (runs / f"leaderboard.{name}").stat().st_size > 500
    assert (runs / "leaderboard.png").read_bytes()[:4] == b"\x89PNG"
    data = json.loads((runs / "leaderboard.json").read_text())
    assert len(data["tables"]) == 2 and len(data["averages"]) == 1 and data["comparisons"] == 6
    tex = (runs / "leaderboard.tex").read_text()
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 3 and r"\%" in tex
    assert (runs / "leaderboard" / "index.html").is_file()
    first = (runs / "leaderboard.svg").read_bytes()
    call(capsys, "leaderboard", "--out", runs, "--format", "svg")
    assert (runs / "leaderboard.svg").read_bytes() == first, "the same runs give the same picture"


def test_leaderboard_chooses(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(
        capsys, "leaderboard", "--out", runs, "--task", "toy-a", "--baseline", "grpo", "--model", "tiny"
    )
    assert code == 0 and "toy-b" not in out and "vs grpo" in out
    code, _, err = call(capsys, "leaderboard", "--out", runs, "--task", "toy-c")
    assert code == 2 and "there are toy-a, toy-b" in err


def test_a_folder_that_is_no_page_is_never_replaced(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "leaderboard").mkdir()
    (runs / "leaderboard" / "mine.txt").write_text("x")
    code, _, err = call(capsys, "leaderboard", "--out", runs, "--format", "html")
    assert code == 2 and "is not a page that was written here" in err and (runs / "leaderboard" / "mine.txt").is_file()


def test_compare_counts_flips_in_both_directions(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (next(runs.glob(f"*/{m}/*")) for m in ("rlfr", "grpo"))
    code, out, _ = call(capsys, "compare", a, b, "--json")
    pairs = json.loads(out)
    assert code == 0 and [p["task"] for p in pairs] == ["toy-a", "toy-b"]
    pair = pairs[0]
    samples = len(pair["won"]) + len(pair["lost"]) + pair["both"] + pair["neither"]
    assert samples == 120, "two seeds of sixty questions"
    assert (len(pair["won"]) - len(pair["lost"])) / 120 == pytest.approx(pair["difference"]["value"])
    assert pair["accuracy"][0] - pair["accuracy"][1] == pytest.approx(pair["difference"]["value"])
    assert {c["value"] for c in pair["categories"]} == {"subject 0", "subject 1", "subject 2"}
    code, out, _ = call(capsys, "compare", a, b)
    assert code == 0 and "right in A only" in out and "by category" in out and "tokens of a response" in out


def test_compare_refuses_what_is_not_one_row(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = next(runs.glob("*/rlfr/*"))
    assert "holds 3 rows on toy-a (base, grpo, rlfr)" in call(capsys, "compare", runs, one)[2]
    other = evaluation(runs / "other", facts("grpo"), draw(60, 0.5, 0), task="toy-c")
    assert "no evaluation of the same questions" in call(capsys, "compare", one, other)[2]
    assert "no folder" in call(capsys, "compare", one, runs / "nothing")[2]


def test_show_chooses_samples(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = (next(runs.glob(f"*/{m}/*/s0-*")) for m in ("rlfr", "grpo"))
    evaluated = next(run.glob("eval/toy-a-*"))

    def rows(*words: object) -> list[dict[str, dict[str, str]]]:
        code, out, _ = call(capsys, "show", evaluated, "--limit", 100, "--json", *words)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    assert len(rows()) == 60
    assert {r["sample"]["verdict"] for r in rows("--wrong")} == {"incorrect"}
    assert [r["sample"]["id"] for r in rows("--id", "7")] == ["7"]
    assert {r["sample"]["reason"] for r in rows("--reason", "match")} == {"match"}
    assert len(rows("--category", "subject=subject 1")) == 20
    flips = rows("--diff", other)
    assert flips and all(r["sample"]["verdict"] != r["other"]["verdict"] for r in flips)
    assert "the other run:" in call(capsys, "show", evaluated, "--diff", other)[1]
    assert call(capsys, "show", evaluated, "--category", "level")[0] == 2


def test_show_on_foreign_samples_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples.jsonl").write_text('{"question": "x"}\n[1]\n')
    code, _, err = call(capsys, "show", tmp_path)
    assert code == 2 and err.count("\n") == 1 and "no sample of ours" in err


def test_detect_says_what_a_difference_needs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(
        capsys, "detect", "--detect", "10", "--power", "0.8", "--out", runs, "--baseline", "grpo", "--json"
    )
    needs = json.loads(out)
    assert code == 0 and len(needs) == 2 and needs[0]["items"] == 60 and needs[0]["pairs"] == 1
    one = next(d["items"] for d in needs[0]["designs"] if d["seeds"] == 1)
    half = json.loads(call(capsys, "detect", "--detect", "5", "--out", runs, "--baseline", "grpo", "--json")[1])
    assert next(d["items"] for d in half[0]["designs"] if d["seeds"] == 1) == pytest.approx(4 * one, rel=0.1)
    assert "questions needed" in call(capsys, "detect", "--detect", "10", "--out", runs)[1]
    assert call(capsys, "detect", "--detect", "10", "--out", runs, "--baseline", "nobody")[0] == 2


def test_list_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = next(runs.glob("*/rlfr/*/s1-*/eval/toy-b-*"))
    (broken / "results.json").write_text("{")
    code, out, _ = call(capsys, "list", "runs", "--out", runs)
    assert code == 0 and "tiny-lm/grpo" in out and "toy-a" in out and "toy-b unreadable" in out
    assert "not trained" in out and "training unfinished" in out
    assert call(capsys, "list", "runs", "--out", runs / "no")[0] == 2


def test_rm_asks_and_keeps_what_is_not_ours(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = next(runs.glob("*/rlfr/*/s0-*"))
    monkeypatch.setattr("typer.confirm", lambda text: False)
    assert "kept" in call(capsys, "rm", run)[1] and run.is_dir()
    for folder in (runs, run.parent, runs / "nothing"):
        assert call(capsys, "rm", folder, "--yes")[0] == 2
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-1.pt").write_bytes(b"x" * 1000)
    assert call(capsys, "rm", run, "--checkpoints", "--yes")[0] == 0
    assert not (run / "checkpoints").exists() and (run / "eval").is_dir()
    code, out, _ = call(capsys, "rm", run, "--checkpoints", "--yes")
    assert code == 0 and "nothing is left to delete" in out.replace("\n", " "), "a finished run keeps none"
    assert call(capsys, "rm", next(run.glob("eval/toy-a-*")), "--yes")[0] == 0
    assert call(capsys, "rm", run, "--yes")[0] == 0 and not run.exists()
    last = next(runs.glob("*/rlfr/*/s1-*"))
    assert call(capsys, "rm", last, "--yes")[0] == 0
    assert not (runs / "tiny-lm" / "rlfr").exists() and (runs / "tiny-lm" / "grpo").is_dir(), "empty folders go too"


def test_rm_leaves_a_run_that_is_in_use(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(runs.glob("*/rlfr/*/s0-*"))
    with Lock(run):
        (run / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "time": "now", "started": 0}))
        code, _, err = call(capsys, "rm", run, "--yes")
    assert code == 2 and ("locked" in err or "in use" in err)
    assert (run / "eval").is_dir()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--version")
    assert code == 0 and out.startswith("rlfr-eval ")
