"""A split of the hub becomes a folder that a machine without network reads with `--data-dir`.

Written: `<split>-0000i-of-n.parquet` with the hub's own columns and pictures, the archive or the picture files that rows point
to, and `source.json` (repository, configuration, commit, licence, rows). The commit is the one that was read, never guessed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from harness.core.errors import DataError
from harness.core.records import Example
from tasks.base import Task
from tasks.support.sources import hub_file, hub_tables

RECORD = "source.json"


def fetch(task: Task, folder: Path) -> list[Path]:
    """Write the split of `task` below `folder` and return the files. Raises DataError (generated, no source, no network,
    a folder of another task)."""
    if task.generated:
        raise DataError(f"{task.name} is generated", "nothing has to be fetched")
    if task.split not in task.hub:
        raise DataError(f"{task.name} is not on the hub", f"get it from its authors (licence {task.licence})")
    import pyarrow.parquet

    record = folder / RECORD
    known: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    other = next((name for name in known if not name.startswith(task.key + "-")), None)
    if other is not None:
        raise DataError(f"{folder} holds {other}", f"give {task.key} a folder of its own")
    source = task.hub[task.split]
    tables, revision = hub_tables(source, task.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, table in enumerate(tables):
        path = folder / f"{task.split}-{number:05d}-of-{len(tables):05d}.parquet"
        pyarrow.parquet.write_table(table, path)
        written.append(path)
    if source.archive:
        written.append(
            Path(shutil.copy(hub_file(source, source.archive, revision, task.name), folder / source.archive))
        )
    local = type(task)(task.split, folder)
    examples = local.load()
    if not source.archive:
        written += _pictures(local, examples, folder, revision)
    facts: dict[str, Any] = {
        "task": task.name,
        "repository": source.repository,
        "config": source.config,
        "split": source.split,
        "revision": revision,
        "licence": task.licence,
        "items": len(examples),
    }
    record.write_text(json.dumps({**known, task.name: facts}, indent=1), "utf-8")
    return [*written, record]


def _pictures(task: Task, examples: list[Example], folder: Path, revision: str | None) -> list[Path]:
    """Picture files of the repository that rows name by path."""
    written = []
    for example in examples:
        for image in example.images:
            relative = getattr(image.load, "args", ("",))[0]
            target = folder / relative if isinstance(relative, str) and relative else None
            if target is None or target.is_file():
                continue
            if not target.resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"{task.name} item {example.id}: picture {relative} is outside the folder", "report the set"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            written.append(Path(shutil.copy(hub_file(task.hub[task.split], relative, revision, task.name), target)))
    return written
