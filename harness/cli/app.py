"""The `rlfr-eval` command: flags in, work by lazily imported modules, one line on stderr for every user error.

Only what parsing needs is imported at the top, so that --help and `list` answer at once. A line without a verb is `run`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from harness.cli import boards_command, demo, grade, plan, regress_command
from harness.cli import flags as flags
from harness.core.errors import RlfrEvalError, UnknownNameError, near

INTERRUPTED = 130
VERBS = (
    *("demo", "run", "score", "list", "validate", "fetch", "export-lm-eval", "grade", "regress", "new-method"),
    *("new-task", "plan", "leaderboard", "compare", "show", "view", "detect", "reproduce", "replicate", "rm"),
)

app = typer.Typer(
    name="rlfr-eval",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train and score RL methods for reasoning on one path, and compare them.

\b
Start here (tiny built-in policies, no download, a minute or two on a CPU):
  rlfr-eval demo
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
\b
Prove a task on its whole split; make a folder of it for a machine without network:
  rlfr-eval validate --task math500 --data-dir DIR
  rlfr-eval fetch --task math500 --to DIR

A line without a verb is `run`: `rlfr-eval --task T --method M`. Errors are one line with their remedy, exit code 2.""",
)

demo.register(app)


@app.command("run", short_help="Train methods, evaluate them, print one table.")
def run_(
    task: flags.Task,
    method: flags.Method = "",
    model: flags.Model = None,
    policy: flags.Policy = None,
    label: flags.Label = None,
    recipe: flags.Recipe = None,
    seed: flags.Seed = "0",
    budget: flags.Budget = None,
    n: flags.Samples = None,
    temperature: flags.Temperature = None,
    max_new_tokens: flags.MaxNewTokens = None,
    protocol: flags.Protocol = None,
    limit: flags.Limit = None,
    ids: flags.Ids = None,
    data_dir: flags.DataDir = None,
    engine: flags.Engine = None,
    server: flags.Server = None,
    plugin: flags.Plugins = None,
    config: flags.Config = None,
    set_: flags.Sets = None,
    paper: flags.Paper = False,
    out: flags.Out = Path("runs"),
) -> None:
    """Train each method (or reuse its finished run), evaluate on each task, print one table.

    \b
    rlfr-eval --task arithmetic --method base,grpo,rlfr --seed 0,1
    rlfr-eval --task mathvision --method rlfr --model tiny-vl --data-dir DIR --limit 32
    rlfr-eval --task math500 --policy ./my-checkpoint --label mine --data-dir DIR
    rlfr-eval --task arithmetic --method rlfr --set methods.rlfr.beta=0.02
    A killed run goes on where it was when the same line is run again."""
    from harness.cli import run_command
    from harness.pipeline import options

    run_command.run(
        options.RunOptions(
            tasks=options.names(task, "--task"),
            methods=options.names(method, "--method") if method else (),
            model=model,
            policy=policy,
            label=label,
            recipe=recipe,
            seeds=options.seeds(seed),
            budget=options.budget(budget) if budget is not None else None,
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            protocol=options.protocol(protocol),
            limit=limit,
            ids=options.read_ids(ids) if ids else None,
            data_dirs=options.data_dirs(data_dir or []),
            engine=engine,
            server=server,
            plugins=tuple(plugin or ()),
            config=config,
            sets=tuple(set_ or ()),
            paper=paper,
            out=out,
        )
    )


