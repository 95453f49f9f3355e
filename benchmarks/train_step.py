"""One training step here against TRL's GRPOTrainer: same policy, prompts and token counts, paired and alternating in one run.

    python benchmarks/train_step.py [--size small|full] [--modality text,multimodal] [--rows off,on,equal,whole] [--rounds 3]

Both sides compute GRPO (mean per rollout, one optimiser step per rollout batch) in float32 with AdamW and clipping; before
any timing, their gradients on the same rollouts must agree (relative L2 below 1e-5), and the run stops when they do not.

Rows: `off`: gradient checkpointing off on both sides; `on`: TRL as it comes, with checkpointing; `equal`: all responses of
one length, so that there is no padding to save; `whole`: generation with transformers and weight sync included. Multimodal
rows come with the tower frozen and trained. Fairness: on a CPU TRL sends prompt and padding through the output head too, on
CUDA only response tokens; here it is made to do the latter. It works through the batch eight rollouts at a time (its
default). In `whole`, each row ends where its length says, so that both sides make the same number of tokens.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from rollout_batch import FIRST_TOKEN, SIZES, VOCABULARY, Size, Work, make_model, make_work
from torch import Tensor

from harness.core.records import Sampling
from harness.engines.base import Request
from harness.engines.transformers import TransformersEngine
from harness.models import loading, tiny
from harness.models.codec import Codec
from rewards import losses
from trainers.batching import scatter
from trainers.policy import Policy

BOUND = 1e-5
"""Largest relative L2 distance of the two gradients."""

LR = 1e-6
PER_DEVICE = 8
"""Rollouts in one forward pass of TRL: its default."""


class Ours:
    """The packed policy with one forward for old log-probabilities and gradient, as the trainer does it."""

    def __init__(self, multimodal: bool, size: Size, train_tower: bool, folder: Path) -> None:
        self.policy = Policy(make_model(multimodal, size), tokenizer=None, freeze_vision=not train_tower)
        parameters = [p for _, p in self.policy.trainable()]
        self.optimiser = torch.optim.AdamW(parameters, lr=LR)
        self.engine: Timed | None = None
        self.multimodal, self.size, self.folder = multimodal, size, folder

    def gradient(self, work: Work) -> None:
        rollouts = len(work.lengths)
        for mb in self.policy.plan(work.items, 16_384):
            logp = scatter(self.policy(mb).logp, mb)
            mask = scatter(torch.ones_like(mb.targets, dtype=torch.bool), mb)
            advantage = work.advantage[torch.tensor(mb.rows)][:, None].expand_as(logp)
            values = losses.clipped_surrogate(logp, logp.detach(), advantage, 0.2, 0.2)
            losses.reduce_tokens(values, mask, "rollout", rollouts, float(sum(work.lengths))).backward()

    def step(self, work: Work) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        self.gradient(work)
        torch.nn.utils.clip_grad_norm_([p for _, p in self.policy.trainable()], 1.0)
        self.optimiser.step()

    def generate(self, work: Work) -> Work:
        """Weights into the engine, then a response of its length for every row."""
        if self.engine is None:
            kind = "tiny-vl" if self.multimodal else "tiny-lm"
            loaded = loading.load(tiny.build(kind, self.folder / kind))
            loaded = replace(loaded, model=make_model(self.multimodal, self.size).eval())
            self.engine = Timed(loaded, Codec(loaded.tokenizer, loaded.model.generation_config))
        self.engine.sync(self.policy.export(), self.engine.version + 1)
        places = {(i.prompt.example_id, k): row for i in work.items for k, row in enumerate(i.rows)}
        self.engine.lengths = {place: work.lengths[row] for place, row in places.items()}
        sampling = Sampling(max_new_tokens=self.size.longest, n=self.size.group)
        found: list[Sequence[int]] = [()] * len(work.lengths)
        for rollout in self.engine.generate([Request(i.prompt, sampling) for i in work.items]):
            found[places[rollout.prompt_id, rollout.sample_index]] = rollout.token_ids
        return work.with_responses(found)


class Timed(TransformersEngine):
    """The engine with given lengths in the place of end tokens."""

    lengths: dict[tuple[str, int], int]

    def _finished(self, row: Any) -> bool:
        return bool(row.generated >= self.lengths[row.request.prompt.example_id, row.sample_index])


class Until(transformers.StoppingCriteria):
    """Row r of `model.generate` ends after `lengths[r]` new tokens."""

    def __init__(self, prompt: int, lengths: Sequence[int]) -> None:
        self.prompt, self.lengths = prompt, torch.tensor(lengths)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        return input_ids.shape[1] - self.prompt >= self.lengths


class Theirs:
    """TRL's GRPOTrainer: its own batch layout, loss, training step and generation."""

    def __init__(self, multimodal: bool, size: Size, train_tower: bool, checkpointing: bool, folder: Path) -> None:
        import trl
        import trl.trainer.utils
        from datasets import Dataset

        make_trainer: Any = trl.GRPOTrainer
        trl.trainer.utils._use_triton = lambda device: True  # response tokens only, as on CUDA
        loaded = loading.load(tiny.build("tiny-vl" if multimodal else "tiny-lm", folder / f"trl-{multimodal}"))
        model = make_model(multimodal, size)
        if multimodal and not train_tower:
            model.model.visual.requires_grad_(False)
        settings: dict[str, Any] = {} if checkpointing else {"gradient_checkpointing": False}
        arguments = trl.GRPOConfig(
            output_dir=str(folder / "trl"), use_cpu=True, report_to="none", bf16=False, loss_type="grpo", beta=0.0,
            epsilon=0.2, per_device_train_batch_size=PER_DEVICE, num_generations=size.group,
            max_completion_length=size.longest, save_strategy="no", logging_strategy="no", disable_tqdm=True, **settings,
        )  # fmt: skip
        self.trainer = make_trainer(
            model=model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": ["unused"]}),
            processing_class=loaded.processor if multimodal else loaded.tokenizer,
        )
        self.parts = size.groups * size.group // PER_DEVICE
        self.trainer.current_gradient_accumulation_steps = self.parts
        self.trainer._prepare_inputs = lambda batch: batch
        if arguments.gradient_checkpointing:  # as Trainer.train does at its start
            self.trainer.model.gradient_checkpointing_enable(arguments.gradient_checkpointing_kwargs)
        self.parameters = [p for p in self.trainer.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=LR)

    def gradient(self, work: Work) -> None:
        for part in shares(padded(work), self.parts):
            self.trainer.training_step(self.trainer.model, part, None)

    def step(self, work: Work) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        self.gradient(work)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()

    def generate(self, work: Work) -> Work:
        """TRL's generation: every sample a row of `model.generate` with its own prompt and images."""
        rows = [item.prompt for item in work.items for _ in item.responses]
        fields: dict[str, Any] = {}
        if rows[0].patches is not None:
            fields = {k: v for k, v in padded(work).items() if k in ("pixel_values", "image_grid_thw")}
            fields["mm_token_type_ids"] = [list(p.mm_token_type_ids or ()) for p in rows]
        model = self.trainer.model
        generate = model.generate
        width = max(len(p.ids) for p in rows)

        def ending(**options: Any) -> Any:
            criteria = transformers.StoppingCriteriaList([Until(width, work.lengths)])
            options["generation_config"].suppress_tokens = [VOCABULARY - 1, *range(FIRST_TOKEN)]
            return generate(**options, stopping_criteria=criteria)

        model.generate = ending
        try:
            found, _ = self.trainer._generate_single_turn([list(p.ids) for p in rows], None, fields, 1)
        finally:
            model.generate = generate
        return work.with_responses([r[:n] for r, n in zip(found, work.lengths, strict=True)])


