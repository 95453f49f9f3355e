"""`rlfr-eval new-method`: a name in; a method's module, its test and its page out, which pass as they are."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path

from harness.core.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

MODULE = '''"""GRPO with rewards raised by a small bonus for short right answers.

Paper: none. `R' = R + bonus * R * (1 - length / longest)`, length in tokens, longest = the recipe's limit. Change it into
your method: every hook that you leave out keeps its default (GRPO with the clipped surrogate).
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("{key}")
class {cls}(Method):
    """`bonus` 0 is grpo."""

    provenance: ClassVar[str] = "own"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {{"bonus": 0.0}})

    bonus: float = 0.1

    def reward(self, batch: Batch) -> Tensor:
        """[B]: the recipe's reward and the bonus. `batch.outcome` is never changed."""
        clean = super().reward(batch)
        share = batch.lengths.to(clean.dtype) / max(batch.max_new_tokens, 1)
        return clean + self.bonus * clean * (1.0 - share).clamp(min=0.0)
'''

TEST = '''"""{key}: the contract of every method, and its own formula by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from harness.core.registry import load_plugin
from leaderboards.regress import conformance
from leaderboards.regress.bench import Bench
from rewards.method import method

FILE = Path(__file__).parent / "{module}.py"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    load_plugin(FILE)
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("name", list(conformance.PROPERTIES))
def test_contract(bench: Bench, name: str) -> None:
    subject = bench.subject("{key}")
    swept = bench.sweep(subject.make(), bench.batch)
    outcome = conformance.check_one(name, subject, conformance.cases(swept))
    assert outcome.status != "fails", outcome.detail


def test_formula(bench: Bench) -> None:
    made, batch = method.get("{key}")(bonus=0.5), bench.batch
    found = made.reward(batch)
    length, longest = int(batch.mask[0].sum()), batch.max_new_tokens
    assert float(batch.outcome[0]) == 1.0
    assert float(found[0]) == pytest.approx(1.0 + 0.5 * max(0.0, 1.0 - length / longest))
    wrong = batch.outcome == 0
    assert bool((found[wrong] == 0).all())
'''

PAGE = """# {key}

GRPO with a small bonus for short right answers (`{module}.py`).

## Formula

    R' = R + bonus * R * (1 - length / longest)

`length` is in tokens, `longest` the recipe's limit.

## Needs
Nothing beyond old log-probabilities.

## Options
| option | default | what | source |
|---|---|---|---|
| `bonus` | `0.1` | largest bonus; 0 is grpo | own |

The others are grpo's.

## Provenance
own.

## Cost
That of grpo: no further forward pass.
"""


def write(name: str, folder: Path) -> list[Path]:
    """Three new files in `folder`: NAME.py, test_NAME.py, NAME.md. Raises ConfigError for a name that cannot be a key or is
    taken, and before any existing file would be lost."""
    module = checked(name, "method", "rewards/methods")
    return place(name, folder, {f"{module}.py": MODULE, f"test_{module}.py": TEST, f"{name}.md": PAGE})


def checked(name: str, kind: str, home: str) -> str:
    """The module's name for a key. Raises ConfigError for a name that cannot be a key of its kind or is taken."""
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        raise ConfigError(f"'{name}' cannot be a {kind}'s key", "small letters and digits, joined by '-': my-variant")
    if (Path(__file__).parents[2] / home / f"{module}.py").is_file():
        raise ConfigError(f"{kind} '{name}' exists already", "choose another name")
    return module


def place(name: str, folder: Path, files: Mapping[str, str]) -> list[Path]:
    """The templates as files of `folder`, the key and names made from it filled in. Nothing is overwritten."""
    taken = [n for n in files if (folder / n).exists()]
    if taken:
        raise ConfigError(f"{folder / taken[0]} exists already", "choose another name or --dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--dir {folder} cannot be made ({error.strerror})", "name a folder") from error
    cls = "".join(part.capitalize() for part in name.split("-"))
    for file, template in files.items():
        (folder / file).write_text(template.format(key=name, module=name.replace("-", "_"), cls=cls), "utf-8")
    return [folder / file for file in files]