@app.command("score", short_help="Grade responses that exist already.")
def score_(
    task: flags.ScoreTask,
    responses: flags.Responses,
    out: flags.ScoreOut,
    data_dir: flags.ScoreDataDir = None,
    protocol: flags.ScoreProtocol = "official",
    response_field: flags.ResponseField = "response",
    extracted_field: flags.ExtractedField = None,
    limit: flags.ScoreLimit = None,
    ids: flags.ScoreIds = None,
    plugin: flags.Plugins = None,
    judge: flags.Judge = None,
    judge_model: flags.JudgeModel = None,
    judge_key_variable: flags.JudgeKeyVariable = None,
    label: flags.ScoreLabel = "",
    force: flags.Force = False,
) -> None:
    """Grade responses that exist already: no model, no GPU.

    \b
    rlfr-eval score --task mathvision --data-dir DIR --responses answers.jsonl --out scored
    rlfr-eval score --task mathvista --data-dir DIR --responses gpt4.jsonl --extracted-field extraction --out scored

    The id is a string or number under "id" or the benchmark's own id column (MathVista: pid). Several lines of one id
    are several samples. Rows of a benchmark without an id column are numbered from 0. Other keys are ignored.

    --judge asks an OpenAI-compatible endpoint (http://host:8000/v1) about what the rules leave ungraded. It is checked
    first, its verdicts stand beside, and its accuracy is a metric of its own name; the headline is the rules' alone.
    """
    from harness.cli import run_command
    from harness.evaluation import judging, score
    from harness.pipeline import options

    run_command.score_and_print(
        score.ScoreOptions(
            task=task,
            responses=responses,
            out=out,
            data_dir=data_dir,
            protocol=options.protocol(protocol) or "official",
            response_field=response_field,
            extracted_field=extracted_field,
            limit=limit,
            ids=options.read_ids(ids) if ids is not None else None,
            plugins=tuple(plugin or ()),
            judge=judging.options(judge, judge_model, judge_key_variable),
            label=label,
            force=force,
        )
    )


@app.command("list", short_help="Tasks, methods, engines, recipes.")
def list_(
    what: flags.What = "",
    plugin: flags.Plugins = None,
    out: flags.Out = Path("runs"),
) -> None:
    """What there is: tasks, methods, engines, recipes; and the runs of a folder.

    \b
    rlfr-eval list tasks
    rlfr-eval list runs --out runs
    """
    from harness.cli import listing

    if what == "runs":
        from harness.cli import runs_listing

        runs_listing.main(out)
        return
    listing.main(what, tuple(plugin or ()))


@app.command("validate", short_help="Let tasks prove themselves on their whole split.")
def validate_(
    task: flags.ValidateTask,
    data_dir: flags.DataDir = None,
    plugin: flags.Plugins = None,
) -> int:
    """Golds must grade CORRECT; wrong, empty, malformed, cut off and hostile answers never.

    \b
    rlfr-eval validate --task math500,aime24 --data-dir DIR
    rlfr-eval validate --task units --plugin units.py --data-dir DIR

    Prints a report per task, for the strict and the official rule. Exit code 0: all proved; 1: a task failed; 2: it could
    not be tried.
    """
    from harness.cli import tasks_command
    from harness.pipeline import options

    names = options.names(task, "--task")
    return tasks_command.validate(names, options.data_dirs(data_dir or []), tuple(plugin or ()))


@app.command("fetch", short_help="Make a folder of a split, for a machine without network.")
def fetch_(
    task: flags.FetchTask,
    to: flags.FetchTo,
) -> None:
    """Download a split once, with its pictures, into a folder that --data-dir reads without a network.

    \b
    rlfr-eval fetch --task mathvista --to data/mathvista
    rlfr-eval --task mathvista --data-dir data/mathvista --method base

    source.json there says which repository, commit and licence it is. Splits of one task may share a folder.
    """
    from harness.cli import tasks_command

    tasks_command.fetch(task, to)


@app.command("export-lm-eval", short_help="Write our language tasks as tasks of lm-eval.")
def export_lm_eval_(
    folder: flags.ExportFolder,
    task: flags.ExportTask = None,
    data_dir: flags.DataDir = None,
    n: flags.ExportSamples = 1,
    max_new_tokens: flags.ExportTokens = 3000,
) -> None:
    """Write our language tasks as tasks of lm-eval, graded by our verifier: a yaml file each and one python file.

    \b
    rlfr-eval export-lm-eval tasks-for-lm-eval --task math500,aime24 --data-dir DIR
    lm_eval --model hf --model_args pretrained=PATH --include_path tasks-for-lm-eval --tasks rlfr_math500_test \\
      --apply_chat_template --system_instruction "Put your final answer within \\boxed{}."

    Without --data-dir the data come from the hub when lm-eval runs. The other way round, a task of lm-eval runs here
    as --task lm_eval/NAME.
    """
    from harness.cli import tasks_command
    from harness.pipeline import options

    names = options.names(task, "--task") if task else ()
    tasks_command.export_lm_eval(folder, names, options.data_dirs(data_dir or []), n, max_new_tokens)


grade.register(app)
regress_command.register(app)
plan.register(app)
boards_command.register(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: returns the exit code. 2 for every error a user can cause, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from importlib.metadata import version

        print(f"rlfr-eval {version('rlfr-eval')}")
        return 0
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
