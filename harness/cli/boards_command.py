"""The verbs that read finished runs: `leaderboard`, `compare`, `show`, `view`, `detect`, `reproduce`, `replicate`, `rm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import DataDir, Plugins
from harness.core.errors import ConfigError

Runs = Annotated[Path, typer.Option("--out", help="Where run folders are; files are written there too.", metavar="DIR")]
Formats = Annotated[str, typer.Option(help="Files to write: md, csv, latex, json, html, png, svg.", metavar="F[,F]")]
Baseline = Annotated[str, typer.Option(help="Row that the others are compared with.", metavar="NAME")]
Tasks = Annotated[str, typer.Option("--task", help="Tasks to show; all when not given.", metavar="T[,T]")]
ModelPart = Annotated[
    str, typer.Option("--model", help="Only rows whose start policy has this in its name.", metavar="NAME")
]
PageSamples = Annotated[
    int, typer.Option("--samples", min=0, help="Most samples of one evaluation in the page.", metavar="N")
]
First = Annotated[Path, typer.Argument(help="A run, an evaluation or a scored folder.", metavar="A")]
Second = Annotated[Path, typer.Argument(help="Another one.", metavar="B")]
Run = Annotated[Path, typer.Argument(help="A run folder, an evaluation folder or the --out of score.", metavar="RUN")]
Folder = Annotated[Path, typer.Argument(help="A folder of runs, a run or an evaluation.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Limit = Annotated[int, typer.Option(min=1, help="How many samples.", metavar="N")]
Wrong = Annotated[bool, typer.Option("--wrong", help="Only samples that are not correct.")]
Id = Annotated[str | None, typer.Option("--id", help="Only samples of this item.", metavar="ID")]
Reason = Annotated[str | None, typer.Option(help="Only samples with this reason code.", metavar="CODE")]
Category = Annotated[str | None, typer.Option(help="Only samples of this category.", metavar="NAME=VALUE")]
Diff = Annotated[Path | None, typer.Option(help="Only samples whose verdict another run flips.", metavar="RUN2")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.", metavar="N")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Checkpoints = Annotated[bool, typer.Option("--checkpoints", help="Only the checkpoints of training.")]
Points = Annotated[
    float, typer.Option("--detect", min=0.01, max=100, help="A true difference, in points.", metavar="X")
]
Power = Annotated[float, typer.Option(min=0.5, max=0.999, help="Chance to find it at p < 0.05.", metavar="X")]
Paper = Annotated[str, typer.Argument(help="A paper's name, such as rlfr, or a YAML file.", metavar="PAPER")]
Reproduced = Annotated[Path, typer.Option("--out", help="Where the new runs go.", metavar="DIR")]
Studies = Annotated[str, typer.Option("--study", help="Only these of its studies.", metavar="NAME[,NAME]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and stop.")]


def leaderboard_(
    out: Runs = Path("runs"),
    format: Formats = "md,csv",
    baseline: Baseline = "base",
    task: Tasks = "",
    model: ModelPart = "",
    samples: PageSamples = 1000,
    data_dir: DataDir = None,
) -> None:
    """Tables from all finished runs of a folder, printed and written as leaderboard.md, .csv, .tex, .json, .png, .svg.

    \b
    rlfr-eval leaderboard --out runs --format md,csv,latex --baseline grpo
    rlfr-eval leaderboard --task math500,aime24 --model 7B --format html,png

    html writes a folder, leaderboard/index.html, that opens from disk: tables, curves, samples. --data-dir gives it the
    pictures of benchmarks.
    """
    from harness.pipeline import options
    from leaderboards import board

    choice = board.Choice(
        baseline=baseline,
        tasks=options.names(task, "--task") if task else (),
        model=model,
        samples=samples,
        data_dirs=options.data_dirs(data_dir or []),
    )
    board.main(out, options.names(format, "--format"), choice)


def compare_(a: First, b: Second, limit: Limit = 5, as_json: AsJson = False) -> None:
    """Two rows on every task both have: paired test, flips in both directions with samples, category, length, cost.

    \b
    rlfr-eval compare runs/tiny-lm/rlfr/arithmetic runs/tiny-lm/grpo/arithmetic

    A folder that holds several seeds of one method counts as that method; other folders are one run each.
    """
    from leaderboards import pairs

    pairs.main(a, b, limit, as_json)


ShowIdentity = Annotated[
    bool, typer.Option("--identity", help="Print what decides the numbers of the run and of its evaluations, as JSON.")
]


def show_(
    run: Run,
    wrong: Wrong = False,
    limit: Limit = 10,
    id: Id = None,
    reason: Reason = None,
    category: Category = None,
    diff: Diff = None,
    as_json: AsJson = False,
    identity: ShowIdentity = False,
) -> None:
    """Read samples in the terminal: question, response, extracted answer, gold, verdict and why.

    \b
    rlfr-eval show runs/tiny-lm/rlfr/arithmetic/s0-1a2b3c4d --wrong --limit 5
    rlfr-eval show RUN --category level=3 --reason mismatch
    rlfr-eval show RUN --diff RUN2
    rlfr-eval show RUN --identity
    """
    from harness.cli import show

    if identity:
        show.identity(run)
        return

    name, sign, value = (category or "").partition("=")
    if category is not None and not (sign and name):
        raise ConfigError(f"--category {category} names no value", "write --category level=3")
    wanted = show.Wanted(wrong=wrong, id=id, reason=reason, category=(name, value) if category else None, diff=diff)
    show.show(run, wanted, limit, as_json)


def view_(folder: Folder = Path("runs"), port: Port = 0, baseline: Baseline = "base", data_dir: DataDir = None) -> None:
    """The page of a folder on 127.0.0.1, with every sample, read as it is asked for. Ctrl-C ends it.

    \b
    rlfr-eval view runs
    rlfr-eval view runs/tiny-vl/rlfr/charts --port 8080
    """
    from harness.cli import view
    from harness.pipeline import options

    view.main(folder, port, baseline, options.data_dirs(data_dir or []))


def rm_(run: Run, yes: Yes = False, checkpoints: Checkpoints = False) -> None:
    """Delete a run, an evaluation or a scored folder, or only the checkpoints of a run. Asks first.

    \b
    rlfr-eval rm runs/tiny-lm/rlfr/arithmetic/s0-1a2b3c4d --checkpoints
    """
    from harness.cli import remove

    remove.main(run, yes, checkpoints)


def detect_(
    detect: Points,
    out: Runs = Path("runs"),
    power: Power = 0.8,
    baseline: Baseline = "base",
    task: Tasks = "",
    as_json: AsJson = False,
) -> None:
    """How many seeds and questions a difference needs, at the spread that the runs of a folder show.

    \b
    rlfr-eval detect --detect 1.0 --power 0.8 --out runs
    """
    from harness.cli import detect as verb
    from harness.pipeline import options

    verb.main(out, detect / 100, power, baseline, options.names(task, "--task") if task else (), as_json)


def reproduce_(
    row: Run,
    out: Reproduced = Path("reproduced"),
    data_dir: DataDir = None,
    plugin: Plugins = None,
    dry_run: DryRun = False,
) -> int:
    """Do a finished row again, from its own configuration, and say whether it agrees.

    \b
    rlfr-eval reproduce runs/tiny-lm/grpo/arithmetic/s0-1a2b3c4d

    Exit code 0: every response is equal, or no difference can be told; 1: it does not agree.
    """
    from harness.pipeline import options
    from leaderboards import rerun

    return rerun.main(row, out, options.data_dirs(data_dir or []), tuple(plugin or ()), dry_run)


def replicate_(
    paper: Paper,
    out: Runs = Path("runs"),
    study: Studies = "",
    data_dir: DataDir = None,
    dry_run: DryRun = False,
) -> None:
    """Run a paper's comparison and set ours beside its published figures. Finished runs are reused.

    \b
    rlfr-eval replicate rlfr --dry-run
    rlfr-eval replicate tiny --study language
    rlfr-eval replicate my-study.yaml
    """
    from harness.pipeline import options
    from leaderboards import studies

    names = options.names(study, "--study") if study else ()
    studies.main(paper, out, options.data_dirs(data_dir or []), names, dry_run)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("leaderboard", short_help="Tables and a page from all finished runs.")(leaderboard_)
    app.command("compare", short_help="Two rows, paired: what flips, where, at what cost.")(compare_)
    app.command("show", short_help="Read graded samples in the terminal.")(show_)
    app.command("view", short_help="The page of a folder on this machine.")(view_)
    app.command("detect", short_help="Seeds and questions that a difference needs.")(detect_)
    app.command("reproduce", short_help="Do a finished row again: does it agree?")(reproduce_)
    app.command("replicate", short_help="A paper's comparison, ours beside its figures.")(replicate_)
    app.command("rm", short_help="Delete a run, or its checkpoints.")(rm_)
