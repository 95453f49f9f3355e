"""What training writes: train/metrics.jsonl, train/samples.jsonl, train/rollouts/step-N.npz, TensorBoard.

Everything is flushed step by step; after a resume the lines of steps that will be repeated are dropped first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import JsonlWriter
from harness.core.records import Sample
from harness.rollout.loop import Graded
from harness.rollout.protocols import Tracks
from harness.rollout.samples import to_sample

if TYPE_CHECKING:
    import torch

    from rewards.method import Batch


class Journal:
    """Writer of one run's training log below `folder`; `tracker` gets the same numbers , `note`
    a short text for the progress bar."""

    def __init__(
        self,
        folder: Path,
        tracker: Tracks | None = None,
        rollouts: bool = True,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.tracker, self.rollouts, self.note = folder, tracker, rollouts, note
        (folder / "rollouts").mkdir(parents=True, exist_ok=True)
        self.metrics, self.samples = folder / "metrics.jsonl", folder / "samples.jsonl"

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, torn lines included."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                kept = [line for line in path.read_text("utf-8").split("\n") if _step_of(line) <= step]
                partial = path.with_suffix(".partial")
                partial.write_text("".join(line + "\n" for line in kept), "utf-8")
                partial.replace(path)
        for file in (self.folder / "rollouts").glob("step-*.npz"):
            if int(file.stem.split("-")[1]) > step:
                file.unlink()

    def step(self, metrics: Mapping[str, Any], batch: Batch, advantage: torch.Tensor, dropped: Sequence[str]) -> None:
        """Append one step. Rollouts first, metrics last: a line of metrics.jsonl means that the step is complete."""
        number = int(metrics["step"])
        with JsonlWriter(self.samples) as out:
            for row in range(len(batch.rollouts)):
                out.append(asdict(_sample(batch, row, number)))
        if self.rollouts:
            self._arrays(number, batch, advantage)
        with self.metrics.open("a", encoding="utf-8") as out:
            out.write(json.dumps({**metrics, "dropped": list(dropped)}) + "\n")
        if self.tracker is not None:
            self.tracker.log({k: v for k, v in metrics.items() if isinstance(v, int | float)}, step=number)
        if self.note is not None:
            held_out = metrics["validation_accuracy"]
            self.note(
                f"accuracy {metrics['accuracy']:.2f}" + ("" if held_out is None else f", held-out {held_out:.2f}")
            )

    def _arrays(self, number: int, batch: Batch, advantage: torch.Tensor) -> None:
        import numpy as np

        tensors = {
            name: getattr(batch, name)
            for name in ("ids", "mask", "engine_logp", "group", "outcome", "base_reward", "graded", "truncated")
        }
        tensors |= {f"signal/{k}": v.float() for k, v in batch.signals.items()}
        arrays = {k: v.cpu().numpy() for k, v in {**tensors, "advantage": advantage}.items()}
        target = self.folder / "rollouts" / f"step-{number:06d}.npz"
        partial = target.with_suffix(".partial")
        with partial.open("wb") as out:
            np.savez_compressed(out, keys=np.array(batch.keys()), **arrays)
        partial.replace(target)


class TensorBoard:
    """The numbers of every step as TensorBoard scalars in `folder`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def _sample(batch: Batch, row: int, step: int) -> Sample:
    """The line of a trained row, by the builder of evaluations."""
    verdict = batch.verdicts[row]
    graded = Graded(batch.examples[row], batch.rollouts[row], {verdict.protocol: verdict}, batch.prompts[row])
    return to_sample(graded, verdict.protocol, rewards=dict(batch.components[row]), step=step)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
