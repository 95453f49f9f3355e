"""How many files and functions of the project one evaluated example and one grpo step pass through.

    python benchmarks/hops.py [--list]

sys.setprofile counts every named Python function of the project that is entered, in this thread and those that it starts,
once each; the verifier's worker processes are not seen. The example is evaluated on tiny-lm with random weights into a
folder of its own, engine and verifier being open already; the step is the second of a run, from drawing its prompts to its
checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("harness", "tasks", "rewards", "trainers", "leaderboards")
SMALL = (
    "train.prompts_per_step=4",
    "train.group_size=4",
    "train.max_new_tokens=12",
    "train.steps=2",
    "train.checkpoint_every=2",
    "validation=null",
)

Hops = set[tuple[str, str]]


@contextmanager
def noting() -> Iterator[Hops]:
    """(file, function) of every project function that is entered inside."""
    found: Hops = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)) and not code.co_name.startswith("<"):
            place = Path(code.co_filename).relative_to(ROOT)
            if place.parts[0] in PARTS:
                found.add((str(place), code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def of_an_example(start: Path, folder: Path) -> Hops:
    """One item of arithmetic through evaluation."""
    from harness.core.config import load
    from harness.core.records import Sampling
    from harness.engines.transformers import TransformersEngine
    from harness.evaluation.evaluate import Experiment, evaluate
    from harness.models import loading
    from harness.pipeline import policies
    from harness.rollout.protocols import Tools
    from rewards.verifier.pool import Verifier
    from tasks.base import task

    renderer = policies.renderer(loading.load(start), load("tiny-lm"))
    engine = TransformersEngine.open(start)
    items = task.get("arithmetic")("test").load()[:2]
    with Verifier(workers=1) as verifier:
        tools = Tools(renderer, engine, verifier)

        def go(place: int) -> None:
            plan = Experiment(
                task="arithmetic-test",
                examples=items[place : place + 1],
                sampling=Sampling(max_new_tokens=8),
                protocol="official",
                max_prompt_tokens=512,
            )
            evaluate(plan, tools, folder=folder)

        go(0)  # what is done once a process is not counted
        with noting() as found:
            go(1)
        return found


def of_a_step(start: Path, folder: Path) -> Hops:
    """One step of grpo."""

    from harness.core.config import load
    from harness.engines.transformers import TransformersEngine
    from harness.models import loading
    from harness.pipeline import policies
    from harness.pipeline.journal import Journal
    from rewards.method import method
    from rewards.verifier.pool import Verifier
    from tasks.base import task
    from trainers.rl import Parts, Trainer

    recipe, made = load("tiny-lm", sets=list(SMALL)), method.get("grpo")()
    loaded = loading.load(start)
    renderer = policies.renderer(loaded, recipe, made)
    steps: list[Hops] = []
    with Verifier(workers=1) as verifier:
        trainer = Trainer(
            Parts(
                recipe=recipe,
                method=made,
                policy=policies.trainable(loaded, recipe.model, renderer.forbidden_ids),
                engine=TransformersEngine.open(start),
                renderer=renderer,
                verifier=verifier,
                examples=task.get("arithmetic")("train").load()[:16],
                expert=list,
                validate=None,
                journal=Journal(folder),
                folder=folder,
                cache=folder / "cache",
                seed=0,
                digest=loaded.digest,
                track=lambda items, *_: between(items, steps),
            )
        )
        trainer.train()
    return steps[-1]


def between(items: Iterable[Any], steps: list[Hops]) -> Iterator[Any]:
    """The items, with the functions entered between two of them."""
    for item in items:
        with noting() as found:
            yield item
        steps.append(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name every function")
    args = parser.parse_args()
    from harness.models import tiny

    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        start = tiny.build("tiny-lm", folder / "start")
        both: list[Hops] = []
        for name, work in (("one evaluated example", of_an_example), ("one grpo step", of_a_step)):
            found = work(start, folder / name.replace(" ", "-"))
            both.append(found)
            print(f"{name}: {len({file for file, _ in found})} files, {len(found)} functions")
            if args.list:
                print("\n".join(f"  {file} {function}" for file, function in sorted(found)))
        shared = both[0] & both[1]
        print(f"in both: {len({file for file, _ in shared})} files, {len(shared)} functions")


if __name__ == "__main__":
    main()
