"""The `run` and `score` verbs: options in, names checked before anything heavy is imported, work done, a table printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from harness import config
from harness.cli_list import methods_registry
from harness.errors import UnknownNameError, near
from harness.pipeline_options import RunOptions, check
from harness.registry import load_plugin
from harness.terminal import stdout

if TYPE_CHECKING:
    from harness.score import ScoreOptions


def run(options: RunOptions, console: Console | None = None) -> None:
    """Do the work and print the table. Raises RlfrEvalError."""
    check(options)
    check_names(options)
    from harness import pipeline
    from harness.runs import read_evaluation
    from leaderboards.board import present

    folders = pipeline.run(options)
    console = console or stdout()
    present([read_evaluation(folder) for folder in folders], console)
    for folder in sorted({f.parent.parent for f in folders}):
        console.print(f"run: {folder}", highlight=False, soft_wrap=True)


def score_and_print(options: ScoreOptions, console: Console | None = None) -> None:
    """Grade recorded responses and print their row. Raises RlfrEvalError."""
    from harness.runs import read_evaluation
    from harness.score import score
    from leaderboards.board import present

    score(options, Console(stderr=True))
    console = console or stdout()
    present([read_evaluation(options.out)], console)
    console.print(f"wrote {options.out}/results.json and samples.jsonl", highlight=False, soft_wrap=True)


def check_names(options: RunOptions) -> None:
    """Unknown tasks, methods, recipes and engines, found without importing torch."""
    from harness.engines.base import engine
    from tasks.base import resolve

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
