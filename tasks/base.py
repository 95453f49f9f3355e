"""What a task is: where its rows are, how a row becomes an Example, how well each category did.

A task file states facts (hub source, columns, licence, version), `parse(row)` and, where the benchmark has an answer
rule of its own, a module-level `official(answer, response)` that runs in the verifier's workers. Importing it does no
work and needs no network. Rows come from the hub through `datasets`, or from `--data-dir` in the benchmark's layout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import DataError, UnknownNameError, near
from harness.records import Example, ImageSlot, LazyImage, Message, Text
from harness.registry import Registry


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a split is on the hub. `revision` None: not known; it is resolved and recorded at the first download."""

    repository: str
    split: str
    config: str | None = None
    revision: str | None = None


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

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Rows of the split, from --data-dir or the hub."""
        if self.data_dir is not None:
            yield from read_jsonl(self.data_dir / self.files.get(self.split, f"{self.split}.jsonl"), self.name)
        else:
            yield from self._hub_rows()

    def load(self) -> list[Example]:
        """All examples of the split in file order; ids are unique. Rows without an id column are numbered from 0."""
        examples, seen = [], set()
        for number, row in enumerate(self.rows()):
            item = self.item_id(row, number)
            missing = [c for c in self.columns if c not in row]
            if missing:
                raise DataError(
                    f"{self.name} item {item} lacks column '{missing[0]}'", f"it has {', '.join(map(str, row))}"
                )
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
        """The row's picture: a decoded hub column, or a path relative to --data-dir."""
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            return LazyImage(f"{self.name}:{column}", lambda: decode_image(value))
        relative = value or row.get(path_column)
        path = (self.data_dir or Path()) / str(relative)
        return LazyImage(str(relative), lambda: open_image(path))

    def _hub_rows(self) -> Iterator[Mapping[str, Any]]:
        import datasets
        from huggingface_hub import errors as hub_errors

        if self.split not in self.hub:
            raise DataError(f"{self.name} is not on the hub", "give its folder with --data-dir")
        source = self.hub[self.split]
        try:
            data = datasets.load_dataset(source.repository, source.config, split=source.split, revision=source.revision)
        except (
            OSError,
            ValueError,
            ConnectionError,
            hub_errors.HfHubHTTPError,
            datasets.exceptions.DatasetsError,
        ) as error:
            raise DataError(
                f"{self.name}: cannot load {source.repository} from the hub ({type(error).__name__})",
                "give a local copy with --data-dir, or check the network",
            ) from error
        self.revision = _resolved_revision(data) or source.revision
        for name, feature in data.features.items():
            if type(feature).__name__ == "Image":
                data = data.cast_column(name, datasets.Image(decode=False))
        yield from data


def _resolved_revision(data: Any) -> str | None:
    """The commit that `datasets` downloaded, read from the addresses of its files (`...@commit/...`)."""
    for address in getattr(data.info, "download_checksums", None) or {}:
        if "@" in address:
            return str(address.split("@", 1)[1].split("/", 1)[0])
    return None


def read_jsonl(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a jsonl file. Raises DataError naming file and line."""
    if not path.is_file():
        raise DataError(f"{name}: no file {path}", "check --data-dir, or fetch the data first")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path} line {number} is not JSON ({error})", "mend or remove the line") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} is not a JSON object", 'write {"column": value, ...}')
            yield row


def open_image(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)


def decode_image(value: Any) -> Any:
    """A picture of a hub column: {"bytes", "path"} or an already decoded image."""
    import io

    from PIL import Image

    if isinstance(value, Mapping):
        return (
            Image.open(io.BytesIO(value["bytes"])) if value.get("bytes") is not None else Image.open(str(value["path"]))
        )
    return value


def user(text: str, images: int = 0) -> tuple[Message, ...]:
    """One user turn: the images, then the text."""
    return (Message("user", (*(ImageSlot(i) for i in range(images)), Text(text))),)


task: Registry[type[Task]] = Registry("task", "tasks", "rlfr_eval.tasks")
"""Registry of tasks: `@task.register("math500")`."""


def resolve(name: str, data_dir: Path | None = None) -> Task:
    """`mathvision` or `mathvision-testmini` as a Task. Raises UnknownNameError with near matches."""
    keys = task.keys()
    if name in keys:
        return task.get(name)(None, data_dir)
    owners: Sequence[str] = [k for k in keys if name.startswith(k + "-")]
    if owners:
        key = max(owners, key=len)
        return task.get(key)(name[len(key) + 1 :], data_dir)
    raise UnknownNameError(f"unknown task '{name}'", near(name, keys) + " (rlfr-eval list tasks)")
