"""What the README shows works: every command runs, every path exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from tests.conftest import ROOT
from tests.harness.pipeline.test_pipeline import SHORT

README = (ROOT / "README.md").read_text("utf-8")
PACKAGES = ("harness", "tasks", "rewards", "trainers", "leaderboards")
COMMANDS = re.findall(r"^    rlfr-eval (.+)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An empty folder with the data and answers that the README's commands name, and a cache of its own."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "DATA").mkdir()
    (folder / "DATA" / "math500.jsonl").write_text('{"problem": "1+1", "answer": "2", "difficulty": 1}\n')
    (folder / "answers.jsonl").write_text('{"id": 0, "response": "\\\\boxed{2}"}\n')
    (folder / "short.yaml").write_text(_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield folder


def _yaml() -> str:
    from harness.core.config import assign, parse_set, to_yaml

    values: dict[str, Any] = {}
    for item in SHORT:
        assign(values, *parse_set(item))
    return to_yaml(values)


def test_the_readmes_commands_run_in_order(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` is shortened by a configuration file; everything else runs as printed."""
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        words = shlex.split(command)
        if "--method" in words:
            words += ["--config", "short.yaml", "--limit", "4"]
        if "RUN" in words:
            words[words.index("RUN")] = str(next((desk / "runs").glob("*/grpo/*/s*")))
        code = app.main(words)
        said = capsys.readouterr()
        assert code == 0, f"rlfr-eval {command}\n{said.err}"
        assert said.out.strip(), f"rlfr-eval {command} printed nothing"


def test_links_and_folders_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for folder in re.findall(r"^    (\w+/) ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)", README, re.MULTILINE))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def sources() -> list[tuple[str, str, ast.Module]]:
    files = [f for package in PACKAGES for f in (ROOT / package).rglob("*.py")]
    return [(f.relative_to(ROOT).as_posix(), text := f.read_text("utf-8"), ast.parse(text)) for f in files]


def test_math_verify_is_imported_by_the_verifier_only() -> None:
    for where, text, _ in sources():
        if not where.startswith("rewards/verifier/"):
            assert not re.search(r"^\s*(from|import) math_verify", text, re.MULTILINE), where


def test_only_errors_swallows_broadly() -> None:
    for where, _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and where != "harness/core/errors.py":
                broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
                assert not broad or isinstance(node.body[-1], ast.Raise), f"{where}:{node.lineno}"


def test_files_and_functions_stay_small() -> None:
    for where, text, tree in sources():
        assert text.count("\n") <= 400, where
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno
                assert size <= 60, f"{where}: {node.name} is {size} lines long"
