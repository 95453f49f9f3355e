"""The `demo` verb: base, grpo and rlfr on a built-in task, the table, the page, and what to try next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from harness.core.terminal import stdout

if TYPE_CHECKING:
    from harness.pipeline.options import RunOptions

METHODS = ("base", "grpo", "rlfr")
PICTURES = "charts"

DemoTask = Annotated[str, typer.Option("--task", help="arithmetic, or charts (with pictures).", metavar="T")]
DemoOut = Annotated[Path, typer.Option("--out", help="Where run folders and the page go.", metavar="DIR")]


def demo_(task: DemoTask = "arithmetic", out: DemoOut = Path("runs")) -> None:
    """Train grpo and rlfr on a built-in policy, score both and the policy they start from; no download, no GPU.

    \b
    rlfr-eval demo
    rlfr-eval demo --task charts
    """
    from harness.pipeline.options import RunOptions

    main(RunOptions(tasks=(task,), methods=METHODS, out=out), stdout())


def main(options: RunOptions, console: Console) -> Path:
    """Do what the options say, print the table and what to try next, and return the page. Raises RlfrEvalError."""
    from harness.cli import run_command

    run_command.run(options, console)
    page = _page(options.out)
    console.print()
    for line in (f"page: {page.resolve()}", "", *_next(options.tasks[0], options.out)):
        console.print(line, highlight=False, soft_wrap=True)
    return page


def _page(out: Path) -> Path:
    from leaderboards.board import Choice, collect
    from leaderboards.page.build import write

    choice = Choice()
    return write(collect(out, choice), out / "leaderboard", choice.samples)


def _next(task: str, out: Path) -> list[str]:
    """Lines that say what to try, each command as it can be typed."""
    run = next(iter(sorted(out.glob("*/grpo/*/s*"))), out)
    where = "" if out == Path("runs") else f" --out {out}"
    other = [] if task == PICTURES else [("the same with pictures", f"demo --task {PICTURES}{where}")]
    steps = [
        ("what was answered, and why it counts", f"show {run} --limit 3"),
        *other,
        ("more seeds, so that methods can be ranked", f"--task {task} --method grpo,rlfr --seed 0,1,2{where}"),
        ("the methods there are", "list methods"),
        ("a model of your own", "--task math500 --method base --model PATH_OR_HUB_NAME"),
    ]
    return [
        "What to try next:",
        *(line for about, words in steps for line in (f"  {about}:", f"    rlfr-eval {words}")),
    ]


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("demo", short_help="See it work: train, score, compare on a built-in policy.")(demo_)
