"""From what --task says to a task: a benchmark, a jsonl file, a task of lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import UnknownNameError, near
from tasks.base import Task, task


def resolve(name: str, data_dir: Path | None = None) -> Task:
    """`mathvision` or `mathvision-testmini` as a Task; `file:PATH.jsonl` is a task without code, `lm_eval/NAME` one of lm-eval.

    Raises UnknownNameError with near matches.
    """
    if name.startswith("file:"):
        from tasks.adapters.jsonl import FileTask

        return FileTask(name)
    if name.startswith("lm_eval/"):
        from tasks.adapters.lm_eval_task import LmEvalTask

        return LmEvalTask(name, data_dir)
    keys = task.keys()
    if name in keys:
        return task.get(name)(None, data_dir)
    owners: Sequence[str] = [k for k in keys if name.startswith(k + "-")]
    if owners:
        key = max(owners, key=len)
        return task.get(key)(name[len(key) + 1 :], data_dir)
    raise UnknownNameError(f"unknown task '{name}'", near(name, keys) + " (rlfr-eval list tasks)")
