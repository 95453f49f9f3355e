"""Training and expert sets in the columns their sources publish, a jsonl file as a task, and fetched folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError, UnknownNameError
from harness.core.records import AnswerType, LazyImage
from tasks import base
from tasks.base import Hub
from tasks.resolve import resolve
from tasks.support import fetch, sources
from tasks.support.chats import lettered_or_typed, question_and_reply
from tests.tasks.conftest import Write, png


def _jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_math_levels_use_the_problem_not_the_baked_chat(tmp_path: Path, parquet: Write) -> None:
    row = {"input": "<|im_start|>system ...", "answer": "\\frac{1}{4}", "gt_answer": "\\frac{1}{4}", "subject": "Algebra",
           "level": 5, "question": "p", "problem": "p", "ground_truth_answer": "\\frac{1}{4}"}  # fmt: skip
    parquet(tmp_path / "train.parquet", [row])
    (example,) = resolve("math-lvl3to5-8k", tmp_path).load()
    assert (example.question, example.answer.golds, dict(example.metadata)) == (
        "p",
        ("\\frac{1}{4}",),
        {"level": 5, "subject": "Algebra"},
    )


CHAT = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "<image>\nq"},
    {"role": "assistant", "content": "so \\boxed{3}"},
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT},
        {"conversations": [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "so \\boxed{3}"}]},
        {"instruction": "q", "input": "", "output": "so \\boxed{3}"},
        {"message": json.dumps(CHAT)},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "image": "x.png"}, {"type": "text", "text": "q"}]},
                CHAT[2],
            ]
        },
    ],
)
def test_chat_layouts(row: dict[str, Any], tmp_path: Path) -> None:
    assert question_and_reply(row) == ("q", "so \\boxed{3}")
    _jsonl(tmp_path / "openr1_math_default.jsonl", row)
    (example,) = resolve("rlfr-dataset-lm-expert", tmp_path).load()
    assert (example.question, example.answer.golds, example.solution) == ("q", ("3",), "so \\boxed{3}")


def test_openr1_keeps_the_shortest_verified_complete_trace(tmp_path: Path) -> None:
    row = {"problem": "p", "answer": "3", "generations": ["a" * 9, "b" * 5, "c" * 7], "uuid": "u", "source": "s",
           "problem_type": "Algebra", "correctness_math_verify": [True, False, True],
           "is_reasoning_complete": [True, True, True]}  # fmt: skip
    rows = [row, {**row, "correctness_math_verify": [False, False, False]}, {**row, "is_reasoning_complete": [True, True, False]},
            {**row, "answer": ""}]  # fmt: skip
    _jsonl(tmp_path / "openr1-math.jsonl", *rows)
    examples = resolve("openr1-math", tmp_path).load()
    assert [e.solution for e in examples] == ["c" * 7, "a" * 9] and [e.id for e in examples] == ["0", "1"]
    _jsonl(tmp_path / "openr1-math.jsonl", {"problem": "p", "answer": "3"})
    with pytest.raises(DataError, match="lacks column 'generations'"):
        resolve("openr1-math", tmp_path).load()


def test_vlm_prompts_and_expert_replies(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_bytes(png()["bytes"])
    _jsonl(
        tmp_path / "mmeureka_prompt.jsonl",
        {"prompt": "<image>Pick.\nA. one\nB. two", "answer": "$B$", "images": ["pics/a.png", "pics/b.png"]},
        {"prompt": json.dumps(CHAT[:2]), "answer": "30°", "images": ["pics/a.png"]},
        {"prompt": "<image>Name point B.", "answer": "B", "images": ["pics/a.png"]},
    )
    _jsonl(tmp_path / "MMPRv1.1_Math.jsonl", {"messages": CHAT, "images": ["pics/a.png"]})
    picked, degrees, named = resolve("rlfr-dataset-vlm", tmp_path).load()
    assert (picked.answer.type, picked.answer.golds, len(picked.images)) == (AnswerType.CHOICE, ("B",), 1)
    assert picked.question == "Pick.\nA. one\nB. two" and degrees.question == "q"
    assert degrees.answer.golds == ("30^\\circ",) and named.answer.type is AnswerType.EXPRESSION
    (expert,) = resolve("rlfr-dataset-vlm-expert", tmp_path).load()
    assert expert.solution == "so \\boxed{3}" and expert.answer.golds == ("3",)
    assert expert.images[0].open("0").size == (40, 32)


@pytest.mark.parametrize(
    ("gold", "question", "kind", "text"),
    [
        ("$$6$$", "q", AnswerType.INTEGER, "6"), ("25°.", "q", AnswerType.EXPRESSION, "25^\\circ"),
        ("$$A$$", "A. x B. y", AnswerType.CHOICE, "A"), ("(C)", "(A) x (C) y", AnswerType.CHOICE, "C"),
        (">-2", "q", AnswerType.EXPRESSION, ">-2"), ("A", "Which point?", AnswerType.EXPRESSION, "A"),
    ],
)  # fmt: skip
def test_messy_school_golds(gold: str, question: str, kind: AnswerType, text: str) -> None:
    answer = lettered_or_typed(gold, question)
    assert (answer.type, answer.golds) == (kind, (text,))


def test_mmk12_and_geometry3k_columns(tmp_path: Path, parquet: Write) -> None:
    parquet(
        tmp_path / "k" / "test.parquet",
        [{"id": 7, "question": "<image>q", "answer": "$$6$$", "subject": "math", "image": png()}],
    )
    (school,) = resolve("mmk12", tmp_path / "k").load()
    assert (school.id, school.question, school.answer.golds) == ("7", "q", ("6",)) and school.images[0].open(
        "7"
    ).width == 40
    parquet(
        tmp_path / "g" / "test.parquet", [{"images": [png()], "problem": "<image>Find x.", "answer": "2\\sqrt{221}"}]
    )
    (plane,) = resolve("geometry3k", tmp_path / "g").load()
    assert plane.question == "Find x." and plane.images[0].open("0").width == 40


# --- a file as a task


def test_a_jsonl_file_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png()["bytes"])
    path = _jsonl(
        tmp_path / "mine.jsonl",
        {"id": "x", "question": "q", "answer": "B", "answer_type": "choice", "choices": ["1", "2"], "image": "a.png"},
        {"question": "q", "answer": ["1", "2"], "answer_type": "list", "category": "pairs"},
        {"question": "q", "answer": 0.5, "answer_type": "float", "precision": 1, "note": "odd"},
    )
    task = resolve(f"file:{path}")
    choice, several, decimal = task.load()
    assert (task.name, task.modality, choice.id, several.id) == ("file:mine.jsonl", "multimodal", "x", "1")
    assert choice.images[0].open("x").size == (40, 32) and choice.answer.choices == ("1", "2")
    assert several.answer.golds == ("1", "2") and several.metadata == {"category": "pairs"}
    assert decimal.answer.precision == 1 and decimal.note == "odd"


def test_the_answer_type_may_be_in_the_name(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "mine.jsonl", {"problem": "q", "answer": "025"})
    assert resolve(f"file:{path}:integer").load()[0].answer.type is AnswerType.INTEGER
    with pytest.raises(DataError, match=r"mine.jsonl item 0 declares no answer type.*file:mine.jsonl:TYPE"):
        resolve(f"file:{path}").load()
    with pytest.raises(UnknownNameError, match="did you mean 'integer'"):
        resolve(f"file:{path}:interger")
    with pytest.raises(DataError, match=r"no file .*nosuch.jsonl"):
        resolve(f"file:{tmp_path}/nosuch.jsonl")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "1"}, "item 0 has no question"),
        ({"question": "q"}, "item 0 has no answer"),
        ({"question": "q", "answer": ""}, "item 0 has no answer"),
        (
            {"question": "q", "answer": "two", "answer_type": "choice", "choices": ["1", "2"]},
            "is its letter, not 'two'",
        ),
    ],
)
def test_bad_rows_of_a_file_name_their_item(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "mine.jsonl", row)
    with pytest.raises(DataError, match=message):
        resolve(f"file:{path}:integer").load()


# --- fetch


def test_a_fetched_folder_reads_as_the_hub_does(
    tmp_path: Path, parquet: Write, quiet_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.geometry3k

    rows = [{"images": [png((i, 0, 0))], "problem": f"<image>{i}", "answer": str(i)} for i in range(3)]
    parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", rows)
    monkeypatch.setattr(tasks.geometry3k.Geometry3k, "hub", {"test": Hub(str(tmp_path / "repo"), "test")})
    task = resolve("geometry3k")
    files = fetch.fetch(task, tmp_path / "out")
    assert [f.name for f in files] == ["test-00000-of-00001.parquet", "source.json"]
    online, offline = task.load(), resolve("geometry3k", tmp_path / "out").load()
    assert online == offline
    assert [e.images[0].open(e.id).getpixel((0, 0)) for e in offline] == [(i, 0, 0) for i in range(3)]
    facts = json.loads(files[-1].read_text())["geometry3k-test"]
    assert (facts["items"], facts["revision"], facts["licence"]) == (3, None, "MIT")


def test_pictures_named_by_path_are_fetched_too(
    tmp_path: Path, quiet_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.rlfr_dataset_vlm

    repo = tmp_path / "repo"
    _jsonl(repo / "mmeureka_prompt.jsonl", {"prompt": "<image>q", "answer": "1", "images": ["pics/a.png"]})
    (repo / "pics").mkdir()
    (repo / "pics" / "a.png").write_bytes(png()["bytes"])
    hub = {"train": Hub(str(repo), "train", data_files="mmeureka_prompt.jsonl")}
    monkeypatch.setattr(tasks.rlfr_dataset_vlm.RlfrDatasetVlm, "hub", hub)
    for module in (fetch, base):
        monkeypatch.setattr(module, "hub_file", lambda source, file, revision, name: repo / file)
    online = resolve("rlfr-dataset-vlm").load()
    assert isinstance(online[0].images[0], LazyImage) and online[0].images[0].open("0").size == (40, 32)
    fetch.fetch(resolve("rlfr-dataset-vlm"), tmp_path / "out")
    monkeypatch.undo()
    (offline,) = resolve("rlfr-dataset-vlm", tmp_path / "out").load()
    assert offline.images[0].open("0").size == (40, 32)


def test_what_cannot_be_fetched_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="arithmetic-test is generated: nothing has to be fetched"):
        fetch.fetch(resolve("arithmetic"), tmp_path)
    assert sources.Hub("a/b", "test").archive is None
