"""`rlfr-eval list runs`: the run folders of a folder, each with its state, results and size. Reads no sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.cli.remove import size
from harness.core.errors import RlfrEvalError, RunError
from harness.core.files import read_json
from harness.core.runs import RESULTS, finished
from harness.core.terminal import stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One run folder. `state`: trained, training unfinished, not trained; `results`: a text per evaluation."""

    folder: Path
    model: str
    method: str
    seed: str
    state: str
    results: tuple[str, ...]
    megabytes: float


def listed(out: Path) -> list[Listed]:
    """The run folders below `out`, in path order. Raises RunError where there is no folder."""
    if not out.is_dir():
        raise RunError(f"no folder {out}", "give the folder of the runs with --out")
    return [_run(file.parent) for file in sorted(out.glob("*/*/*/*/config.yaml"))]


def _run(folder: Path) -> Listed:
    try:
        values: Any = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    except (OSError, yaml.YAMLError):
        values = {}
    values = values if isinstance(values, dict) else {}
    model = (values.get("model") or {}).get("path") or folder.parts[-4]
    return Listed(
        folder=folder,
        model=str(model),
        method=str(values.get("method") or folder.parts[-3]),
        seed=str(values.get("seed", "")),
        state=_state(folder),
        results=tuple(_result(f) for f in sorted((folder / "eval").glob("*")) if f.is_dir()),
        megabytes=size(folder) / 1e6,
    )


def _state(folder: Path) -> str:
    if not (folder / "train").is_dir() and folder.parent.name == "none":
        return "not trained"
    try:
        done = finished(folder / "train")
    except RlfrEvalError:
        return "manifest unreadable"
    return "trained" if done else "training unfinished"


def _result(folder: Path) -> str:
    name = folder.name.rpartition("-")[0]
    try:
        if finished(folder) is None:
            return f"{name} unfinished"
        value = read_json(folder / RESULTS)["metrics"]["accuracy"]["value"]
        return f"{name} {100 * value:.1f} %"
    except (RlfrEvalError, KeyError, TypeError):
        return f"{name} unreadable"


def main(out: Path, console: Console | None = None) -> None:
    """Print the runs. Raises RunError where there is no folder."""
    console = console or stdout()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("run", "state", "results", "MB"):
        table.add_column(column, overflow="fold", justify="right" if column == "MB" else "left")
    runs = listed(out)
    for run in runs:
        cells = [str(run.folder.relative_to(out)), run.state, ", ".join(run.results) or "-", f"{run.megabytes:.1f}"]
        table.add_row(*(escape(c) for c in cells))
    console.print(table if runs else f"no run below {out}")
