"""`new-method` writes files that pass as they are, and never over others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import app, scaffold
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
