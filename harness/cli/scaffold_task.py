"""`rlfr-eval new-task`: a name in; a task's module, rows, test and page out, which pass as they are."""

from __future__ import annotations

from pathlib import Path

from harness.cli.scaffold import checked, place

MODULE = '''"""{cls}: questions whose answer is a whole number.

Columns id, question, answer, topic. No rule of the authors: an answer is right when the strict rule says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Example
from tasks.base import Task, task, user
from tasks.support.golds import whole


@task.register("{key}")
class {cls}(Task):
    """One number for each question."""

    licence: ClassVar[str] = "unverified"
    files: ClassVar[Mapping[str, str]] = {{"test": "{module}.jsonl"}}
    columns: ClassVar[tuple[str, ...]] = ("question", "answer")
    categories: ClassVar[tuple[str, ...]] = ("topic",)

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        return Example(
            id=item,
            task=self.name,
            messages=user(row["question"]),
            answer=whole(row["answer"], f"{{self.name}} item {{item}}"),
            metadata={{"topic": row["topic"]}},
        )
'''

ROWS = """{{"id": "1", "question": "What is 17 + 25?", "answer": 42, "topic": "sums"}}
{{"id": "2", "question": "What is 6 times 7, minus 50?", "answer": -8, "topic": "products"}}
"""

TEST = '''"""{key}: rows are read as they should be, and the task proves itself."""

from __future__ import annotations

from pathlib import Path

from harness.core.registry import load_plugin
from rewards.verifier.pool import Verifier
from tasks.resolve import resolve
from tasks.support.proof import validate

FOLDER = Path(__file__).parent
FILE = FOLDER / "{module}.py"


def test_rows() -> None:
    load_plugin(FILE)
    examples = resolve("{key}", FOLDER).load()
    assert [e.id for e in examples] == ["1", "2"]
    assert [e.answer.golds for e in examples] == [("42",), ("-8",)]


def test_golds_are_right_and_nothing_else_is() -> None:
    load_plugin(FILE)
    found = resolve("{key}", FOLDER)
    with Verifier(plugins=[str(FILE)]) as verifier:
        report = validate(found, found.load(), verifier)
    assert report.ok, report.failures
'''

PAGE = """# {key}

Questions whose answer is a whole number (`{module}.py`).

## Source
Rows of `{module}.jsonl`, below `--data-dir`: `id`, `question`, `answer`, `topic`. Licence: unverified.

## Answer rule
The strict rule; the authors have none of their own.

## Metrics
Accuracy, also by `topic`.
"""


def write(name: str, folder: Path) -> list[Path]:
    """Four new files in `folder`: NAME.py, NAME.jsonl, test_NAME.py, NAME.md. Raises ConfigError for a name that cannot be a
    key or is taken, and before any existing file would be lost."""
    module = checked(name, "task", "tasks")
    files = {f"{module}.py": MODULE, f"{module}.jsonl": ROWS, f"test_{module}.py": TEST, f"{name}.md": PAGE}
    return place(name, folder, files)
