"""The verbs for authors: `regress` tries a method's promises, `new-method` and `new-task` write files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import Plugins

RegressMethod = Annotated[str, typer.Option("--method", help="The method to try, built in or brought.", metavar="M")]
RegressBaseline = Annotated[str, typer.Option("--baseline", help="What it is compared with.", metavar="M")]
Suite = Annotated[str, typer.Option(help="smoke (minutes) or learn (the main job on arithmetic).", metavar="NAME")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds of the learning part (smoke: 1, learn: 3).", metavar="N")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Junit = Annotated[Path | None, typer.Option(help="Also write JUnit XML here.", metavar="FILE")]
Update = Annotated[bool, typer.Option("--update", help="Write the method's pinned numbers, on purpose.")]
NewName = Annotated[str, typer.Argument(help="Its key, such as my-variant.", metavar="NAME")]
NewDir = Annotated[Path, typer.Option("--dir", help="Folder to write to; made when missing.", metavar="DIR")]


def regress_(
    method: RegressMethod,
    baseline: RegressBaseline = "grpo",
    suite: Suite = "smoke",
    seeds: Seeds = None,
    json: AsJson = False,
    junit: Junit = None,
    plugin: Plugins = None,
    update: Update = False,
) -> int:
    """Does a method keep its promises? Contract, cost, learning, pinned numbers.

    \b
    rlfr-eval regress --method rlfr
    rlfr-eval regress --method my-variant --plugin my_variant.py --suite learn --seeds 3
    rlfr-eval regress --method my-variant --plugin my_variant.py --update

    Exit code 0: everything holds; 1: a regression, named; 2: it could not run.
    """
    from leaderboards.regress import suite as suites

    options = suites.Options(
        method=method,
        baseline=baseline,
        suite=suites.suite(suite),
        seeds=seeds,
        plugins=tuple(plugin or ()),
        update=update,
    )
    return suites.main(options, json, junit)


def new_method_(name: NewName, dir: NewDir = Path()) -> None:
    """Write a method's module, its test and its page; all of them pass as they are.

    \b
    rlfr-eval new-method my-variant --dir mine
    rlfr-eval regress --method my-variant --plugin mine/my_variant.py
    """
    from harness.cli import scaffold

    for file in scaffold.write(name, dir):
        print(file)


def new_task_(name: NewName, dir: NewDir = Path()) -> None:
    """Write a task's module, two rows, its test and its page; all of them pass as they are.

    \b
    rlfr-eval new-task my-set --dir mine
    rlfr-eval validate --task my-set --data-dir mine --plugin mine/my_set.py
    """
    from harness.cli import scaffold_task

    for file in scaffold_task.write(name, dir):
        print(file)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("regress", short_help="Try a method's promises; exit code 1 names what broke.")(regress_)
    app.command("new-method", short_help="Write a method's module, test and page.")(new_method_)
    app.command("new-task", short_help="Write a task's module, rows, test and page.")(new_task_)
