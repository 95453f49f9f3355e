"""Makes the built-in policies that the package ships: cold start, weights to float16, measurement, record.

`python -m harness.pipeline.ship [--to FOLDER] [NAME ...]` (`make tiny-policies`) trains each from random weights under its own
recipe, about a quarter of an hour of one core each, and writes `FOLDER/NAME/` and `FOLDER/made.yaml`. The weights are
rounded to float16 once, and only then measured: the float16 numbers are the policy, and reading them into float32 or
float64 changes none of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.core import config
from harness.core.config import Recipe
from harness.core.errors import TrainingError
from harness.core.files import write_text
from harness.core.progress import ProgressBars
from harness.core.records import Example, LazyImage
from harness.core.runs import read_evaluation
from harness.evaluation.evaluate import Experiment, decoding, evaluate
from harness.models import loading, tiny
from harness.pipeline import policies
from harness.rollout.protocols import Tools
from tasks.base import Task
from tasks.resolve import resolve

MAKE = "make tiny-policies"


def main(argv: Sequence[str] | None = None) -> None:
    """Make the named policies, all of them without a name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(tiny.NAMES), metavar="NAME")
    parser.add_argument("--to", type=Path, default=tiny.SHIPPED, metavar="FOLDER")
    given = parser.parse_args(argv)
    for name in given.names:
        print(yaml.safe_dump({name: ship(name, given.to)}, sort_keys=False), flush=True)


def ship(name: str, to: Path, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Train policy `name` from random weights and put it into `to`; returns its record. `sets` change its recipe."""
    recipe = config.load(name, sets=sets)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=to) as scratch:
        folder = Path(scratch) / name
        policies.cold_start(recipe, folder, ProgressBars())
        return pack(folder, recipe, to / name)


def pack(trained: Path, recipe: Recipe, target: Path) -> dict[str, Any]:
    """Round a trained policy to float16, measure it, put it in place and write its record beside it."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        half = Path(scratch) / "half"
        shutil.copytree(trained, half)
        halve(half)
        record: dict[str, Any] = {"made_by": MAKE, "cold_start": policies.cold_start_key(recipe), **_versions()}
        record |= {"measured": measure(half, recipe, Path(scratch) / "eval")}
        if target.exists():
            shutil.rmtree(target)
        half.rename(target)
    records = recorded(target.parent) | {target.name: record}
    write_text(target.parent / tiny.RECORD, config.to_yaml(dict(sorted(records.items()))))
    return record


def recorded(folder: Path) -> dict[str, Any]:
    """The records of the policies in `folder`, by name."""
    file = folder / tiny.RECORD
    return dict(yaml.safe_load(file.read_text("utf-8"))) if file.is_file() else {}


def _versions() -> dict[str, str]:
    """What decides how sums round: torch, and the processor's name and vector units."""
    import torch

    name = (
        torch.cpu.get_capabilities().get("cpu_name", "unknown") if hasattr(torch.cpu, "get_capabilities") else "unknown"
    )
    return {
        "torch": torch.__version__.partition("+")[0],
        "processor": f"{name}, {torch.backends.cpu.get_cpu_capability()}",
    }


def halve(folder: Path) -> None:
    """Round the weights of a policy folder to float16, in place. Raises TrainingError where one is too large for it."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {name: tensor.half().contiguous() for name, tensor in load_file(file).items()}
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"{name} of {folder} does not fit float16", "lower cold_start.lr")
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    for section in (settings, *(part for part in settings.values() if isinstance(part, dict))):
        if "dtype" in section:
            section["dtype"] = "float16"
    write_text(folder / "config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")


def measure(folder: Path, recipe: Recipe, scratch: Path) -> dict[str, Any]:
    """Accuracy on the test split of the cold start's task, greedy, and how the policy answers; shares in percent.

    `marked`: well-formed answers; `at_once`: answers without a step before them; `right_at_once`, `right_worked`: right
    ones among either kind of answers, sampled at temperature 1 twice; `blank`: accuracy with white pictures.
    """
    assert recipe.cold_start is not None
    task = resolve(recipe.cold_start.task)
    examples = task.load()
    greedy = _samples(folder, recipe, task, examples, scratch / "greedy", {})
    sampled = _samples(folder, recipe, task, examples, scratch / "sampled", {"n": 2, "temperature": 1.0})
    kinds = [[s for s in sampled if _at_once(s) == kind] for kind in (True, False)]
    found: dict[str, Any] = {
        "task": f"{task.name} v{task.version}",
        "n": len(examples),
        "accuracy": _right(greedy),
        "marked": _percent([s["rewards"]["format"] for s in greedy]),
        "at_once": _percent([_at_once(s) for s in greedy]),
        "sampled": {
            "accuracy": _right(sampled),
            "at_once": _percent([_at_once(s) for s in sampled]),
            "right_at_once": _right(kinds[0]),
            "right_worked": _right(kinds[1]),
        },
    }
    if task.modality == "multimodal":
        blank = [replace(e, images=tuple(_blank(e, image) for image in e.images)) for e in examples]
        found["blank"] = _right(_samples(folder, recipe, task, blank, scratch / "blank", {}))
    return found


def _samples(
    folder: Path, recipe: Recipe, task: Task, examples: list[Example], scratch: Path, drawn: dict[str, Any]
) -> list[dict[str, Any]]:
    from harness.engines.transformers import TransformersEngine
    from rewards.verifier.pool import Verifier

    loaded = loading.load(folder)
    experiment = Experiment(
        task=task.name,
        version=task.version,
        examples=examples,
        sampling=decoding(recipe.evaluation.model_copy(update=drawn)),
        protocol=recipe.evaluation.protocol,
        max_prompt_tokens=recipe.rendering.max_prompt_tokens,
        format_style=recipe.rewards.format_style,
    )
    with Verifier() as verifier:
        engine = TransformersEngine(loaded, batch=recipe.engine.batch)
        tools = Tools(policies.renderer(loaded, recipe), engine, verifier)
        results = evaluate(experiment, tools, folder=scratch)
    return list(read_evaluation(Path(results["folder"])).samples())


def _at_once(sample: dict[str, Any]) -> bool:
    return str(sample["response"]).lstrip().startswith("\\boxed")


def _right(samples: Sequence[dict[str, Any]]) -> float | None:
    return _percent([s["verdict"] == "correct" for s in samples])


def _percent(values: Sequence[float]) -> float | None:
    return round(100 * sum(values) / len(values), 1) if values else None


def _blank(example: Example, image: LazyImage) -> LazyImage:
    """A white picture of the same size."""
    from PIL import Image

    size = image.open(example.id).size
    return LazyImage(f"{image.name}:blank", lambda: Image.new("RGB", size, "white"))


if __name__ == "__main__":
    main()
