"""Tables: what may stand together, who is compared with whom, ties, what is refused, and the three ways to print them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.core.errors import RunError, UnknownNameError
from harness.core.files import read_json
from harness.core.runs import Finished, RunFacts, evaluations, read_evaluation, write_manifest
from harness.evaluation.metrics import wilson
from leaderboards import board
from leaderboards.formats import cells, data, terminal
from leaderboards.groups import find
from leaderboards.stats import differences
from leaderboards.table import Board, Row, Table, build
from tests.leaderboards.synthetic import draw, evaluation, facts, runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    runs(out, n=200)
    return out


@pytest.fixture(scope="module")
def whole(folder: Path) -> Board:
    found = build(evaluations(folder))
    assert found.refused == ()
    return found


@pytest.fixture(scope="module")
def tables(whole: Board) -> tuple[Table, ...]:
    return whole.tables


def rows(table: Table, block: str = "") -> dict[str, Row]:
    return {r.name: r for r in table.rows if block in r.block and "paper" not in r.block}


def single(out: Path, *parts: tuple[Any, Any]) -> list[Row]:
    (table,) = build([read_evaluation(evaluation(out, f, right)) for f, right in parts]).tables
    return list(table.rows)


def test_other_decoding_is_another_table(tables: tuple[Table, ...]) -> None:
    assert [(t.task, "8 samples" in t.about) for t in tables] == [("toy-hard", True), ("toy-test", False)]


def test_seeds_are_averaged(tables: tuple[Table, ...], folder: Path) -> None:
    row = rows(tables[1])["grpo"]
    values = [e.results["metrics"]["accuracy"]["value"] for e in map(read_evaluation, map(Path, row.sources))]
    assert row.seeds == (0, 1) and len(values) == 2
    assert row.accuracy == pytest.approx(sum(values) / 2) and row.low < row.accuracy < row.high
    assert (row.steps, row.train_tokens) == (30, 123_456)


def test_one_seed_of_single_samples_has_wilsons_interval_and_mcnemars_p(tmp_path: Path) -> None:
    base, ours = draw(100, 0.4, 0), draw(100, 0.6, 1)
    found = {r.name: r for r in single(tmp_path, (facts("base"), base), (facts("grpo"), ours))}
    right = sum(r[0] for r in ours)
    assert (found["grpo"].low, found["grpo"].high) == pytest.approx(wilson(right, 100))
    better = sum(a[0] and not b[0] for a, b in zip(ours, base, strict=True))
    worse = sum(b[0] and not a[0] for a, b in zip(ours, base, strict=True))
    difference = found["grpo"].difference
    assert difference is not None and difference.p == differences.mcnemar(better, worse)
    assert difference.value == pytest.approx((better - worse) / 100) and found["grpo"].against == "base"
    assert found["base"].difference is None


def test_p_values_are_corrected_over_all_that_is_shown(whole: Board) -> None:
    """Tasks and averages are one family, so a difference that one table alone would claim may not stand beside others."""
    shown = [r.difference for t in whole.tables for r in t.rows if r.difference]
    averaged = [d for a in whole.averages for d in a.differences()]
    assert whole.comparisons == len(shown) + len(averaged) and averaged
    assert sorted(d.adjusted for d in [*shown, *averaged]) == sorted(
        differences.holm([d.p for d in [*shown, *averaged]])
    )
    assert any(d.adjusted > d.p for d in shown)


def test_what_cannot_be_told_apart_shares_a_letter(tables: tuple[Table, ...]) -> None:
    found = rows(tables[1], "recipe")
    grpo, rlfr, base = (found[name].letters for name in ("grpo", "rlfr", "base"))
    assert grpo and rlfr and base
    assert set(grpo) & set(rlfr) and not set(base) & set(rlfr) and "a" in rlfr


def test_equal_rows_are_a_tie_not_a_win(tmp_path: Path) -> None:
    one, two = draw(60, 0.5, 0), draw(60, 0.5, 0)
    two[next(i for i, r in enumerate(two) if not r[0])] = [True]
    found = single(tmp_path, (facts("base"), one), (facts("grpo"), two))
    assert [r.letters for r in found] == ["a", "a"]


def test_too_much_ungraded_or_another_recipe_is_not_ranked(tables: tuple[Table, ...]) -> None:
    dapo = rows(tables[1])["dapo"]
    assert dapo.letters is None and not dapo.headline and any("ungraded" in note for note in dapo.notes)
    assert dapo.difference is None, "a number that is no headline is compared with nothing"
    (paper,) = [r for r in tables[1].rows if r.paper]
    assert paper.letters is None and paper.block != dapo.block and paper.difference is not None


def test_the_base_policy_stands_in_every_block_of_its_model(tables: tuple[Table, ...]) -> None:
    blocks = {r.block for r in tables[1].rows if r.model == "tiny-lm"}
    assert len(blocks) == 2
    assert all(any(r.name == "base" for r in tables[1].rows if r.block == b) for b in blocks)


def test_outside_policies_are_compared_with_the_only_base(tables: tuple[Table, ...]) -> None:
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
    _, table = build(evaluations(folder), baseline="grpo").tables
    found = rows(table, "recipe")
    assert found["rlfr"].against == "grpo" and found["grpo"].difference is None and found["base"].difference is not None
    assert found["base"].difference.value < 0


def test_different_items_are_never_compared(tmp_path: Path) -> None:
    a, b, c = (read_evaluation(evaluation(tmp_path, facts(m), draw(20, 0.5, 0))) for m in ("base", "grpo", "rlfr"))
    log = c.folder / "samples.jsonl"
    log.write_text(log.read_text().replace('{"id": "3"', '{"id": "999"'))
    resealed(c.folder)
    found = build([a, b, c])
    assert {r.name for r in found.tables[0].rows} == {"base", "grpo"}
    assert "rlfr" in found.refused[0] and "other items" in found.refused[0]
    results = {**c.results, "generation": {**c.results["generation"], "content": "other"}}
    assert len(build([a, b, Finished(c.folder, results)]).tables) == 2, "other content is another table"


def resealed(folder: Path) -> None:
    """As if the folder had been written so."""
    manifest = read_json(folder / "manifest.json")
    write_manifest(
        folder, {k: v for k, v in manifest.items() if k not in ("files", "finished")}, list(manifest["files"])
    )


def cut_results(folder: Path) -> None:
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text[: len(text) // 2])


def cut_samples(folder: Path) -> None:
    text = (folder / "samples.jsonl").read_text()
    (folder / "samples.jsonl").write_text(text[: len(text) // 2])


def edited_samples(folder: Path) -> None:
    log = folder / "samples.jsonl"
    log.write_text(log.read_text().replace('"incorrect"', '"correct"'))


def foreign_line(folder: Path) -> None:
    with (folder / "samples.jsonl").open("a") as log:
        log.write('{"id": "7", "verdict": null}\n[1]\n')
    resealed(folder)


def fewer_samples(folder: Path) -> None:
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:-3]))
    resealed(folder)


@pytest.mark.parametrize("damage", [cut_results, cut_samples, edited_samples, foreign_line, fewer_samples])
def test_one_bad_row_is_named_and_the_others_stand(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("base", "grpo"):
        evaluation(tmp_path, facts(method), draw(30, 0.5, 0))
    bad = evaluation(tmp_path, facts("rlfr"), draw(30, 0.6, 1))
    damage(bad)
    found, refused = find(tmp_path)
    shown = build(found, refused=refused)
    assert {r.name for r in shown.tables[0].rows} == {"base", "grpo"}
    assert len(shown.refused) == 1 and str(bad) in shown.refused[0]
    board.main(tmp_path, ("md",))
    assert str(bad) in capsys.readouterr().out.replace("\n", "")
    assert "Left out" in (tmp_path / "leaderboard.md").read_text()


def scored(out: Path, folder: str, right: Any) -> Finished:
    """As `score` writes it: recorded responses, no conditions."""
    outside = RunFacts(model="", method="recorded", label="answers")
    made = evaluation(out / folder, outside, right)
    results = read_json(made / "results.json")
    results["generation"] = {"content": "c", "responses": {"file": "answers.jsonl", "sha256": folder}}
    return Finished(made.rename(out / folder / "scored"), results)


def test_two_scored_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    members = [scored(tmp_path, name, draw(40, share, 0)) for name, share in (("one", 0.4), ("two", 0.6))]
    (table,) = build(members).tables
    assert sorted(r.mark for r in table.rows) == ["one/scored", "two/scored"]
    assert {r.name for r in table.rows} == {"answers"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "other"}, "prompt other instead of p"),
        ({"engine": {"engine": "vllm"}}, "engine vllm instead of slow"),
        ({"engine": {"engine": "slow", "dtype": "bfloat16"}}, "precision bfloat16 instead of unknown"),
        ({"max_prompt_tokens": 99}, "longest prompt 99 tokens instead of none"),
    ],
)
def test_rows_made_under_other_conditions_do_not_stand_as_equals(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    members = [
        read_evaluation(evaluation(tmp_path, facts(m), draw(40, 0.5, k)))
        for k, m in enumerate(("base", "grpo", "rlfr"))
    ]
    other = {**members[2].results, "generation": {**members[2].results["generation"], **change}}
    (table,) = build([*members[:2], Finished(members[2].folder, other)]).tables
    found = {r.name: r for r in table.rows}
    assert found["rlfr"].block != found["grpo"].block and said in found["rlfr"].block
    assert found["rlfr"].letters is None and found["grpo"].letters
    assert any(said in note for note in found["rlfr"].notes), "and the difference to base says so"


def test_a_row_of_one_seed_says_so(tables: tuple[Table, ...]) -> None:
    found = rows(tables[0])
    assert cells.name(found["rlfr"]).endswith("†") and not cells.name(found["base"]).endswith("†")
    assert any("says nothing" in line or "say nothing" in line for line in cells.legend(tables[0]))


def test_tasks_and_models_can_be_chosen(folder: Path) -> None:
    assert [t.task for t in build(evaluations(folder), tasks=("toy-hard",)).tables] == ["toy-hard"]
    (table,) = build(evaluations(folder), model="VERL").tables
    assert [r.name for r in table.rows] == ["verl-7b"]


@pytest.mark.parametrize("lack", ["n", "ci95", "value"])
def test_rows_without_n_interval_or_ungraded_are_refused(tmp_path: Path, lack: str) -> None:
    target = evaluation(tmp_path, facts("base"), draw(20, 0.5, 0))
    results = read_json(target / "results.json")
    del results["metrics"]["accuracy"][lack]
    found = build([replace(read_evaluation(target), results=results)])
    assert found.tables == () and f"metrics.accuracy.{lack}" in found.refused[0]


def test_repeats_and_noted_items_are_in_the_row(tables: tuple[Table, ...]) -> None:
    assert {"pass@1", "pass@8", "maj@8"} <= set(rows(tables[0])["rlfr"].extra)
    assert "without noted items" in rows(tables[1], "recipe")["rlfr"].extra
    assert set(rows(tables[1])["grpo"].categories["subject"]) == {"subject 0", "subject 1", "subject 2"}


def test_markdown_and_csv_hold_every_row(
    folder: Path, tables: tuple[Table, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    files = board.main(folder, ("md", "csv"))
    assert [f.name for f in files] == ["leaderboard.md", "leaderboard.csv"]
    count = sum(len(t.rows) for t in tables)
    sections = files[0].read_text().partition("## toy")[2]
    lines = [line for line in sections.splitlines() if line.startswith("| ")]
    assert len(lines) == count + 2 * len({(t.task, r.block) for t in tables for r in t.rows})
    everything = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert {r["kind"] for r in everything} == {"ours", "average"}
    read = [r for r in everything if r["kind"] == "ours"]
    assert len(read) == count and tuple(read[0]) == data.CSV_COLUMNS
    wanted = [r for t in tables for r in t.rows]
    assert [float(r["accuracy"]) for r in read] == [r.accuracy for r in wanted]
    assert all(r["ci95_low"] and r["n"] and r["ungraded"] for r in read)
    assert json.loads(read[0]["extra"])["pass@8"] == wanted[0].extra["pass@8"]
    assert board.main(folder, ("md",))[0].read_text() == files[0].read_text(), "the same runs give the same file"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_terminal_never_cuts_a_number(whole: Board, tables: tuple[Table, ...], width: int) -> None:
    out = io.StringIO()
    terminal.show(whole, Console(file=out, width=width))
    shown = out.getvalue()
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    if width >= 80:
        for row in tables[1].rows:
            assert cells.accuracy(row) in shown and cells.points(row.difference) in shown
    for word in ("ungraded", "no mark", "truncated", "train tokens", "eval time", "seeds"):
        assert word in shown


def test_numbers_read_well() -> None:
    assert [cells.percent(v) for v in (0.0, 0.0001, 0.1234, 1.0)] == ["0.0 %", "<0.1 %", "12.3 %", "100.0 %"]
    assert [cells.amount(v) for v in (None, 30.0, 950, 1234, 50_400, 1_234_567, 2.5e9)] == [
        "-",
        "30",
        "950",
        "1.2k",
        "50k",
        "1.23M",
        "2.50G",
    ]
    assert [cells.duration(v) for v in (None, 1.26, 45, 600, 9000)] == ["-", "1.3 s", "45 s", "10 min", "2.5 h"]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished evaluation"):
        board.main(tmp_path, ("md",))
    evaluation(tmp_path, facts("grpo"), draw(20, 0.5, 0))
    with pytest.raises(UnknownNameError, match="no row is called 'grop': did you mean 'grpo'"):
        board.main(tmp_path, ("md",), board.Choice(baseline="grop"))


def test_a_row_alone_has_no_rank_and_no_difference(tmp_path: Path) -> None:
    (row,) = single(tmp_path, (facts("grpo"), draw(20, 0.5, 0)))
    assert row.letters is None and row.difference is None


def test_tables_draw_from_no_global_stream(folder: Path) -> None:
    before = repr(np.random.get_state(legacy=True))
    build(evaluations(folder))
    assert repr(np.random.get_state(legacy=True)) == before


def test_no_mark_is_the_strict_rules_and_a_conclusion_may_hang_on_the_protocol(tmp_path: Path) -> None:
    """Under the official rule grpo is far better; under the strict one most of its answers bear no mark."""
    evaluation(tmp_path, facts("base"), draw(60, 0.3, 0))
    made = evaluation(tmp_path, facts("grpo"), draw(60, 0.8, 1))
    log = made / "samples.jsonl"
    rows_ = [json.loads(line) for line in log.read_text().splitlines()]
    for row in rows_:
        row["verdicts"]["strict"] = {"status": "incorrect", "extracted": None, "reason": "no_answer", "side": None}
    log.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    resealed(made)
    (table,) = build(evaluations(tmp_path)).tables
    found = {r.name: r for r in table.rows}
    assert found["grpo"].no_mark == 1.0 and found["grpo"].no_answer < 0.1
    assert any("depends on the protocol (under strict: worse)" in note for note in found["grpo"].notes)
    assert not any("depends" in note for note in found["base"].notes)


def test_golds_that_changed_are_another_table_and_code_that_changed_is_not(tmp_path: Path) -> None:
    first = read_evaluation(evaluation(tmp_path / "a", facts("grpo"), draw(40, 0.4, 0)))
    later = read_evaluation(evaluation(tmp_path / "b", facts("grpo"), draw(40, 0.6, 0)))
    code = {**later.results, "generation": {**later.results["generation"], "code": "edited"}}
    (table,) = build([first, Finished(later.folder, code)]).tables
    (row,) = table.rows
    assert row.sources == (str(later.folder),) and any("the latest counts" in note for note in row.notes)
    golds = {**later.results, "grading": {"content": "other golds"}}
    assert len(build([first, Finished(later.folder, golds)]).tables) == 2


def test_a_letter_never_contradicts_the_p_that_is_shown(whole: Board) -> None:
    """A row shares a letter with its baseline exactly where their difference is not significant as shown."""
    seen = 0
    for table in whole.tables:
        for row in table.rows:
            base = next((r for r in table.rows if r.block == row.block and r.name == row.against), None)
            if row.difference and base and row.letters and base.letters:
                seen += 1
                assert bool(set(row.letters) & set(base.letters)) == (row.difference.adjusted >= 0.05), row.name
    assert seen >= 3


def test_two_scored_files_of_one_name_have_no_average(tmp_path: Path) -> None:
    for task in ("toy-a", "toy-b"):
        evaluation(tmp_path / "x", facts("policy", label="mine", config="1"), draw(30, 0.5, 0), task=task)
        evaluation(tmp_path / "y", facts("policy", label="other", config="2"), draw(30, 0.6, 1), task=task)
    found = build(evaluations(tmp_path)).averages
    assert [r.name for r in found[0].rows] == ["other", "mine"]
    again = [read_evaluation(f) for f in tmp_path.glob("y/*/*/*/*/eval/toy-a-*")]
    renamed = [
        Finished(e.folder, {**e.results, "run": {**e.results["run"], "label": "mine", "config": "1"}}) for e in again
    ]
    twin = [
        Finished(e.folder, {**e.results, "generation": {"content": "c", "responses": {"sha256": str(k)}}})
        for k, e in enumerate([*evaluations(tmp_path / "x"), *renamed])
    ]
    assert all("mine" not in [r.name for r in a.rows] for a in build(twin).averages)
