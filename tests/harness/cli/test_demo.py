"""The demo: it trains nothing but the methods, its page is there, and every command that it suggests is one."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import app, demo, run_command
from harness.pipeline import policies
from harness.pipeline.options import RunOptions
from tests.harness.pipeline.test_pipeline import SHORT


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a shortened demo in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(policies, "cold_start", lambda *_: pytest.fail("the demo trained a start policy"))
    out = io.StringIO()
    options = RunOptions(tasks=("arithmetic",), methods=demo.METHODS, sets=SHORT, limit=4)
    page = demo.main(options, Console(file=out, width=80))
    assert page.is_file()
    lines = out.getvalue().splitlines()
    assert f"page: {page.resolve()}" in lines
    return lines


def test_the_demo_shows_three_methods_and_commands_that_work(
    said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in demo.METHODS:
        assert any(line.startswith(name) and "%" in line for line in said), "\n".join(said)
    suggested = [line.split("rlfr-eval ", 1)[1] for line in said if line.startswith("    rlfr-eval ")]
    assert [words.split()[0] for words in suggested] == ["show", "demo", "--task", "list", "--task"]

    asked: list[RunOptions] = []
    monkeypatch.setattr(run_command, "run", lambda options, *_: asked.append(options))
    monkeypatch.setattr(demo, "main", lambda options, _: asked.append(options))
    for words in suggested:
        code = app.main(shlex.split(words))
        shown = capsys.readouterr()
        assert code == 0, f"rlfr-eval {words}\n{shown.err}"
    assert [o.tasks for o in asked] == [("charts",), ("arithmetic",), ("math500",)]
    assert (asked[1].methods, asked[1].seeds) == (("grpo", "rlfr"), (0, 1, 2))
    assert asked[2].model == "PATH_OR_HUB_NAME"


def test_another_folder_is_kept_in_what_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "tiny-vl" / "grpo" / "charts-train" / "s0-1").mkdir(parents=True)
    lines = "\n".join(demo._next("charts", tmp_path))
    assert f"show {tmp_path}/tiny-vl/grpo/charts-train/s0-1 --limit 3" in lines
    assert f"--seed 0,1,2 --out {tmp_path}" in lines and "demo" not in lines
