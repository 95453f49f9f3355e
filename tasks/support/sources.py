"""Where a benchmark's rows come from: the hub through `datasets`, or jsonl and parquet files of a local folder.

Out: plain dictionaries in file order. Pictures stay in their table until they are opened: an image column's value is a
`Cell` (or a list of them), never decoded bytes, so that loading a benchmark does not load its pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import DataError, ImageError

if TYPE_CHECKING:
    import pyarrow

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a split is on the hub. `revision` None: not known; it is resolved and recorded at the first download.

    `config`: one configuration, or several that are read one after the other. `data_files`: a file of the repository
    where its splits are not declared. `archive`: a zip file of the repository that holds the pictures.
    """

    repository: str
    split: str
    config: str | tuple[str, ...] | None = None
    revision: str | None = None
    data_files: str | None = None
    archive: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of an Arrow table, read when it is opened. `place`: its position where the column holds lists."""

    table: pyarrow.Table
    column: str
    row: int
    place: int | None = None

    def value(self) -> Mapping[str, Any]:
        """`{"bytes", "path"}` as the table holds it."""
        scalar = self.table.column(self.column)[self.row]
        return (scalar if self.place is None else scalar.values[self.place]).as_py()


def _is_image(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def table_rows(table: pyarrow.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table, with a Cell for each picture and None where there is none."""
    import pyarrow.types as types

    single = [f.name for f in table.schema if _is_image(f.type)]
    lists = [
        f.name
        for f in table.schema
        if (types.is_list(f.type) or types.is_large_list(f.type)) and _is_image(f.type.value_type)
    ]
    plain = table.select([f.name for f in table.schema if f.name not in (*single, *lists)])
    number = 0
    for batch in plain.to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            for column in single:
                row[column] = Cell(table, column, number) if table.column(column)[number].is_valid else None
            for column in lists:
                row[column] = [Cell(table, column, number, i) for i in range(len(table.column(column)[number]))]
            yield row
            number += 1


def hub_tables(source: Hub, name: str) -> tuple[list[pyarrow.Table], str | None]:
    """The tables of a split and the commit they came from (None where the cache does not tell).

    Raises DataError when the hub cannot be reached and the cache lacks the data, or holds another revision than asked.
    """
    import datasets
    from huggingface_hub import errors as hub_errors

    tables, revision = [], source.revision
    for config in source.config if isinstance(source.config, tuple) else (source.config,):
        try:
            data = datasets.load_dataset(
                source.repository, config, split=source.split, revision=source.revision, data_files=source.data_files
            )
        except (OSError, ValueError, hub_errors.HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"{name}: cannot load {source.repository} from the hub ({type(error).__name__})",
                "give a local copy with --data-dir, or check the network",
            ) from error
        found = _commit(data)
        if source.revision and found and found != source.revision:
            raise DataError(
                f"{name}: the cache holds {source.repository} at {found[:12]}, wanted {source.revision[:12]}",
                "download it again with the network on",
            )
        revision = found or revision
        tables.append(data.data.table)
    return tables, revision


def _commit(data: Any) -> str | None:
    """The commit in the cache address of a downloaded split (`.../config/version/<commit>/file.arrow`)."""
    for file in data.cache_files:
        for part in reversed(Path(file["filename"]).parts):
            if re.fullmatch("[0-9a-f]{40}", part):
                return part
    return None


def hub_file(source: Hub, file: str, revision: str | None, name: str) -> Path:
    """A file of the repository, from the cache or downloaded. Raises DataError."""
    import huggingface_hub
    from huggingface_hub import errors as hub_errors

    try:
        return Path(huggingface_hub.hf_hub_download(source.repository, file, repo_type="dataset", revision=revision))
    except (OSError, ValueError, hub_errors.HfHubHTTPError) as error:
        raise DataError(
            f"{name}: cannot fetch {file} of {source.repository} ({type(error).__name__})",
            "give a local copy with --data-dir, or check the network",
        ) from error


def local_rows(folder: Path, candidates: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    """Rows of the first candidate (a file name or a glob) that the folder has. Raises DataError naming all of them."""
    tried = []
    for candidate in candidates:
        tried.append(candidate)
        files = sorted(folder.glob(candidate)) if "*" in candidate else [folder / candidate]
        if all(f.is_file() for f in files) and files:
            for file in files:
                yield from read_parquet(file, name) if file.suffix == ".parquet" else read_jsonl(file, name)
            return
    raise DataError(f"{name}: {folder} has none of {', '.join(tried)}", "check --data-dir, or fetch the data first")


def read_parquet(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file with the hub's own columns. Raises DataError naming the file."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{name}: cannot read {path} ({type(error).__name__})", "fetch it again") from error
    yield from table_rows(table)


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


def open_image(path: Path, archive: Path | None = None) -> Any:
    """The picture at `path`, or else at the same relative place inside `archive`. Raises FileNotFoundError."""
    import io
    import zipfile

    from PIL import Image

    if archive is None or not archive.is_file():
        return Image.open(path)
    with zipfile.ZipFile(archive) as members:
        wanted = path.as_posix().lstrip("./")
        found = [m for m in members.namelist() if m == wanted or m.endswith("/" + wanted) or wanted.endswith("/" + m)]
        if not found:
            raise FileNotFoundError(f"{wanted} is not in {archive.name}")
        return Image.open(io.BytesIO(members.read(found[0])))


def decode_image(value: Any) -> Any:
    """A picture of a table: a Cell, `{"bytes", "path"}`, raw bytes, or an already decoded image."""
    import io

    from PIL import Image

    if isinstance(value, Cell):
        value = value.value()
    if isinstance(value, Mapping):
        if value.get("bytes") is None and not value.get("path"):
            raise ImageError("the picture's cell is empty", "fetch the data again")
        return Image.open(str(value["path"]) if value.get("bytes") is None else io.BytesIO(value["bytes"]))
    return Image.open(io.BytesIO(value)) if isinstance(value, bytes) else value
