"""Rows of the hub and of local folders: same items from every layout, pictures only when opened, errors that help."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.core.errors import DataError, ImageError, UnknownNameError
from harness.core.records import Answer, AnswerType, Example
from tasks.base import Hub, Task, fingerprint, user
from tasks.resolve import resolve
from tasks.support.sources import Cell, read_parquet
from tests.tasks.conftest import Write, png

ROWS = [
    {"problem": "What is $1+1$?", "solution": "It is \\boxed{2}.", "answer": "2", "subject": "Algebra", "level": 1,
     "unique_id": "test/algebra/1.json"},
    {"problem": "Name it.", "solution": "\\boxed{\\text{Evelyn}}", "answer": "\\text{Evelyn}", "subject": "Geometry",
     "level": 5, "unique_id": "test/geometry/2.json"},
]  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Pictures(Task):
    """A task with one picture and a list of pictures."""

    key = "pictures"
    modality = "multimodal"
    hub: ClassVar = {"test": Hub("local/pictures", "test", archive="images.zip")}
    columns = ("question", "answer")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        pictures = [self.image(row, "image", "path"), *(self.picture(c) for c in row.get("more") or ())]
        answer = Answer(type=AnswerType.INTEGER, golds=(str(row["answer"]),))
        return Example(id=item, task=self.name, messages=user(row["question"]), images=tuple(pictures), answer=answer)


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_jsonl_and_every_parquet_layout_give_the_same_items(tmp_path: Path, parquet: Write) -> None:
    _jsonl(tmp_path / "a" / "math500.jsonl", ROWS)
    parquet(tmp_path / "b" / "test.parquet", ROWS)
    parquet(tmp_path / "c" / "data" / "test-00000-of-00001.parquet", ROWS)
    loaded = [resolve("math500", tmp_path / d).load() for d in "abc"]
    assert loaded[0] == loaded[1] == loaded[2]
    assert [e.id for e in loaded[0]] == [r["unique_id"] for r in ROWS]
    assert loaded[0][1].answer.type is AnswerType.TEXT and loaded[0][0].metadata == {"level": 1, "subject": "Algebra"}


def test_shards_are_read_in_order(tmp_path: Path, parquet: Write) -> None:
    for number in (1, 0):
        parquet(tmp_path / f"test-{number:05d}-of-00002.parquet", [{**ROWS[0], "unique_id": str(number)}])
    assert [e.id for e in resolve("math500", tmp_path).load()] == ["0", "1"]


def test_from_the_hub_through_datasets(
    tmp_path: Path, parquet: Write, quiet_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets.load_dataset` on a folder in the hub's layout: real loading, no network."""
    import tasks.math500

    parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", ROWS)
    monkeypatch.setattr(tasks.math500.Math500, "hub", {"test": Hub(str(tmp_path / "repo"), "test")})
    task = resolve("math500")
    assert [e.answer.golds for e in task.load()] == [("2",), ("\\text{Evelyn}",)]
    assert task.revision is None


