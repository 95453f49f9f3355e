"""A finished run is reused when its content is the same, under whatever path; else it says what differs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.core.progress import ProgressBars
from harness.core.runs import read_settings
from harness.models import tiny
from harness.pipeline import run
from harness.pipeline.options import RunOptions
from tests.harness.pipeline.test_pipeline import SHORT

SETS = SHORT


class Heard(ProgressBars):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("tiny-lm", tmp_path_factory.mktemp("policies") / "one")


@pytest.fixture(scope="module")
def first(start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunOptions, Path]:
    out = tmp_path_factory.mktemp("runs")
    work = RunOptions(
        tasks=("arithmetic",), methods=("grpo",), model=str(start), recipe="tiny-lm", limit=2, out=out, sets=SETS
    )
    (folder,) = run.run(work, ProgressBars(quiet=True))
    return work, folder


def trained(options: RunOptions) -> tuple[bool, list[str], Path]:
    """Whether a command trains, what it says, and where its run is."""
    heard = Heard()
    (folder,) = run.run(options, heard)
    return any(line.startswith("train ") for line in heard.lines), heard.lines, folder.parents[1]


def test_a_copy_of_the_start_policy_is_the_same_run(first: tuple[RunOptions, Path], start: Path) -> None:
    work, folder = first
    copy = Path(shutil.copytree(start, start.with_name("two")))
    again, said, place = trained(replace(work, model=str(copy)))
    assert not again and place == folder.parents[1]
    assert any("reuse grpo seed 0, finished 20" in line for line in said), "a reuse says since when"


def test_memory_settings_reuse_the_run(first: tuple[RunOptions, Path]) -> None:
    work, folder = first
    sets = (*work.sets, "train.micro_batch_tokens=64", "train.checkpoint_every=7", "train.log_rollouts=false")
    again, _, place = trained(replace(work, sets=sets))
    assert not again and place == folder.parents[1]


def test_every_configuration_is_the_one_that_was_used(first: tuple[RunOptions, Path]) -> None:
    """The run's says how it was trained, each evaluation's how it was evaluated; another command changes neither."""
    work, _ = first
    _, _, place = trained(replace(work, n=2))
    assert yaml.safe_load((place / "config.yaml").read_text())["evaluation"]["n"] == 1
    found = set()
    for file in place.glob("eval/*/results.json"):
        used = json.loads(file.read_text())["generation"]["sampling"]
        written = read_settings(file.parent).recipe["evaluation"]
        assert {k: written[k] for k in ("n", "temperature", "top_p")} == {
            k: used[k] for k in ("n", "temperature", "top_p")
        }
        found.add(used["n"])
    assert found == {1, 2}


def test_a_run_that_is_not_reused_says_what_differs(first: tuple[RunOptions, Path]) -> None:
    work, folder = first
    again, said, place = trained(replace(work, sets=(*work.sets, "optimiser.lr=3e-4")))
    assert again and place != folder.parents[1]
    (line,) = [line for line in said if "is not reused" in line]
    assert line.endswith("it differs in recipe.optimiser.lr") and str(folder.parents[1]) in line


def test_show_prints_the_parts(first: tuple[RunOptions, Path], capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli import app

    assert app.main(["show", str(first[1].parents[1]), "--identity"]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert shown["run"]["method"]["key"] == "grpo" and shown["run"]["data"]["train"]["task"] == "arithmetic-train"
    assert all("policy" in parts["generation"] for parts in shown["evaluations"].values())
