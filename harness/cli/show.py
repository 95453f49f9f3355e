"""The `show` verb: a run, an evaluation or a scored folder in, graded samples in the terminal out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.core.errors import RunError, attempt
from harness.core.files import read_json, read_log
from harness.core.runs import IDENTITY, RESULTS, SAMPLES
from harness.core.terminal import stdout

LONGEST = 4000
"""Characters of a response or question shown before its middle is left out."""
COLOURS = {"correct": "green", "incorrect": "red", "ungraded": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which samples are shown. `category`: name and value. `diff`: a run whose verdict on the sample is another one."""

    wrong: bool = False
    id: str | None = None
    reason: str | None = None
    category: tuple[str, str] | None = None
    diff: Path | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """By the sample alone; `diff` needs the other run."""
        if self.category is not None:
            value = (row.get("categories") or {}).get(self.category[0])
            if self.category[1] not in map(str, value if isinstance(value, list) else [value]):
                return False
        return (
            not (self.wrong and row["verdict"] == "correct")
            and self.id in (None, str(row["id"]))
            and self.reason in (None, row.get("reason"))
        )

    def words(self) -> str:
        """The choice in words, for the heading."""
        parts = ["samples"]
        parts += ["that are not correct"] if self.wrong else []
        parts += [f"of item {self.id}"] if self.id is not None else []
        parts += [f"with reason {self.reason}"] if self.reason is not None else []
        parts += [f"of {self.category[0]} {self.category[1]}"] if self.category else []
        parts += [f"that flip against {self.diff}"] if self.diff is not None else []
        return " ".join(parts)


Pairs = list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]
"""Samples, each with the other run's where one was given."""


def show(
    run: Path, wanted: Wanted | None = None, limit: int = 10, as_json: bool = False, console: Console | None = None
) -> int:
    """Print up to `limit` samples of each evaluation of `run`; returns how many.

    An unfinished evaluation is shown as far as it is. `as_json`: one JSON object a line (`sample`, and `other` with a
    second run). Raises RunError where there are no samples, or where a line is no sample of ours.
    """
    console, wanted = console or stdout(), wanted or Wanted()
    shown = 0
    for log in logs(run):
        found, error = attempt(_chosen, log, wanted)
        if error is not None:
            raise (
                error
                if isinstance(error, RunError)
                else RunError(
                    f"{log} holds a line that is no sample of ours ({error})", "show reads what run and score write"
                )
            )
        shown += min(limit, len(found))
        if as_json:
            for row, other in found[:limit]:
                print(json.dumps({"sample": row, **({"other": other} if wanted.diff else {})}, ensure_ascii=False))
            continue
        _head(log, len(found), wanted, console)
        for row, other in found[:limit]:
            _sample(row, console)
            if other is not None:
                _sample(other, console, "the other run: ")
        if len(found) > limit:
            console.print(f"{len(found) - limit} more; --limit shows them", style="dim", highlight=False)
    return shown


def _chosen(log: Path, wanted: Wanted) -> Pairs:
    rows = [row for row in read_log(log) if wanted.fits(row)]
    if wanted.diff is None:
        return [(row, None) for row in rows]
    task = rows[0]["task"] if rows else ""
    others: dict[tuple[str, int], Mapping[str, Any]] = {}
    for file in logs(wanted.diff):
        others |= {(str(r["id"]), r["sample_index"]): r for r in read_log(file) if r["task"] == task}
    if rows and not others:
        raise RunError(f"{wanted.diff} holds no sample of {task}", "give --diff a run that was evaluated on it")
    pairs: Pairs = [(row, others.get((str(row["id"]), row["sample_index"]))) for row in rows]
    return [(a, b) for a, b in pairs if b is not None and (a["verdict"] == "correct") != (b["verdict"] == "correct")]


def logs(run: Path) -> list[Path]:
    """The samples.jsonl files of a folder: its own (an evaluation, RUN/train), or those of a run's evaluations."""
    if not run.is_dir():
        raise RunError(f"no folder {run}", "give a run folder, an evaluation folder or the --out of score")
    own = run / SAMPLES
    found = [own] if own.is_file() else sorted(run.glob(f"eval/*/{SAMPLES}")) or sorted(run.glob(f"*/{SAMPLES}"))
    if not found:
        raise RunError(f"{run} holds no {SAMPLES}", "give a run folder, an evaluation folder or the --out of score")
    return found


def _head(log: Path, count: int, wanted: Wanted, console: Console) -> None:
    last = next(iter(deque(read_log(log), maxlen=1)), None)
    results = read_json(log.parent / RESULTS) if (log.parent / RESULTS).is_file() else None
    line = Text(f"{log.parent}", style="bold")
    if last is not None and last.get("step") is not None:
        line.append(f"  training, {last['step']:,} steps")
    elif results is None:
        line.append("  unfinished", style="yellow")
    else:
        accuracy = results["metrics"]["accuracy"]
        low, high = accuracy["ci95"]
        line.append(
            f"  {results['protocol']}  {100 * accuracy['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", style=""
        )
        line.append(f"  n {accuracy['n']:,}  ungraded {accuracy['ungraded']:,}", style="")
    line.append(f"  {count:,} {wanted.words()}", style="dim")
    console.print(line, soft_wrap=True)


def _sample(row: Mapping[str, Any], console: Console, whose: str = "") -> None:
    colour = COLOURS[row["verdict"]]
    step = f"step {row['step']}  " if row.get("step") is not None else ""
    title = Text.assemble(
        f"{whose}{step}{row['id']} #{row['sample_index']}  ", (f"{row['verdict']}: {row['reason']}", colour)
    )
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


def identity(run: Path) -> None:
    """Print the parts of a run's identity and of its evaluations' as one JSON object. Raises RunError without any."""
    parts = read_json(run / IDENTITY) if (run / IDENTITY).is_file() else None
    names = ("task", "task_version", "verifier", "protocol", "grading", "generation")
    found = {}
    for log in logs(run):
        if (log.parent / RESULTS).is_file():
            results = read_json(log.parent / RESULTS)
            found[log.parent.name] = {name: results[name] for name in names if name in results}
    if parts is None and not found:
        raise RunError(f"{run} says nothing of its identity", "give a run folder or an evaluation of it")
    print(json.dumps({"run": parts, "evaluations": found}, indent=2, ensure_ascii=False))
