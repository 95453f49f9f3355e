"""The verbs about tasks: `validate` (a task proves itself), `fetch` (a split becomes a folder), `export-lm-eval`.

Options in, reports or file names out. Heavy work is imported only when it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.core.errors import DataError
from harness.core.registry import load_plugin
from harness.core.terminal import stdout

if TYPE_CHECKING:
    from tasks.base import Task
    from tasks.support.proof import Report

SHOWN = 10
"""Failures of a report that are printed; the rest is counted by kind."""


def validate(
    tasks: Sequence[str],
    data_dirs: Mapping[str, Path],
    plugins: Sequence[Path] = (),
    console: Console | None = None,
) -> int:
    """Prove each task on its whole split and print a report; 1 when a task fails, else 0. Raises RlfrEvalError."""
    for file in plugins:
        load_plugin(file)
    found = [_resolve(name, data_dirs) for name in tasks]
    from rewards.verifier.pool import Verifier
    from tasks.support.proof import validate as prove

    console = console or stdout()
    reports = []
    with Verifier(plugins=[str(p) for p in plugins]) as verifier:
        for item in found:
            examples = item.load()
            with Console(stderr=True).status(f"validate {item.name} ({len(examples)} items)"):
                reports.append(prove(item, examples, verifier))
            console.print("\n".join(lines(reports[-1])), highlight=False, markup=False, soft_wrap=True)
    return int(not all(r.ok for r in reports))


def lines(report: Report) -> list[str]:
    """A report as text: the outcome, what was graded, what the rules are known to get wrong, the failures."""
    missed = sum(f.kind == "gold" for f in report.failures)
    taken = len(report.failures) - missed
    said = [
        f"{report.task}: {'ok' if report.ok else 'FAILED'}",
        f"  {report.items} items; {report.golds} right answers, {report.answers} that are none; strict and official rule",
    ]
    if not report.golds:
        said.append("  no item has a gold, so nothing was proved")
    if report.ungradeable:
        said.append(f"  without a gold in the source, never graded: {_some(report.ungradeable)}")
    if report.refused:
        said.append(f"  right, yet refused by the authors' rule (known): {_some(report.refused)}")
    if report.guessed:
        said.append(f"  no answer, yet accepted by the authors' lenient rule: {_counts(report.guessed)}")
    if report.reasons:
        said.append(f"  wrong answers left ungraded, by reason: {_counts(report.reasons)}")
    if report.failures:
        kinds = Counter(f.kind for f in report.failures)
        said.append(f"  {missed} golds not graded CORRECT, {taken} other answers graded CORRECT: {_counts(kinds)}")
        said += [f"    {failure!s}" for failure in report.failures[:SHOWN]]
        if len(report.failures) > SHOWN:
            said.append(f"    and {len(report.failures) - SHOWN} more")
    return said


def _some(items: Sequence[str], limit: int = 8) -> str:
    unique = list(dict.fromkeys(items))
    return f"{len(unique)} ({', '.join(unique[:limit])}{', ..' if len(unique) > limit else ''})"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def fetch(task: str, to: Path, console: Console | None = None) -> None:
    """Write the task's split below `to` and print the files. Raises RlfrEvalError."""
    from tasks.resolve import resolve
    from tasks.support.fetch import fetch as write

    item = resolve(task)
    if to.exists() and not to.is_dir():
        raise DataError(f"--to {to} is a file", "give a folder")
    console = console or stdout()
    files = write(item, to)
    for file in files:
        console.print(str(file), highlight=False, markup=False, soft_wrap=True)
    console.print(f"read it with: --task {task} --data-dir {to}", highlight=False, markup=False, soft_wrap=True)


def export_lm_eval(
    folder: Path,
    names: Sequence[str],
    data_dirs: Mapping[str, Path],
    n: int,
    max_new_tokens: int,
    console: Console | None = None,
) -> None:
    """Write the tasks as tasks of lm-eval and print the files. Raises RlfrEvalError."""
    from tasks.adapters.lm_eval_export import export, exportable

    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", "give a folder")
    chosen = names or exportable()
    files = export(folder, chosen, {name: _folder(name, data_dirs) for name in chosen}, n, max_new_tokens)
    console = console or stdout()
    for file in files:
        console.print(str(file), highlight=False, markup=False, soft_wrap=True)
    line = f"use them with: lm_eval --include_path {folder} --tasks {files[-1].stem} --apply_chat_template ..."
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _resolve(name: str, data_dirs: Mapping[str, Path]) -> Task:
    from tasks.resolve import resolve

    return resolve(name, _folder(name, data_dirs))


def _folder(name: str, data_dirs: Mapping[str, Path]) -> Path | None:
    """The folder given for a task: by its full name, a leading part of it, or for every task."""
    parts = name.split("-")
    keys = ["-".join(parts[:k]) for k in range(len(parts), 0, -1)]
    return next((data_dirs[k] for k in (*keys, "") if k in data_dirs), None)
