"""Tables: what may stand together, who is compared with whom, ties, what is refused, and the three ways to print them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.core.errors import RunError, UnknownNameError
from harness.core.files import read_json, write_json
from harness.core.runs import Finished, evaluations, read_evaluation
from harness.evaluation.metrics import wilson
from leaderboards import board, stats, text
from leaderboards.table import Row, Table, build
from tests.leaderboards.synthetic import draw, evaluation, facts, runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    runs(out, n=200)
    return out


@pytest.fixture(scope="module")
def tables(folder: Path) -> list[Table]:
    found, refused = build(evaluations(folder))
    assert refused == []
    return found


def rows(table: Table, block: str = "") -> dict[str, Row]:
    return {r.name: r for r in table.rows if block in r.block and "paper" not in r.block}


def single(out: Path, *parts: tuple[Any, Any]) -> list[Row]:
    (table,), _ = build([read_evaluation(evaluation(out, f, right)) for f, right in parts])
    return list(table.rows)


def test_other_decoding_is_another_table(tables: list[Table]) -> None:
    assert [(t.task, "8 samples" in t.about) for t in tables] == [("toy-hard", True), ("toy-test", False)]


def test_seeds_are_averaged(tables: list[Table], folder: Path) -> None:
    row = rows(tables[1])["grpo"]
    values = [e.results["metrics"]["accuracy"]["value"] for e in map(read_evaluation, map(Path, row.sources))]
    assert row.seeds == (0, 1) and len(values) == 2
    assert row.accuracy == pytest.approx(sum(values) / 2) and row.low < row.accuracy < row.high
    assert (row.steps, row.train_tokens) == (30, 123_456)


def test_one_seed_of_single_samples_has_wilsons_interval_and_mcnemars_p(tmp_path: Path) -> None:
    base, ours = draw(100, 0.4, 0), draw(100, 0.6, 1)
    found = {r.name: r for r in single(tmp_path, (facts("base"), base), (facts("grpo"), ours))}
    right = sum(r[0] for r in ours)
    assert (found["grpo"].low, found["grpo"].high) == wilson(right, 100)
    better = sum(a[0] and not b[0] for a, b in zip(ours, base, strict=True))
    worse = sum(b[0] and not a[0] for a, b in zip(ours, base, strict=True))
    difference = found["grpo"].difference
    assert difference is not None and difference.p == stats.mcnemar(better, worse)
    assert difference.value == pytest.approx((better - worse) / 100) and found["grpo"].against == "base"
    assert found["base"].difference is None


def test_p_values_are_corrected_over_the_rows(tables: list[Table]) -> None:
    found = [r.difference for r in tables[1].rows if r.difference and r.block == tables[1].rows[0].block]
    assert [d.adjusted for d in found] == stats.holm([d.p for d in found])
    assert any(d.adjusted > d.p for d in found)


def test_what_cannot_be_told_apart_shares_a_rank(tables: list[Table]) -> None:
    found = rows(tables[1], "recipe")
    assert found["grpo"].rank == found["rlfr"].rank == 1 and found["grpo"].tied and found["rlfr"].tied
    assert found["base"].rank == 4 and not found["base"].tied


def test_equal_rows_are_a_tie_not_a_win(tmp_path: Path) -> None:
    one, two = draw(60, 0.5, 0), draw(60, 0.5, 0)
    two[next(i for i, r in enumerate(two) if not r[0])] = [True]
    found = single(tmp_path, (facts("base"), one), (facts("grpo"), two))
    assert [(r.rank, r.tied) for r in found] == [(1, True), (1, True)]


def test_too_much_ungraded_or_another_recipe_is_not_ranked(tables: list[Table]) -> None:
    dapo = rows(tables[1])["dapo"]
    assert dapo.rank is None and not dapo.headline and any("ungraded" in note for note in dapo.notes)
    (paper,) = [r for r in tables[1].rows if r.paper]
    assert paper.rank is None and paper.block != dapo.block and paper.difference is not None


def test_the_base_policy_stands_in_every_block_of_its_model(tables: list[Table]) -> None:
    blocks = {r.block for r in tables[1].rows if r.model == "tiny-lm"}
    assert len(blocks) == 2
    assert all(any(r.name == "base" for r in tables[1].rows if r.block == b) for b in blocks)


def test_outside_policies_are_compared_with_the_only_base(tables: list[Table]) -> None:
    row = rows(tables[1])["verl-7b"]
    assert row.outside and row.against == "base" and row.difference is not None


def test_another_model_is_never_the_baseline_of_a_block_with_its_own(tmp_path: Path) -> None:
    other: dict[str, Any] = {"model": "big", "setting": "s2"}
    parts = [
        (facts("base"), draw(50, 0.3, 0)),
        (facts("grpo"), draw(50, 0.5, 1)),
        (facts("base", config="b2", **other), draw(50, 0.6, 2)),
        (facts("grpo", config="g2", **other), draw(50, 0.9, 3)),
    ]
    found = single(tmp_path, *parts)
    big = {r.name: r for r in found if r.model == "big"}
    assert big["grpo"].difference is not None
    assert big["grpo"].difference.value == pytest.approx(big["grpo"].accuracy - big["base"].accuracy)


def test_two_options_of_a_method_are_two_rows_told_apart(tmp_path: Path) -> None:
    parts = [(facts("base"), draw(50, 0.3, 0))]
    parts += [(facts("rlfr", config=c), draw(50, 0.5, 1)) for c in ("beta 0.01", "beta 0.1")]
    marks = [r.mark for r in single(tmp_path, *parts) if r.name == "rlfr"]
    assert len(set(marks)) == 2 and all(marks)


def test_the_baseline_can_be_chosen(folder: Path) -> None:
    (_, table), _ = build(evaluations(folder), baseline="grpo")
    found = rows(table, "recipe")
    assert found["rlfr"].against == "grpo" and found["grpo"].difference is None and found["base"].difference is not None
    assert found["base"].difference.value < 0


def test_different_items_are_never_compared(tmp_path: Path) -> None:
    a = read_evaluation(evaluation(tmp_path, facts("base"), draw(20, 0.5, 0)))
    b = read_evaluation(evaluation(tmp_path, facts("grpo"), draw(20, 0.5, 1)))
    log = b.folder / "samples.jsonl"
    log.write_text(log.read_text().replace('{"id": "3"', '{"id": "999"'))
    with pytest.raises(RunError, match="different items"):
        build([a, b])
    results = {**b.results, "generation": {**b.results["generation"], "content": "other"}}
    assert len(build([a, Finished(b.folder, results)])[0]) == 2, "other content is another table"


@pytest.mark.parametrize("lack", ["n", "ci95", "value"])
def test_rows_without_n_interval_or_ungraded_are_refused(tmp_path: Path, lack: str) -> None:
    target = evaluation(tmp_path, facts("base"), draw(20, 0.5, 0))
    results = read_json(target / "results.json")
    del results["metrics"]["accuracy"][lack]
    write_json(target / "results.json", results)
    assert build([read_evaluation(target)])[0] == []
    assert f"metrics.accuracy.{lack}" in build([read_evaluation(target)])[1][0]


def test_repeats_and_noted_items_are_in_the_row(tables: list[Table]) -> None:
    assert {"pass@1", "pass@8", "maj@8"} <= set(rows(tables[0])["rlfr"].extra)
    assert "without noted items" in rows(tables[1], "recipe")["rlfr"].extra
    assert set(rows(tables[1])["grpo"].categories["subject"]) == {"subject 0", "subject 1", "subject 2"}


def test_markdown_and_csv_hold_every_row(folder: Path, tables: list[Table], capsys: pytest.CaptureFixture[str]) -> None:
    files = board.main(folder, ("md", "csv"))
    assert [f.name for f in files] == ["leaderboard.md", "leaderboard.csv"]
    count = sum(len(t.rows) for t in tables)
    lines = [line for line in files[0].read_text().splitlines() if line.startswith("| ")]
    assert len(lines) == count + 2 * len({(t.task, r.block) for t in tables for r in t.rows})
    read = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert len(read) == count and tuple(read[0]) == text.CSV_COLUMNS
    wanted = [r for t in tables for r in t.rows]
    assert [float(r["accuracy"]) for r in read] == [r.accuracy for r in wanted]
    assert all(r["ci95_low"] and r["n"] and r["ungraded"] for r in read)
    assert json.loads(read[0]["extra"])["pass@8"] == wanted[0].extra["pass@8"]
    assert board.main(folder, ("md",))[0].read_text() == files[0].read_text(), "the same runs give the same file"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_terminal_never_cuts_a_number(tables: list[Table], width: int) -> None:
    out = io.StringIO()
    text.show(tables, Console(file=out, width=width))
    shown = out.getvalue()
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    if width >= 80:
        for row in tables[1].rows:
            assert text.accuracy(row) in shown and text.difference(row) in shown
    for word in ("ungraded", "truncated", "train tokens", "eval time", "seeds"):
        assert word in shown


def test_numbers_read_well() -> None:
    assert [text.percent(v) for v in (0.0, 0.0001, 0.1234, 1.0)] == ["0.0 %", "<0.1 %", "12.3 %", "100.0 %"]
    assert [text.amount(v) for v in (None, 30.0, 950, 1234, 50_400, 1_234_567, 2.5e9)] == [
        "-",
        "30",
        "950",
        "1.2k",
        "50k",
        "1.23M",
        "2.50G",
    ]
    assert [text.duration(v) for v in (None, 1.26, 45, 600, 9000)] == ["-", "1.3 s", "45 s", "10 min", "2.5 h"]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished evaluation"):
        board.main(tmp_path, ("md",))
    evaluation(tmp_path, facts("grpo"), draw(20, 0.5, 0))
    with pytest.raises(UnknownNameError, match="no row is called 'grop': did you mean 'grpo'"):
        board.main(tmp_path, ("md",), baseline="grop")


def test_a_row_alone_has_no_rank_and_no_difference(tmp_path: Path) -> None:
    (row,) = single(tmp_path, (facts("grpo"), draw(20, 0.5, 0)))
    assert row.rank is None and row.difference is None


def test_tables_draw_from_no_global_stream(folder: Path) -> None:
    before = repr(np.random.get_state(legacy=True))
    build(evaluations(folder))
    assert repr(np.random.get_state(legacy=True)) == before
