"""The order of layers holds for every import, those inside functions included, and no import goes round in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = (
    ("harness.core",),
    ("harness.models",),
    ("harness.engines",),
    ("rewards.verifier",),
    ("tasks",),
    ("rewards",),
    ("harness.rollout",),
    ("trainers",),
    ("harness.evaluation",),
    ("harness.pipeline",),
    ("leaderboards",),
    ("harness.cli",),
)
"""Lowest first. A module belongs to the longest prefix of its name; it may import its own layer and those before it."""

PACKAGES = ("harness", "tasks", "rewards", "trainers", "leaderboards")


def modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    return {name: file for name, file in names.items() if name != "harness"}


def imported(file: Path, known: set[str]) -> Iterator[str]:
    """Project modules that a file imports, anywhere in it, those for type checkers included."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inside & known
            if node.module in known and inside - known:
                yield node.module


def layer(name: str) -> int:
    fitting = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    assert fitting, f"{name} belongs to no layer: add its package to LAYERS and say where in docs/architecture.md"
    return max(fitting)[1]


def test_no_module_imports_a_higher_layer() -> None:
    found = modules()
    wrong = [
        f"{name} imports {other}"
        for name, file in found.items()
        for other in imported(file, set(found))
        if layer(other) > layer(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_imports_go_round_in_a_circle() -> None:
    found = modules()
    graph = {name: set(imported(file, set(found))) - {name} for name, file in found.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_check_sees_a_hidden_import(tmp_path: Path) -> None:
    file = tmp_path / "low.py"
    file.write_text("def work():\n    from harness.cli import app\n    return app\n", "utf-8")
    assert list(imported(file, {"harness.cli.app"})) == ["harness.cli.app"]