def padded(work: Work) -> dict[str, Any]:
    """TRL's batch: prompts padded in front, completions behind, images repeated for every rollout."""
    pairs = [(item.prompt, r) for item in work.items for r in item.responses]
    before, behind = max(len(p.ids) for p, _ in pairs), max(len(r) for _, r in pairs)
    front = [[0] * (before - len(p.ids)) for p, _ in pairs]
    back = [[0] * (behind - len(r)) for _, r in pairs]
    inputs: dict[str, Any] = {
        "prompt_ids": torch.tensor([f + list(p.ids) for f, (p, _) in zip(front, pairs, strict=True)]),
        "prompt_mask": torch.tensor([f + [1] * len(p.ids) for f, (p, _) in zip(front, pairs, strict=True)]),
        "completion_ids": torch.tensor([list(r) + b for b, (_, r) in zip(back, pairs, strict=True)]),
        "completion_mask": torch.tensor([[1] * len(r) + b for b, (_, r) in zip(back, pairs, strict=True)]),
        "advantages": work.advantage,
        "num_items_in_batch": torch.tensor(sum(work.lengths)),
    }
    seen = [p.patches for p, _ in pairs if p.patches is not None]
    if seen:
        kinds = [f + list(p.mm_token_type_ids or ()) + [0] * behind for f, (p, _) in zip(front, pairs, strict=True)]
        inputs |= {
            "pixel_values": torch.cat([torch.from_numpy(p.patches) for p in seen]),
            "image_grid_thw": torch.cat([torch.from_numpy(p.grid) for p in seen]),
            "num_images": [1] * len(seen),
            "mm_token_type_ids": torch.tensor(kinds),
        }
    return inputs


