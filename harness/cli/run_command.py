"""The `run` and `score` verbs: options in, names checked before anything heavy is imported, work done, a table printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from harness.cli.listing import methods_registry
from harness.core import config
from harness.core.errors import UnknownNameError, near
from harness.core.registry import load_plugin
from harness.core.terminal import stdout
from harness.pipeline.options import RunOptions, check

if TYPE_CHECKING:
    from harness.evaluation.score import ScoreOptions


def run(options: RunOptions, console: Console | None = None) -> None:
    """Do the work and print the table. Raises RlfrEvalError."""
    check(options)
    check_names(options)
    from harness.core.runs import read_evaluation
    from harness.pipeline import run
    from leaderboards.board import present

    folders = run.run(options)
    console = console or stdout()
    present([read_evaluation(folder) for folder in folders], console)
    for folder in sorted({f.parent.parent for f in folders}):
        console.print(f"run: {folder}", highlight=False, soft_wrap=True)


def score_and_print(options: ScoreOptions, console: Console | None = None) -> None:
    """Grade recorded responses and print their row. Raises RlfrEvalError."""
    from harness.core.runs import read_evaluation
    from harness.evaluation.score import score
    from leaderboards.board import present

    score(options, Console(stderr=True))
    console = console or stdout()
    present([read_evaluation(options.out)], console)
    console.print(f"wrote {options.out}/results.json and samples.jsonl", highlight=False, soft_wrap=True)


def check_names(options: RunOptions) -> None:
    """Unknown tasks, methods, recipes and engines, found without importing torch."""
    from harness.engines.base import engine
    from tasks.resolve import resolve

    for file in options.plugins:
        load_plugin(file)
    for name in options.tasks:
        resolve(name)
    known = methods_registry().keys()
    for name in options.methods:
        if name not in known:
            raise UnknownNameError(f"unknown method '{name}'", near(name, known) + " (rlfr-eval list methods)")
    if options.recipe is not None and options.recipe not in config.recipes():
        raise UnknownNameError(f"unknown recipe '{options.recipe}'", near(options.recipe, config.recipes()))
    if options.engine is not None and options.engine not in (engines := ["auto", *engine.keys()]):
        raise UnknownNameError(f"unknown engine '{options.engine}'", near(options.engine, engines))
