"""`rlfr-eval list`: registry entries and recipe files in, tables in the terminal out. Imports no method and no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.core.errors import UnknownNameError, near
from harness.core.registry import Entry, Registry, load_plugin
from harness.core.terminal import stdout


def main(what: str, plugins: Sequence[Path] = (), console: Console | None = None) -> None:
    """Print one kind, or all. Raises UnknownNameError for a kind that does not exist."""
    if what and what not in KINDS:
        raise UnknownNameError(f"cannot list '{what}'", near(what, KINDS))
    for file in plugins:
        load_plugin(file)
    console = console or stdout()
    for kind in [what] if what else KINDS:
        if not what:
            console.print(kind, style="bold")
        console.print(KINDS[kind]())


def _table(*columns: str) -> Table:
    """Names keep their width; the last column folds, and lists of splits do."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        folds = number == len(columns) - 1 or column == "splits"
        table.add_column(
            column,
            no_wrap=not folds,
            overflow="fold",
            max_width=18 if column == "splits" else None,
            style="cyan" if number == 0 else None,
        )
    return table


def methods_registry() -> Registry[Any]:
    """The methods' registry without its module, which imports torch; the real one where a plug-in has imported it."""
    loaded = sys.modules.get("rewards.method")
    return loaded.method if loaded else Registry("method", "rewards.methods", "rlfr_eval.methods")


def _tasks() -> Table:
    from tasks.base import Task, task

    def fact(entry: Entry, name: str) -> Any:
        return entry.facts.get(name, getattr(Task, name))

    table = _table("task", "modality", "splits", "licence", "v", "what")
    for entry in task.entries():
        splits = " ".join(fact(entry, "splits"))
        cells = [fact(entry, "modality"), splits, fact(entry, "licence"), str(fact(entry, "version"))]
        table.add_row(entry.key, *cells, entry.summary)
    return table


def _methods() -> Table:
    """What it does, and below where it comes from, so that nothing is lost at 80 columns."""
    table = _table("method", "what")
    for entry in methods_registry().entries():
        known = [entry.facts.get("paper"), entry.facts.get("provenance")]
        source = Text("; ".join(str(k) for k in known if k), style="dim")
        table.add_row(entry.key, Text.assemble(entry.summary, "\n" if source else "", source))
    return table


def _engines() -> Table:
    from harness.engines.base import engine

    table = _table("engine", "what")
    for entry in engine.entries():
        table.add_row(entry.key, entry.summary)
    return table


def _recipes() -> Table:
    from harness.core import config
    from harness.pipeline.choice import NEUTRAL

    table = _table("recipe", "modality", "model", "trains on", "budget")
    for name in config.recipes():
        recipe = config.load(name)
        train = recipe.train
        budget = f"{train.sampled_tokens:,} tokens" if train.sampled_tokens else f"{train.steps} steps"
        shown = (recipe.modality, recipe.model.path, f"{train.task}-{train.split}")
        table.add_row(
            name, *(("any", "any other (--model)", "the task's own data") if name == NEUTRAL else shown), budget
        )
    return table


KINDS: dict[str, Callable[[], Table]] = {
    "tasks": _tasks,
    "methods": _methods,
    "engines": _engines,
    "recipes": _recipes,
}
