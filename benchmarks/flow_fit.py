"""Peak memory and time of the flow's offline fit at hidden size 2,048, random weights, on the CPU.

    python benchmarks/flow_fit.py --solutions 64 256 --tokens 512

Each number of solutions runs in a process of its own: trunk of 4 narrow layers, three of them captured, a field of the
given width. The peak must not grow with the number of solutions.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

HIDDEN = 2048


class Numbers:
    """A renderer of random token ids: prompts of 64, solutions of `tokens`."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def render(self, example: Any) -> Any:
        from harness.core.records import Prompt

        ids = tuple(2 + (int(example.id) + k) % 990 for k in range(64))
        return Prompt(example_id=example.id, ids=ids, engine_ids=ids, text="", template_hash="")

    def render_solution(self, example: Any) -> tuple[int, ...]:
        return tuple(2 + (int(example.id) * 7919 + k * k) % 990 for k in range(self.tokens))


def policy() -> Any:
    import torch
    import transformers as hf

    from trainers.policy import Policy

    config = hf.Qwen2Config(
        vocab_size=1000, hidden_size=HIDDEN, intermediate_size=512, num_hidden_layers=4, num_attention_heads=16,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return Policy(hf.Qwen2ForCausalLM(config).eval(), tokenizer=None)


def context(made: Any, tokens: int) -> Any:
    from pathlib import Path

    from trainers.context import TrainerContext

    def track(items: Any, *_: Any) -> Iterator[Any]:
        yield from items

    return TrainerContext(
        policy=made, renderer=Numbers(tokens), expert=list, cache=Path(), seed=0, digest="", total_steps=1,
        policy_steps=1, budget=4096, grad_clip=1.0, track=track,
    )  # type: ignore[arg-type]  # fmt: skip


def measure(solutions: int, tokens: int, width: int) -> dict[str, float]:
    """Peak memory (MiB) before and after the fit, its seconds and tokens."""
    import torch

    from harness.core.records import Answer, AnswerType, Example
    from rewards.flow import fit
    from rewards.flow.field import FieldConfig, VelocityField
    from rewards.method import Pass

    ctx = context(policy(), tokens)
    answer = Answer(type=AnswerType.INTEGER, golds=("1",))
    examples = [Example(id=str(n), task="numbers", messages=(), answer=answer, solution="-") for n in range(solutions)]
    layers = (0.25, 0.5, 0.75)
    net = VelocityField(FieldConfig(HIDDEN, width, 2), torch.Generator().manual_seed(0))
    before = _peak()
    started = time.perf_counter()
    around = fit.Around(lambda e: ctx.scan(e, Pass(name="old", hidden=layers)), ctx.step, ctx.track)
    report = fit.offline(net, examples, fit.Target(("previous",), layers), fit.Fit(epochs=1), around)
    seconds = time.perf_counter() - started
    return {"before": before, "peak": _peak(), "seconds": seconds, "tokens": report.tokens, "steps": report.steps}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solutions", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.tokens, args.width)))
        return
    print("solutions  tokens  steps  before MiB  peak MiB  seconds")
    for count in args.solutions:
        words = [sys.executable, __file__, "--one", count, "--tokens", args.tokens, "--width", args.width]
        found = json.loads(subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout)
        print(
            f"{count:9d}  {found['tokens']:6.0f}  {found['steps']:5.0f}  {found['before']:10.0f}  {found['peak']:8.0f}  "
            f"{found['seconds']:7.1f}"
        )


if __name__ == "__main__":
    main()
