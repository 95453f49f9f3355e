"""The `show` verb: a run, an evaluation or a scored folder in, graded samples in the terminal out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.core.errors import RunError
from harness.core.files import read_json, read_log
from harness.core.runs import RESULTS, SAMPLES
from harness.core.terminal import stdout

LONGEST = 4000
"""Characters of a response or question shown before its middle is left out."""
COLOURS = {"correct": "green", "incorrect": "red", "ungraded": "yellow"}


def show(run: Path, wrong: bool = False, limit: int = 10, console: Console | None = None) -> int:
    """Print up to `limit` samples of each evaluation of `run`, wrong or ungraded ones only with `wrong`; returns how many.

    An unfinished evaluation is shown as far as it is. Raises RunError where there are no samples.
    """
    console = console or stdout()
    shown = 0
    for log in logs(run):
        rows = [row for row in read_log(log) if not wrong or row["verdict"] != "correct"]
        _head(log, len(rows), wrong, console)
        for row in rows[:limit]:
            _sample(row, console)
        shown += min(limit, len(rows))
        if len(rows) > limit:
            console.print(f"{len(rows) - limit} more; --limit shows them", style="dim", highlight=False)
    return shown


def logs(run: Path) -> list[Path]:
    """The samples.jsonl files of a folder: its own, or those of its evaluations."""
    if not run.is_dir():
        raise RunError(f"no folder {run}", "give a run folder, an evaluation folder or the --out of score")
    own = run / SAMPLES
    found = [own] if own.is_file() else sorted(run.glob(f"eval/*/{SAMPLES}")) or sorted(run.glob(f"*/{SAMPLES}"))
    if not found:
        raise RunError(f"{run} holds no {SAMPLES}", "give a run folder, an evaluation folder or the --out of score")
    return found


def _head(log: Path, count: int, wrong: bool, console: Console) -> None:
    results = read_json(log.parent / RESULTS) if (log.parent / RESULTS).is_file() else None
    what = "samples that are not correct" if wrong else "samples"
    line = Text(f"{log.parent}", style="bold")
    if results is None:
        line.append("  unfinished", style="yellow")
    else:
        accuracy = results["metrics"]["accuracy"]
        low, high = accuracy["ci95"]
        line.append(
            f"  {results['protocol']}  {100 * accuracy['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", style=""
        )
        line.append(f"  n {accuracy['n']:,}  ungraded {accuracy['ungraded']:,}", style="")
    line.append(f"  {count:,} {what}", style="dim")
    console.print(line, soft_wrap=True)


def _sample(row: Mapping[str, Any], console: Console) -> None:
    colour = COLOURS[row["verdict"]]
    title = Text.assemble(f"{row['id']} #{row['sample_index']}  ", (f"{row['verdict']}: {row['reason']}", colour))
    console.print(Rule(title, align="left", style="dim"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _fields(row):
        grid.add_row(label, text)
    console.print(grid)


def _fields(row: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    """Labels and values; plain text, so that brackets in a response are not read as markup."""
    if row.get("question"):
        yield "question", Text(shortened(row["question"]))
    yield "response", Text(shortened(row["response"]) or "(empty)", style="" if row["response"] else "dim")
    answer = "(none)" if row["extracted"] is None else row["extracted"]
    yield "answer", Text.assemble((answer, COLOURS[row["verdict"]]), ("   gold  ", "dim"), row["gold"])
    others = [f"{p}: {v['status']} ({v['reason']})" for p, v in row.get("verdicts", {}).items() if p != row["protocol"]]
    facts = [*others, f"{row['tokens']} tokens" if row.get("tokens") else "", _ended(row), row.get("side") or ""]
    for name, value in row.get("categories", {}).items():
        values = value if isinstance(value, list) else [value]
        facts += [f"{name} {'/'.join(map(str, values))}"] if value not in (None, [], "") else []
    yield "facts", Text(", ".join(f for f in facts if f), style="dim")
    if row.get("note"):
        yield "note", Text(row["note"], style="yellow")


def _ended(row: Mapping[str, Any]) -> str:
    return {"length": "cut at the token limit", "prompt_too_long": "prompt too long"}.get(row.get("finish", ""), "")


def shortened(text: str) -> str:
    """The text, or its two ends where it is very long; the answer is at the end."""
    if len(text) <= LONGEST:
        return text.strip("\n")
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - LONGEST:,} characters ...]\n{text[-half:]}"