def shares(inputs: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """TRL's micro-batches: every tensor cut into `count` parts; all rollouts have images of one size."""
    cut = {k: v.chunk(count) if isinstance(v, Tensor) and v.dim() else [v] * count for k, v in inputs.items()}
    if "num_images" in inputs:
        cut["num_images"] = [n.tolist() for n in torch.tensor(inputs["num_images"]).chunk(count)]
    return [{k: v[part] for k, v in cut.items()} for part in range(count)]


def gradient_distance(ours: Ours, theirs: Theirs, work: Work) -> float:
    """Relative L2 distance over all parameters, by name."""
    ours.gradient(work)
    theirs.gradient(work)
    mine = {n.removeprefix("model."): p.grad for n, p in ours.policy.named_parameters() if p.grad is not None}
    other = {n: p.grad for n, p in theirs.trainer.model.named_parameters() if p.grad is not None}
    assert mine.keys() == other.keys(), "the two sides train different parameters"
    square = sum(float((mine[n].double() - other[n].double()).square().sum()) for n in mine)
    return float((square / sum(float(g.double().square().sum()) for g in other.values())) ** 0.5)


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of this process: with one thread the time on a quiet machine, whoever else is at work."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(multimodal: bool, row: str, train_tower: bool, size: Size, rounds: int) -> str:
    """One line of the table. Raises AssertionError when the gradients differ."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = Ours(multimodal, size, train_tower, folder)
        theirs = Theirs(multimodal, size, train_tower, row == "on", folder)
        distance = gradient_distance(ours, theirs, make_work(multimodal, size, row == "equal", 0))
        assert distance <= BOUND, f"gradients differ by {distance:.2g} (bound {BOUND})"
        seconds: dict[Any, list[float]] = {ours: [], theirs: []}
        for number in range(rounds):  # the gradients were the warm-up
            work = make_work(multimodal, size, row == "equal", number)
            for side in (ours, theirs) if number % 2 else (theirs, ours):
                whole = row == "whole"
                spent = timed(lambda s=side, w=work, g=whole: s.step(s.generate(w) if g else w))  # type: ignore[misc]
                seconds[side].append(spent)
        ratios = [t / o for o, t in zip(seconds[ours], seconds[theirs], strict=True)]
    tower = ("trained" if train_tower else "frozen") if multimodal else "-"
    shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    mine, other = (statistics.median(seconds[side]) for side in (ours, theirs))
    kind = "multimodal" if multimodal else "text"
    return f"| {kind} | {LABELS[row]} | {tower} | {other:.2f} | {mine:.2f} | {shown} | {distance:.1e} |"


LABELS = {
    "off": "optimisation, checkpointing off on both sides",
    "on": "optimisation, TRL as it comes (checkpointing on)",
    "equal": "optimisation, equal lengths",
    "whole": "whole step with transformers generation",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--modality", default="text,multimodal")
    parser.add_argument("--rows", default="off,on,equal,whole")
    parser.add_argument("--tower", default="frozen,trained")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", FutureWarning)
    transformers.logging.set_verbosity_error()
    size = SIZES[args.size]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl"))
    print(
        f"{size}\n{versions}; {platform.machine()}, {args.threads} thread(s), {args.rounds} round(s) after a warm-up\n"
    )
    print(
        "| policy | what | tower | TRL, CPU s | here, CPU s | TRL / here, median (range) | gradients, relative L2 |\n"
        + "|---" * 7
        + "|"
    )
    for kind in args.modality.split(","):
        for row in args.rows.split(","):
            towers = args.tower.split(",") if kind == "multimodal" else ["frozen"]
            for tower in towers:
                print(compare(kind == "multimodal", row, tower == "trained", size, args.rounds), flush=True)


if __name__ == "__main__":
    main()
