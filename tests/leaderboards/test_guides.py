"""docs/leaderboard.md and docs/statistics.md: every command shown runs, and every figure of coverage has its line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.core.progress import ProgressBars
from harness.pipeline import run
from harness.pipeline.options import RunOptions
from leaderboards.stats import coverage
from tests.conftest import ROOT
from tests.harness.pipeline.test_pipeline import SHORT

GUIDES = [(ROOT / "docs" / name).read_text("utf-8") for name in ("leaderboard.md", "statistics.md")]
COMMANDS = [c for text in GUIDES for c in re.findall(r"^    rlfr-eval (.+)$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with runs of two methods, as the guides' commands find them."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        options = RunOptions(
            tasks=("arithmetic",), methods=("base", "grpo", "dr-grpo"), limit=6, seeds=(0, 1), sets=SHORT
        )
        run.run(options, ProgressBars(quiet=True))
        patch.setattr("http.server.ThreadingHTTPServer.serve_forever", interrupted)
        yield folder


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_every_command_of_the_guides_runs(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) > 12
    grpo, other, base = (str(next(desk.glob(f"runs/*/{m}"))) for m in ("grpo/*/s0-*", "grpo/*/s1-*", "base/*/*"))
    names = {"A": str(Path(grpo).parent), "B": base, "RUN": grpo, "OTHER": other}
    for command in sorted(COMMANDS, key=lambda c: c.startswith("rm ")):
        code = app.main([names.get(word, word) for word in shlex.split(command)])
        said = capsys.readouterr()
        assert code == 0, f"rlfr-eval {command}\n{said.err}"
        assert said.out.strip() or "--json" in command, f"rlfr-eval {command} printed nothing"
    for name in ("md", "csv", "tex", "json", "png", "svg"):
        assert (desk / "runs" / f"leaderboard.{name}").is_file()
    assert (desk / "runs" / "leaderboard" / "index.html").is_file()


def test_the_coverage_table_has_a_line_for_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    coverage.report(coverage.CASES, 2)
    lines = [line.rsplit("|", 4)[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(lines) == len(coverage.CASES)
    for line in lines:
        assert line in GUIDES[1], line


def test_links_exist() -> None:
    for text in GUIDES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / "docs" / target).exists(), target
