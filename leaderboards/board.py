"""The `leaderboard` verb: a folder of runs in, tables in the terminal and as files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from harness.core.errors import RunError, UnknownNameError, near
from harness.core.files import write_text
from harness.core.runs import Finished, evaluations
from harness.core.terminal import stdout
from leaderboards import text
from leaderboards.table import Table, build


def _page(tables: Sequence[Table]) -> str:
    from leaderboards.html import page

    return page(tables)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"md": text.markdown, "csv": text.csv_text, "html": _page}


def main(out: Path, formats: Sequence[str], baseline: str = "base", console: Console | None = None) -> list[Path]:
    """Print the tables of all finished runs below `out` and write `out/leaderboard.<format>`; returns the files.

    Raises UnknownNameError (format, baseline) and RunError (no finished run).
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownNameError(f"unknown --format '{name}'", near(name, FORMATS))
    if not out.is_dir():
        raise RunError(f"no folder {out}", "give the folder of the runs with --out")
    found = evaluations(out)
    if not found:
        raise RunError(f"no finished evaluation below {out}", "run rlfr-eval --task T --method M first")
    console = console or stdout()
    tables = present(found, console, baseline)
    files = []
    for name in formats:
        file = out / f"leaderboard.{name}"
        write_text(file, FORMATS[name](tables))
        console.print(f"wrote {file}", highlight=False, soft_wrap=True)
        files.append(file)
    return files


def present(found: Sequence[Finished], console: Console, baseline: str = "base") -> list[Table]:
    """Print the tables of these evaluations and why any was refused. Raises UnknownNameError for an unknown baseline."""
    tables, refused = build(found, baseline)
    names = {row.name for table in tables for row in table.rows}
    if baseline != "base" and baseline not in names:
        raise UnknownNameError(f"no row is called '{baseline}'", near(baseline, names))
    text.show(tables, console)
    for reason in refused:
        console.print(reason, style="red", highlight=False, soft_wrap=True)
    return tables
