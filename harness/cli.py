"""The `rlfr-eval` command: flags in, work by lazily imported modules, one line on stderr for every user error.

Only what parsing needs is imported at the top, so that --help and `list` answer at once. A line without a verb is `run`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import RlfrEvalError, UnknownNameError, near

INTERRUPTED = 130
VERBS = ("run", "score", "show", "list", "leaderboard")

app = typer.Typer(
    name="rlfr-eval",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train and score RL methods for reasoning on one path, and compare them.

\b
Start here (tiny built-in policies, no download, minutes on a CPU):
  rlfr-eval --task arithmetic --method base,grpo,rlfr
  rlfr-eval --task charts --method base,rlfr --seed 0,1
  rlfr-eval leaderboard
\b
Score answers that you already have:
  rlfr-eval score --task mathvision --data-dir DIR --responses answers.jsonl --out scored
\b
Look at what was graded, and at what there is:
  rlfr-eval show scored --wrong
  rlfr-eval list methods

A line without a verb is `run`: `rlfr-eval --task T --method M`. Errors are one line with their remedy, exit code 2.""",
)

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with own tasks or methods; repeatable.", metavar="FILE"),
]


@app.command("run", short_help="Train methods, evaluate them, print one table.")
def run_(
    task: Annotated[
        str, typer.Option(help="Tasks to evaluate, e.g. mathvision or math500,arithmetic.", metavar="T[,T]")
    ],
    method: Annotated[str, typer.Option(help="Methods to train; `base` does not train.", metavar="M[,M]")] = "",
    model: Annotated[
        str | None, typer.Option(help="Start policy: tiny-lm, tiny-vl, a hub name or a folder.", metavar="NAME|PATH")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Evaluate this checkpoint as it is; needs --label.", metavar="PATH")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name of the row of --policy.", metavar="NAME")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Settings shared by all methods (rlfr-eval list recipes).", metavar="NAME")
    ] = None,
    seed: Annotated[str, typer.Option(help="Seeds; the table averages over them.", metavar="0,1")] = "0",
    budget: Annotated[
        str | None, typer.Option(help="Training budget: steps (200) or sampled tokens (2Mtokens).", metavar="AMOUNT")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Samples per item; above 1 at temperature 0.6.", metavar="K")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of the evaluation; 0 is greedy.", metavar="X")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest evaluated response, in tokens.", metavar="N")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="official (the benchmark's answer rule) or strict (a marked answer only).", metavar="NAME"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate the first items only.", metavar="N")] = None,
    ids: Annotated[Path | None, typer.Option(help="Evaluate the items named in this file.", metavar="FILE")] = None,
    data_dir: Annotated[
        list[str] | None,
        typer.Option(help="Local benchmark files, for all tasks or one; repeatable.", metavar="[T=]DIR"),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Generation engine (rlfr-eval list engines).", metavar="NAME")
    ] = None,
    plugin: Plugins = None,
    config: Annotated[Path | None, typer.Option(help="YAML settings over the recipe's.", metavar="FILE")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, e.g. train.steps=50; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Also apply the method's paper's recipe; marks the row.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where run folders are.", metavar="DIR")] = Path("runs"),
) -> None:
    """Train each method (or reuse its finished run), evaluate on each task, print one table.

    \b
    rlfr-eval --task arithmetic --method base,grpo,rlfr --seed 0,1
    rlfr-eval --task mathvision --method rlfr --model tiny-vl --data-dir DIR --limit 32
    rlfr-eval --task math500 --policy ./my-checkpoint --label mine --data-dir DIR
    rlfr-eval --task arithmetic --method rlfr --set methods.rlfr.beta=0.02 --budget 50

    A killed run goes on where it was when the same line is run again.
    """
    from harness import cli_run, pipeline_options

    cli_run.run(
        pipeline_options.RunOptions(
            tasks=pipeline_options.names(task, "--task"),
            methods=pipeline_options.names(method, "--method") if method else (),
            model=model,
            policy=policy,
            label=label,
            recipe=recipe,
            seeds=pipeline_options.seeds(seed),
            budget=pipeline_options.budget(budget) if budget is not None else None,
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            protocol=pipeline_options.protocol(protocol),
            limit=limit,
            ids=pipeline_options.read_ids(ids) if ids is not None else None,
            data_dirs=pipeline_options.data_dirs(data_dir or []),
            engine=engine,
            plugins=tuple(plugin or ()),
            config=config,
            sets=tuple(set_ or ()),
            paper=paper,
            out=out,
        )
    )


@app.command("score", short_help="Grade responses that exist already.")
def score_(
    task: Annotated[str, typer.Option(help="The task, e.g. mathvision or mathvista-testmini.", metavar="T")],
    responses: Annotated[Path, typer.Option(help='Lines {"id": .., "response": ..}.', metavar="F.jsonl")],
    out: Annotated[Path, typer.Option(help="Folder for results.json and samples.jsonl.", metavar="DIR")],
    data_dir: Annotated[
        Path | None, typer.Option(help="The benchmark's files in its own layout.", metavar="DIR")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="official (the benchmark's answer rule) or strict.", metavar="NAME")
    ] = "official",
    response_field: Annotated[str, typer.Option(help="Column of the response.", metavar="NAME")] = "response",
    extracted_field: Annotated[
        str | None,
        typer.Option(help="Column with an extracted answer, used instead of our extraction.", metavar="NAME"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score the first items only.", metavar="N")] = None,
    ids: Annotated[Path | None, typer.Option(help="Score the items named in this file.", metavar="FILE")] = None,
    plugin: Plugins = None,
) -> None:
    """Grade responses that exist already: no model, no GPU.

    \b
    rlfr-eval score --task mathvision --data-dir DIR --responses answers.jsonl --out scored
    rlfr-eval score --task mathvista --data-dir DIR --responses gpt4.jsonl --extracted-field extraction --out scored

    The id is a string or number under "id" or the benchmark's own id column (MathVista: pid). Several lines of one id
    are several samples. Rows of a benchmark without an id column are numbered from 0. Other keys are ignored.
    """
    from harness import cli_run, pipeline_options, score

    cli_run.score_and_print(
        score.ScoreOptions(
            task=task,
            responses=responses,
            out=out,
            data_dir=data_dir,
            protocol=pipeline_options.protocol(protocol) or "official",
            response_field=response_field,
            extracted_field=extracted_field,
            limit=limit,
            ids=pipeline_options.read_ids(ids) if ids is not None else None,
            plugins=tuple(plugin or ()),
        )
    )


@app.command("show", short_help="Read graded samples in the terminal.")
def show_(
    run: Annotated[
        Path, typer.Argument(help="A run folder, an evaluation folder or the --out of score.", metavar="RUN")
    ],
    wrong: Annotated[bool, typer.Option("--wrong", help="Only samples that are not correct.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many samples.", metavar="N")] = 10,
) -> None:
    """Read samples in the terminal: question, response, extracted answer, gold, verdict and why.

    \b
    rlfr-eval show runs/tiny-lm/rlfr/arithmetic/s0-1a2b3c4d --wrong --limit 5
    """
    from harness.show import show

    show(run, wrong=wrong, limit=limit)


@app.command("list", short_help="Tasks, methods, engines, recipes.")
def list_(
    what: Annotated[str, typer.Argument(help="tasks, methods, engines or recipes; nothing lists all.")] = "",
    plugin: Plugins = None,
) -> None:
    """What there is: tasks, methods, engines, recipes.

    \b
    rlfr-eval list tasks
    """
    from harness import cli_list

    cli_list.main(what, tuple(plugin or ()))


@app.command("leaderboard", short_help="Tables from all finished runs.")
def leaderboard_(
    out: Annotated[
        Path, typer.Option(help="Where run folders are; the tables are written there too.", metavar="DIR")
    ] = Path("runs"),
    format: Annotated[str, typer.Option(help="Files to write: md, csv, html.", metavar="F[,F]")] = "md,csv",
    baseline: Annotated[str, typer.Option(help="Row that the others are compared with.", metavar="NAME")] = "base",
) -> None:
    """Tables from all finished runs of a folder, printed and written as leaderboard.md, .csv, .html.

    \b
    rlfr-eval leaderboard --out runs --format md,csv,html --baseline grpo
    """
    from harness import pipeline_options
    from leaderboards import board

    board.main(out, pipeline_options.names(format, "--format"), baseline)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: returns the exit code. 2 for every error a user can cause, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] not in (*VERBS, "-h", "--help"):
            if not words[0].startswith("-"):
                raise UnknownNameError(f"unknown verb '{words[0]}'", near(words[0], VERBS))
            words.insert(0, "run")
        code = app(words, prog_name="rlfr-eval", standalone_mode=False)
    except RlfrEvalError as error:
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except _USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(str(error))
            return 0
        return _say(f"{_one_line(error)} (rlfr-eval {words[0]} --help)", 2)
    if code == INTERRUPTED:  # typer turns an interruption inside a command into this code
        return _say("interrupted; run the same line again to go on where it was", INTERRUPTED)
    return code if isinstance(code, int) else 0


_USAGE: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Base of usage errors, whether typer brings its own click or uses the installed one."""


def _one_line(error: Exception) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(text.split()).rstrip(".")


def _say(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
