"""`new-method` and `new-task` write files that pass as they are, and never over others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import app, scaffold, scaffold_task
from harness.core.errors import ConfigError
from harness.core.registry import load_plugin


def test_what_is_written_passes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.main(["new-method", "scaffolded-variant", "--dir", str(tmp_path)]) == 0
    names = ["scaffolded-variant.md", "scaffolded_variant.py", "test_scaffolded_variant.py"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    for tool in (["check"], ["format", "--check", "--line-length", "120"]):
        ruff = [sys.executable, "-m", "ruff", *tool, *map(str, tmp_path.glob("*.py"))]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # pytest in pytest: the written test runs in this process, so that torch is imported once
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]) == 0


def test_a_task_passes_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["new-task", "scaffolded-set", "--dir", str(tmp_path)]) == 0
    names = ["scaffolded-set.md", "scaffolded_set.jsonl", "scaffolded_set.py", "test_scaffolded_set.py"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    for tool in (["check"], ["format", "--check", "--line-length", "120"]):
        ruff = [sys.executable, "-m", "ruff", *tool, *map(str, tmp_path.glob("*.py"))]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]) == 0
    plugin = str(tmp_path / "scaffolded_set.py")
    capsys.readouterr()
    assert app.main(["validate", "--task", "scaffolded-set", "--data-dir", str(tmp_path), "--plugin", plugin]) == 0
    assert "scaffolded-set-test: ok" in capsys.readouterr().out


def test_a_task_that_exists_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="task 'gsm8k' exists already"):
        scaffold_task.write("gsm8k", tmp_path)
    (tmp_path / "mine.jsonl").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine\.jsonl exists already"):
        scaffold_task.write("mine", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.jsonl"]


def test_page_states_the_defaults(tmp_path: Path) -> None:
    from rewards.method import method

    module, _, page = scaffold.write("paged-variant", tmp_path)
    load_plugin(module)
    assert f"| `bonus` | `{method.get('paged-variant')().settings()['bonus']!r}` |" in page.read_text()


@pytest.mark.parametrize("name", ["My", "a_b", "1a", "", "class", "-a", "a--b"])
def test_names_that_cannot_be_keys(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be a method's key"):
        scaffold.write(name, tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        scaffold.write("rlfr", tmp_path)
    (tmp_path / "mine.md").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine\.md exists already"):
        scaffold.write("mine", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.md"]
