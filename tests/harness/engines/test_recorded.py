"""Recorded responses: every line is read, and what cannot be read names its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.core.records import Finish, Prompt, Sampling
from harness.engines.base import Request, engine
from harness.engines.recorded import RecordedEngine, responses


def write(folder: Path, *rows: Any) -> Path:
    file = folder / "responses.jsonl"
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return file


def ask(item: str, n: int = 1) -> Request:
    prompt = Prompt(example_id=item, ids=(1,), engine_ids=(1,), text="x", template_hash="")
    return Request(prompt, Sampling(max_new_tokens=1, n=n))


def test_replays_by_item_and_sample(tmp_path: Path) -> None:
    file = write(
        tmp_path, {"id": 1, "response": "a"}, {"id": "2", "response": "b"}, "", {"id": "1", "response": "c", "more": 0}
    )
    made = engine.get("recorded")(file)  # type: ignore[call-arg]
    rollouts = list(made.generate([ask("2"), ask("1", n=2)]))
    assert [(r.prompt_id, r.sample_index, r.text) for r in rollouts] == [("2", 0, "b"), ("1", 0, "a"), ("1", 1, "c")]
    assert {r.finish for r in rollouts} == {Finish.RECORDED}
    assert made.describe() == RecordedEngine(file).describe()
    with pytest.raises(DataError, match="2 responses to item 1, 3 are asked"):
        list(made.generate([ask("1", n=3)]))


def test_own_column_comes_first_and_responses_are_text(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": "x", "pid": 7, "answer": None}, {"id": "8", "answer": 1.5})
    found = responses(file, ("pid",), "answer")
    assert {k: [r["answer"] for r in v] for k, v in found.items()} == {"7": [""], "8": ["1.5"]}
    assert found["7"][0]["id"] == "x"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"response": "a"}, "line 2 has no id: give it pid or id; it has response"),
        ({"id": True, "response": "a"}, "line 2: id is True"),
        ({"id": 1.5, "response": "a"}, "line 2: id is 1.5"),
        ({"id": "1", "reply": "a"}, "line 2 has no column 'response': name it with --response-field"),
        ({"id": "1", "response": ["a"]}, "line 2: response is a list"),
        ("{broken", "line 2 is not JSON"),
        ("[1]", "line 2 is no object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        responses(write(tmp_path, {"id": 0, "response": ""}, line), ("pid",))
    assert "\n" not in str(caught.value)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        responses(tmp_path / "nosuch.jsonl")
    with pytest.raises(DataError, match="holds no responses"):
        responses(write(tmp_path, ""))
    (tmp_path / "b.jsonl").write_bytes(b'{"id": 1, "response": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8"):
        responses(tmp_path / "b.jsonl")


def test_real_recordings_are_read_whole(shared_data: Path) -> None:
    found = responses(shared_data / "mathvision/recorded/qwen-vl-plus.jsonl")
    lines = (shared_data / "mathvision/recorded/qwen-vl-plus.jsonl").read_text("utf-8").splitlines()
    assert sum(map(len, found.values())) == len(lines)
    assert responses(shared_data / "mathvista/recorded/bard.jsonl", ("pid",))
