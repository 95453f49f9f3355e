"""What a task is: where its rows are, how a row becomes an Example, how well each category did.

A task file states facts (hub source, columns, licence, version), `parse(row)` and, where the benchmark has an answer
rule of its own, a module-level `official(answer, response, extracted=None)` that runs in the verifier's workers. Importing
it does no work and needs no network. Rows come from the hub through `datasets`, or from `--data-dir` in the benchmark's
own layout or in the hub's columns (tasks/support/sources.py).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.core.errors import DataError, UnknownNameError, near
from harness.core.records import Example, ImageSlot, LazyImage, Message, Sample, Text
from harness.core.registry import Registry
from tasks.support.sources import (
    Hub,
    decode_image,
    hub_file,
    hub_tables,
    local_rows,
    open_image,
    read_jsonl,
    table_rows,
)

__all__ = ["Hub", "Task", "decode_image", "fingerprint", "open_image", "read_jsonl", "task", "user"]


class Task:
    """Base of tasks. One instance is one split of one benchmark; its name is `key-split`."""

    key: ClassVar[str]
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "language"
    licence: ClassVar[str] = "unverified"
    generated: ClassVar[bool] = False
    splits: ClassVar[tuple[str, ...]] = ("test",)
    """The first is the one that `--task KEY` evaluates."""
    hub: ClassVar[Mapping[str, Hub]] = {}
    files: ClassVar[Mapping[str, str]] = {}
    """split -> file name below --data-dir."""
    id_columns: ClassVar[tuple[str, ...]] = ("id",)
    columns: ClassVar[tuple[str, ...]] = ()
    """Columns without which a row cannot be read."""
    categories: ClassVar[tuple[str, ...]] = ()
    """Metadata keys by which results are broken down."""
    judge: ClassVar[str] = ""
    """What the authors use a judge model for; the official rule is then one without a judge ("" when it is theirs)."""
    lenient: ClassVar[str] = ""
    """How the benchmark's own rule can accept an answer that is none ("" when it cannot)."""
    refuses: ClassVar[tuple[str, ...]] = ()
    """Items whose right answer the benchmark's own rule refuses."""

    def __init__(self, split: str | None = None, data_dir: Path | None = None) -> None:
        if split is not None and split not in self.splits:
            raise UnknownNameError(f"task '{self.key}' has no split '{split}'", near(split, self.splits))
        self.split = split or self.splits[0]
        self.data_dir = Path(data_dir) if data_dir else None
        self.revision: str | None = self.hub[self.split].revision if self.split in self.hub else None

    @property
    def name(self) -> str:
        return f"{self.key}-{self.split}"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        """One row of the source as an Example with id `item`. Raises DataError naming the item."""
        raise NotImplementedError

    def right(self, example: Example) -> Sequence[str]:
        """Right responses for the self-proof: each gold in the form that the task's rules ask for."""
        from tasks.support.golds import marked

        return marked(example.answer)

    def aggregate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """The benchmark authors' own aggregate scores, by name, where plain accuracy is not what they report."""
        return {}

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Rows of the split, from --data-dir or the hub. The hub's commit becomes `self.revision`."""
        if self.data_dir is not None:
            yield from local_rows(self.data_dir, self.local_names(), self.name)
            return
        tables, self.revision = hub_tables(self._source(), self.name)
        for table in tables:
            yield from table_rows(table)

    def local_names(self) -> tuple[str, ...]:
        """Where the split may be below --data-dir: the benchmark's own file, what `fetch` writes, the hub's layout."""
        names = [self.files.get(self.split, f"{self.split}.jsonl")]
        for split in dict.fromkeys((self.split, self.hub[self.split].split if self.split in self.hub else self.split)):
            names += [f"{split}.parquet", f"{split}-*.parquet", f"data/{split}-*.parquet", f"*/{split}-*.parquet"]
        return tuple(dict.fromkeys(names))

    def load(self) -> list[Example]:
        """All examples of the split in file order; ids are unique. Rows without an id column are numbered from 0."""
        examples, seen = [], set()
        for number, row in enumerate(self.rows()):
            item = self.item_id(row, number)
            missing = [c for c in self.columns if c not in row]
            if missing:
                has = ", ".join(map(str, row))
                raise DataError(f"{self.name} item {item} lacks column '{missing[0]}'", f"it has {has}")
            if item in seen:
                raise DataError(f"{self.name} has two items with id {item}", "remove one of them")
            seen.add(item)
            examples.append(self.parse(row, item))
        if not examples:
            raise DataError(f"{self.name} is empty", "check --data-dir")
        return examples

    def item_id(self, row: Mapping[str, Any], number: int) -> str:
        for column in self.id_columns:
            if row.get(column) is not None:
                return str(row[column])
        return str(number)

    def image(self, row: Mapping[str, Any], column: str, path_column: str = "") -> LazyImage:
        """The row's picture: a decoded hub column, or a path below --data-dir (or in the archive of the hub)."""
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            return self.picture(value)
        return self.picture(value or row.get(path_column))

    def picture(self, value: Any) -> LazyImage:
        """A picture given by its cell or its path. Whether it exists is found when it is opened."""
        if value is not None and not isinstance(value, str):
            return LazyImage(f"of {self.name}", functools.partial(decode_image, value))
        return LazyImage(value or "(not given)", functools.partial(self._open, value or ""))

    def _open(self, relative: str) -> Any:
        if not relative:
            raise FileNotFoundError("no picture is given")
        archive = self.hub[self.split].archive if self.split in self.hub else None
        if self.data_dir is not None:
            path = self.data_dir / relative
            if archive is None or path.is_file():
                return open_image(path)
            return open_image(Path(relative), self.data_dir / archive)
        if archive is None:
            return open_image(hub_file(self._source(), relative, self.revision, self.name))
        return open_image(Path(relative), hub_file(self._source(), archive, self.revision, self.name))

    def _source(self) -> Hub:
        if self.split not in self.hub:
            raise DataError(f"{self.name} is not on the hub", "give its folder with --data-dir")
        return self.hub[self.split]


def fingerprint(text: str) -> str:
    """A short key of a question's content, for notes on items that have no id of their own."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def user(text: str, images: int = 0) -> tuple[Message, ...]:
    """One user turn: the images, then the text."""
    return (Message("user", (*(ImageSlot(i) for i in range(images)), Text(text))),)


task: Registry[type[Task]] = Registry("task", "tasks", "rlfr_eval.tasks")
"""Registry of tasks: `@task.register("math500")`."""
