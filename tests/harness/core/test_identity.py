"""What decides a number is part of an identity, and what decides none is not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.core import config, identity, runs
from harness.core.errors import RunError
from harness.core.identity import Identity
from harness.core.records import Example, ImageSlot, LazyImage, Message, Text
from harness.core.registry import load_plugin
from harness.models import loading
from tests.harness.evaluation.test_evaluate import go, items
from tests.harness.fakes import Slow, example

RECIPE = config.load("tiny-lm")


def run_identity(**changes: Any) -> Identity:
    from rewards.methods.grpo import Grpo

    values: dict[str, Any] = {
        "recipe": RECIPE,
        "engine": "transformers",
        "start": "sha256:0",
        "data": {"train": identity.of_data("toy-train", 1, items(3))},
        "method": identity.of_method("grpo", {"eps": 1e-6}, Grpo),
        "seed": 0,
    }
    return identity.of_run(**{**values, **changes})


# --- finding 16, 17: what changes no number ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "train.micro_batch_tokens=77",
        "train.checkpoint_every=3",
        "train.log_rollouts=false",
        "train.kl_every=0",
        "engine.batch=3",
        "engine.context=512",
        "model.path=./elsewhere/tiny-lm",
        "model.gradient_checkpointing=true",
        "evaluation.n=4",
        "name=another",
    ],
)
def test_settings_that_change_no_weight_leave_the_run_as_it_is(setting: str) -> None:
    assert run_identity(recipe=config.load("tiny-lm", sets=[setting])).key == run_identity().key


@pytest.mark.parametrize(
    "setting",
    ["train.steps=31", "train.mini_batches=2", "optimiser.lr=7e-4", "rendering.suffix=Answer.", "model.dtype=bfloat16"],
)
def test_settings_that_change_weights_change_the_run(setting: str) -> None:
    other = run_identity(recipe=config.load("tiny-lm", sets=[setting]))
    assert run_identity().differences(other.parts) == (f"recipe.{setting.partition('=')[0]}",)


def test_seed_engine_start_and_data_are_named_when_they_differ() -> None:
    one = run_identity()
    assert one.differences(run_identity(seed=1).parts) == ("seed",)
    assert one.differences(run_identity(engine="vllm").parts) == ("engine",)
    assert one.differences(run_identity(start="sha256:1").parts) == ("start",)
    assert one.differences(json.loads(json.dumps(one.parts))) == ()
    assert one.without("seed").key == run_identity(seed=1).without("seed").key


# --- finding 3: training data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, solution="worked out"),
        lambda e: replace(e, messages=(Message("user", (Text("another question"),)),)),
        lambda e: example(e.id, gold="9"),
    ],
)
def test_a_rewritten_training_row_is_another_run(change: Callable[[Example], Example]) -> None:
    rows = items(3)
    edited = [*rows[:2], change(rows[2])]
    train = identity.of_data("toy-train", 1, edited)
    assert run_identity().differences(run_identity(data={"train": train}).parts) == ("data.train.content",)
    other = identity.of_data("toy-train", 2, rows)
    assert run_identity().differences(run_identity(data={"train": other}).parts) == ("data.train.version",)


# --- finding 2: code ---------------------------------------------------------------------------------------------------


def _plugin(folder: Path, name: str, factor: str, helper: str = "SCALE = 1.0\n") -> type:
    sys.modules.pop(f"rlfr_plugin_{name}", None)
    from rewards.method import method

    (folder / f"{name}_helper.py").write_text(helper)
    (folder / f"{name}.py").write_text(
        "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).parent))\n"
        f"import {name}_helper\nfrom rewards.method import Method, method\n\n\n"
        f'@method.register("{name.replace("_", "-")}")\nclass Variant(Method):\n    """A variant."""\n\n'
        f"    def reward(self, batch):\n        return batch.base_reward * {factor} * {name}_helper.SCALE\n"
    )
    sys.modules.pop(f"{name}_helper", None)
    load_plugin(folder / f"{name}.py")
    return method.get(name.replace("_", "-"))


def test_edited_method_code_is_another_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    kind = _plugin(tmp_path, "identity_variant", "1.0")
    before = identity.class_source(kind)
    file = tmp_path / "identity_variant.py"
    file.write_text("# a remark\n\n" + file.read_text())
    assert identity.class_source(kind) == before, "comments and blank lines decide nothing"
    file.write_text(file.read_text().replace("* 1.0", "* 2.0"))
    edited = identity.class_source(kind)
    assert edited != before
    (tmp_path / "identity_variant_helper.py").write_text("SCALE = 3.0\n")
    assert identity.class_source(kind) not in (before, edited), "a module beside the plug-in counts too"


def test_comments_are_no_code_and_strings_are() -> None:
    assert identity.code_lines("a = 1  # why\n\n# more\nb = '# text'\n") == ["a = 1", "b = '# text'"]


def test_the_authors_aggregate_and_our_metrics_are_part_of_the_grading() -> None:
    from tasks.base import task

    plain, own = (identity.of_grading(items(2), task.get(key)().aggregate) for key in ("gsm8k", "mathverse"))
    assert plain == identity.of_grading(items(2)) and plain["metrics"]
    assert (
        own["aggregate"]
        and own["aggregate"] != identity.of_grading(items(2), task.get("wemath")().aggregate)["aggregate"]
    )


def test_the_code_that_decides_numbers_exists() -> None:
    for place in (*identity.ROLLOUT_CODE, *identity.VERDICT_CODE, *identity.METRICS_CODE, *identity.TRAINING_CODE):
        assert (identity.ROOT / place).exists(), place


# --- finding 4: pictures -----------------------------------------------------------------------------------------------


def _pictured(path: Path) -> list[Example]:
    turn = Message("user", (ImageSlot(0), Text("what is 0?")))
    image = LazyImage(str(path), lambda: Image.open(path))
    return [replace(example("0", gold="0"), messages=(turn,), images=(image,))]


def test_a_replaced_or_deleted_picture_is_another_evaluation(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (4, 4), "white").save(file)
    first = identity.asked_digest(_pictured(file))
    assert identity.asked_digest(_pictured(file)) == first
    Image.new("RGB", (4, 4), "black").save(file)
    second = identity.asked_digest(_pictured(file))
    file.unlink()
    assert len({first, second, identity.asked_digest(_pictured(file))}) == 3


def test_a_changed_gold_or_category_is_graded_again_without_a_new_token(tmp_path: Path) -> None:
    rows = items(4)
    go(rows, folder=tmp_path)
    engine = Slow()
    moved = [replace(e, metadata={"subject": "prime"}) for e in rows]
    found = go(moved, folder=tmp_path, engine=engine)
    assert engine.asked == [] and list(found["by_category"]["subject"]) == ["prime"]
    wrong = [example(e.id, gold="7", subject="odd") for e in rows]
    found = go(wrong, folder=tmp_path, engine=engine)
    assert engine.asked == [] and found["metrics"]["accuracy"]["value"] == 0.0


# --- finding 9, 14, 28: files ------------------------------------------------------------------------------------------


def test_an_edited_log_is_not_believed(tmp_path: Path) -> None:
    folder = Path(go(items(4), folder=tmp_path)["folder"])
    log = folder / "samples.jsonl"
    log.write_text(log.read_text().replace('"incorrect"', '"correct"').replace('"1"', '"2"'))
    with pytest.raises(RunError, match=r"samples\.jsonl was changed after it was finished"):
        runs.read_evaluation(folder)


def test_weights_replaced_in_place_have_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path / "cache"))
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "config.json").write_text("{}")
    weights = policy / "model.safetensors"
    weights.write_bytes(b"a" * 64)
    before, state = loading.digest(policy), weights.stat()
    weights.write_bytes(b"b" * 64)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert weights.stat().st_size == state.st_size and weights.stat().st_mtime_ns == state.st_mtime_ns
    assert loading.digest(policy) != before
