"""The `leaderboard` verb: a folder of runs in, tables in the terminal and as files out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from harness.core.errors import RunError, UnknownNameError, near
from harness.core.files import write_text
from harness.core.runs import Finished
from harness.core.terminal import stdout
from leaderboards import groups
from leaderboards.formats import data, latex, markdown, terminal
from leaderboards.table import Board, build

TEXTS: dict[str, tuple[str, Callable[[Board], str]]] = {
    "md": ("md", markdown.markdown),
    "csv": ("csv", data.csv_text),
    "latex": ("tex", latex.latex),
    "json": ("json", data.json_text),
}
FORMATS = (*TEXTS, "html", "png", "svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a leaderboard shows: the row that others are compared with, tasks and model (all when empty); for the page the
    most samples kept of one evaluation, and by task the folders that hold pictures of benchmarks."""

    baseline: str = "base"
    tasks: tuple[str, ...] = ()
    model: str = ""
    samples: int = 1000
    data_dirs: Mapping[str, Path] = field(default_factory=dict)


def main(out: Path, formats: Sequence[str], choice: Choice | None = None, console: Console | None = None) -> list[Path]:
    """Print the tables of all finished runs below `out` and write `out/leaderboard.<format>`; returns the files.

    Raises UnknownNameError (format, baseline, task) and RunError (no finished run).
    """
    choice = choice or Choice()
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError(f"unknown --format '{name}'", near(name, FORMATS))
    board = collect(out, choice)
    files = [_write(name, board, out, choice) for name in formats]
    console = console or stdout()
    terminal.show(board, console)
    for file in files:
        console.print(f"wrote {file}", highlight=False, soft_wrap=True)
    return files


def collect(out: Path, choice: Choice) -> Board:
    """The board of a folder. Raises RunError where there is nothing to show, UnknownNameError for an unknown baseline."""
    if not out.is_dir():
        raise RunError(f"no folder {out}", "give the folder of the runs with --out")
    found, refused = groups.find(out)
    if not found and not refused:
        raise RunError(f"no finished evaluation below {out}", "run rlfr-eval --task T --method M first")
    board = build(found, choice.baseline, refused, tasks=choice.tasks, model=choice.model)
    if not board.tables:
        tasks = sorted({str(e.results.get("task")) for e in found})
        if board.refused:
            raise RunError(f"no evaluation below {out} can be shown: {board.refused[0]}", "see the reason")
        raise UnknownNameError("no evaluation is of that --task and --model", f"there are {', '.join(tasks)}")
    return _known(board, choice.baseline)


def _known(board: Board, baseline: str) -> Board:
    if baseline != "base" and baseline not in board.names:
        raise UnknownNameError(f"no row is called '{baseline}'", near(baseline, board.names))
    return board


def _write(name: str, board: Board, out: Path, choice: Choice) -> Path:
    if name in TEXTS:
        ending, text = TEXTS[name]
        write_text(out / f"leaderboard.{ending}", text(board))
        return out / f"leaderboard.{ending}"
    if name == "html":
        from leaderboards.page.build import write

        return write(board, out / "leaderboard", choice.samples, choice.data_dirs)
    from leaderboards.formats.plots import plot

    plot(board, out / f"leaderboard.{name}")
    return out / f"leaderboard.{name}"


def present(found: Sequence[Finished], console: Console, baseline: str = "base") -> Board:
    """Print the tables of these evaluations and why any was left out. Raises UnknownNameError for an unknown baseline."""
    board = _known(build(found, baseline), baseline)
    terminal.show(board, console)
    return board
