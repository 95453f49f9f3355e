"""The `replicate` verb: a YAML that names runs and published figures in, the runs done, ours beside the published out.

Files are in harness/recipes/papers; a path to a file of one's own works too. Runs that are finished are reused, as always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ConfigDict, Field, ValidationError
from rich.console import Console
from rich.table import Table as RichTable

from harness.core.config import RECIPES, Section, load
from harness.core.errors import ConfigError, UnknownNameError, near
from harness.core.runs import read_evaluation
from harness.core.terminal import stdout
from leaderboards.formats import cells, terminal
from leaderboards.published import Published, published
from leaderboards.rows import Row
from leaderboards.table import Board, build

if TYPE_CHECKING:
    from harness.pipeline.options import RunOptions

PAPERS = RECIPES / "papers"


class Study(Section):
    """One table: methods by seeds under a recipe, evaluated on tasks. `model`: the policy's name in published.yaml;
    `paper`: the values of each method's paper are applied (such rows are not ranked); `sets`: settings as for --set."""

    name: str
    recipe: str
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = (0,)
    tasks: tuple[str, ...] = Field(min_length=1)
    model: str = ""
    paper: bool = False
    sets: tuple[str, ...] = ()

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Replication(Section):
    """A paper's studies."""

    title: str
    source: str
    studies: tuple[Study, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Our row and a published figure of the same task and method. `inside`: it lies in our interval."""

    row: Row
    task: str
    figure: Published

    @property
    def inside(self) -> bool:
        return self.row.low <= self.figure.score <= self.row.high


def papers() -> list[str]:
    """Names of the files that are shipped."""
    return sorted(f.stem for f in PAPERS.glob("*.yaml"))


def read(name: str) -> Replication:
    """A shipped file by its name, or a path. Raises UnknownNameError, or ConfigError naming the key that is wrong."""
    file = Path(name) if name.endswith((".yaml", ".yml")) else PAPERS / f"{name}.yaml"
    if not file.is_file():
        raise UnknownNameError(f"no paper '{name}'", near(name, papers()) + ", or give a file that ends in .yaml")
    try:
        found = Replication.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML ({' '.join(str(error).split())})", "mend the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}", "mend the file") from error
    return found


def main(
    name: str,
    out: Path,
    data_dirs: Mapping[str, Path],
    only: Sequence[str] = (),
    dry_run: bool = False,
    console: Console | None = None,
) -> None:
    """Print what would be run, or run it and print ours beside the published figures. Raises RlfrEvalError."""
    console = console or stdout()
    paper = read(name)
    for study in (wanted := chosen(paper, only)):
        plan(study, console)
    if dry_run:
        return
    from harness.pipeline import run

    folders = [folder for study in wanted for folder in run.run(options(study, out, data_dirs))]
    board = build([read_evaluation(folder) for folder in folders])
    terminal.show(board, console)
    show(beside(board, wanted), console)


def chosen(paper: Replication, only: Sequence[str]) -> list[Study]:
    """The studies named, or all."""
    known = {study.name: study for study in paper.studies}
    for name in only:
        if name not in known:
            raise UnknownNameError(f"no study '{name}'", near(name, known))
    return [known[name] for name in only] if only else list(known.values())


def options(study: Study, out: Path, data_dirs: Mapping[str, Path]) -> RunOptions:
    """The flags of the study's runs."""
    from harness.pipeline.options import RunOptions

    return RunOptions(
        tasks=study.tasks,
        methods=study.methods,
        recipe=study.recipe,
        seeds=study.seeds,
        data_dirs=data_dirs,
        sets=study.sets,
        paper=study.paper,
        out=out,
    )


def plan(study: Study, console: Console) -> None:
    """What a study runs, and the most it can sample; hours depend on the machine and are not guessed."""
    recipe = load(study.recipe, None, study.sets)
    train = recipe.train
    trained = [m for m in study.methods if m != "base"]
    runs = len(trained) * len(study.seeds)
    most = train.sampled_tokens or train.steps * train.prompts_per_step * train.group_size * train.max_new_tokens
    console.print(f"\n{study.name}: recipe {study.recipe}, {recipe.model.path}", style="bold", highlight=False)
    said = [
        f"trains {', '.join(trained) or 'nothing'} at seeds {', '.join(map(str, study.seeds))}: {runs} runs on {train.task}",
        f"each samples at most {cells.amount(float(most))} tokens in training ({cells.amount(float(most * runs))} in all)",
        f"evaluates on {', '.join(study.tasks)}",
        "hours are not estimated here: finish one run, its cost stands in the table",
    ]
    for method in study.methods:
        for seed in study.seeds if method != "base" else study.seeds[:1]:
            said.append(
                f"  rlfr-eval --task {','.join(study.tasks)} --method {method} --recipe {study.recipe} --seed {seed}"
            )
    for line in said:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def beside(board: Board, studies: Sequence[Study]) -> list[Beside]:
    """Our rows with the published figures of the same task and method, policy as the study names it."""
    found = []
    for table in board.tables:
        names = {s.model for s in studies if s.model and table.task in s.tasks}
        for figure in published(table.task):
            if figure.model in names and figure.method:
                found += [Beside(row=r, task=table.task, figure=figure) for r in table.rows if r.name == figure.method]
    return found


def show(found: Sequence[Beside], console: Console) -> None:
    """Ours beside the published, with our interval; a published figure has none, so nothing is tested."""
    if not found:
        console.print("\nno published figure stands beside these rows", style="dim", highlight=False)
        return
    table = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("task", "method", "ours [95 %]", "published", "in our interval", "its protocol", "source"):
        table.add_column(column, overflow="fold")
    for pair in found:
        words: list[Any] = [pair.task, pair.row.name, cells.accuracy(pair.row), cells.percent(pair.figure.score)]
        table.add_row(*words, "yes" if pair.inside else "no", pair.figure.protocol, pair.figure.source)
    console.print("\nours beside the published figures (other prompts, graders and seeds: no ranking)", highlight=False)
    console.print(table)