def test_offline_cache_is_used_and_tells_its_commit(
    tmp_path: Path, parquet: Write, quiet_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a download leaves behind (`<owner>___<name>/<config>/0.0.0/<commit>`) is enough without network."""
    import datasets

    source = parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", ROWS)
    datasets.load_dataset(str(source.parents[1]), split="test")
    arrow = next(quiet_cache.rglob("*.arrow"))
    target = quiet_cache / "HuggingFaceH4___math-500" / "default" / "0.0.0" / COMMIT
    target.mkdir(parents=True)
    shutil.copy(arrow, target / "math-500-test.arrow")
    info = json.loads((arrow.parent / "dataset_info.json").read_text())
    info |= {"config_name": "default", "dataset_name": "math-500"}
    info["splits"]["test"]["dataset_name"] = "math-500"
    (target / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    task = resolve("math500")
    assert [e.id for e in task.load()] == [r["unique_id"] for r in ROWS]
    assert task.revision == COMMIT

    other = {"test": Hub("HuggingFaceH4/MATH-500", "test", revision="f" * 40)}
    monkeypatch.setattr(type(task), "hub", other)
    with pytest.raises(DataError, match=r"the cache holds HuggingFaceH4/MATH-500 at 0123456789ab, wanted ffff"):
        resolve("math500").load()


def test_unreachable_hub_is_one_line_with_a_remedy(quiet_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"cannot load HuggingFaceH4/MATH-500 from the hub.*--data-dir"):
        resolve("math500").load()


def test_pictures_stay_in_their_table_until_opened(tmp_path: Path, parquet: Write) -> None:
    rows = [
        {"question": "q", "answer": 1, "image": png((255, 0, 0)), "more": [png((0, 255, 0)), png((0, 0, 255))]},
        {"question": "q", "answer": 2, "image": None, "more": []},
    ]
    path = parquet(tmp_path / "test.parquet", rows)
    assert isinstance(next(read_parquet(path, "x"))["image"], Cell)
    first, second = Pictures("test", tmp_path).load()
    colours = [image.open(first.id).getpixel((3, 3)) for image in first.images]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    with pytest.raises(ImageError, match=r"item 1: image \(not given\) is missing"):
        second.images[0].open(second.id)


def test_pictures_by_path_archive_or_not_at_all(tmp_path: Path) -> None:
    rows = [{"id": f"v{i}", "question": "q", "answer": 1, "path": f"images/{i}.png"} for i in range(3)]
    _jsonl(tmp_path / "test.jsonl", rows)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(png()["bytes"])
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("root/images/1.png", png((1, 2, 3))["bytes"])
    loose, zipped, missing = Pictures("test", tmp_path).load()
    assert loose.images[0].open(loose.id).size == (40, 32)
    assert zipped.images[0].open(zipped.id).getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(ImageError, match=r"item v2: image images/2.png is missing"):
        missing.images[0].open(missing.id)


def test_broken_and_transparent_pictures(tmp_path: Path, parquet: Write) -> None:
    rows = [
        {"question": "q", "answer": 1, "image": {"bytes": b"not a picture", "path": None}},
        {"question": "q", "answer": 1, "image": png((0, 0, 0, 0), mode="RGBA")},
    ]
    parquet(tmp_path / "test.parquet", rows)
    broken, clear = Pictures("test", tmp_path).load()
    with pytest.raises(ImageError, match=r"item 0: .* is broken"):
        broken.images[0].open(broken.id)
    assert clear.images[0].open(clear.id).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"problem": "x"}], "math500-test item 0 lacks column 'answer'.*it has problem"),
        ([ROWS[0], ROWS[0]], "two items with id test/algebra/1.json"),
        ([], "math500-test is empty"),
    ],
)
def test_bad_rows_name_their_item(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    _jsonl(tmp_path / "math500.jsonl", rows)
    with pytest.raises(DataError, match=message):
        resolve("math500", tmp_path).load()


def test_bad_files_name_themselves(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has none of math500.jsonl, test.parquet"):
        resolve("math500", tmp_path).load()
    (tmp_path / "math500.jsonl").write_text('{"problem": "a", "answer": "1"}\n{oops\n')
    with pytest.raises(DataError, match=r"math500.jsonl line 2 is not JSON"):
        resolve("math500", tmp_path).load()
    (tmp_path / "math500.jsonl").unlink()
    (tmp_path / "test.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"cannot read .*test.parquet"):
        resolve("math500", tmp_path).load()


def test_names_resolve_with_near_matches() -> None:
    assert resolve("math500").name == resolve("math500-test").name == "math500-test"
    with pytest.raises(UnknownNameError, match=r"did you mean 'math500'"):
        resolve("math50")
    with pytest.raises(UnknownNameError, match=r"no split 'tset'.*did you mean 'test'"):
        resolve("math500-tset")


def test_fingerprints_see_content_not_spacing() -> None:
    assert fingerprint("a  b\nc") == fingerprint("a b c") != fingerprint("a b d")


def test_math500_of_the_suite(shared: Path) -> None:
    examples = resolve("math500", shared / "math").load()
    assert len(examples) == 250 and [e.id for e in examples[:3]] == ["0", "1", "2"]
    golds = {e.answer.golds[0]: e.answer.type for e in examples}
    assert golds["B"] is AnswerType.CHOICE and golds["\\text{Evelyn}"] is AnswerType.TEXT
    assert golds["10080"] is AnswerType.INTEGER and golds["3, 5, 7"] is AnswerType.EXPRESSION
