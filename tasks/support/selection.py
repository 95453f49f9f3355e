"""Which items of a task are asked: --limit and --ids."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import DataError, near
from harness.core.records import Example


def select(examples: Sequence[Example], limit: int | None, ids: Sequence[str] | None, task: str) -> list[Example]:
    """The chosen items in the order of the task. Raises DataError for an id that the task does not have."""
    if ids is not None:
        known = {e.id for e in examples}
        for item in ids:
            if item not in known:
                raise DataError(f"--ids names item '{item}', which {task} does not have", near(item, known)[:200])
        wanted = set(ids)
        examples = [e for e in examples if e.id in wanted]
    return list(examples[:limit])
