"""Rollouts per second: the transformers engine against batched `model.generate`, paired in one run.

    python benchmarks/rollout.py [--rows 64] [--rounds 3] [--hidden 512] [--layers 8]

Both sides get the same weights, prompts and lengths. Response lengths are lognormal (mean 128, at most 384): each row ends
where its length says. In `model.generate` a stopping criterion ends a row as an end token would, so that it stops early when
all rows have ended; in the engine each row's `max_new_tokens` does the same. Prompts have 150 to 250 tokens and are sampled
in groups, as in training; `generate` gets them left-padded in one batch. Weights are random, so only time is compared here;
the tests show that the tokens are right.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from harness.core.records import Prompt, Sampling
from harness.engines.base import Request
from harness.engines.transformers import TransformersEngine
from harness.models import tiny
from harness.models.codec import Codec
from harness.models.loading import Loaded

VOCABULARY = 8192
PAD = 0


def policy(hidden: int, layers: int) -> Loaded:
    """A random Qwen2 of the size of the measurements in docs; ends are decided by the lengths, not by a token."""
    config = transformers.Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config).eval()
    ends = transformers.GenerationConfig(eos_token_id=VOCABULARY - 1, pad_token_id=PAD)
    return Loaded(model, tiny.tokenizer(), None, ends, "random", Path(), False)


def workload(rows: int, group: int, seed: int) -> tuple[list[Prompt], list[int]]:
    """Prompts (one per group) and a response length for every row."""
    generator = torch.Generator().manual_seed(seed)
    prompts = []
    for number in range(rows // group):
        length = int(torch.randint(150, 251, (1,), generator=generator))
        ids = tuple(torch.randint(1, VOCABULARY - 1, (length,), generator=generator).tolist())
        prompts.append(Prompt(example_id=str(number), ids=ids, engine_ids=ids, text="", template_hash=""))
    raw = torch.exp(torch.randn(rows, generator=generator) * 0.8)
    lengths = (raw / raw.mean() * 128).round().clamp(4, 384).long().tolist()
    return prompts, lengths


class Until(transformers.StoppingCriteria):
    """Row r ends after `lengths[r]` new tokens."""

    def __init__(self, prompt: int, lengths: list[int]) -> None:
        self.prompt, self.lengths = prompt, torch.tensor(lengths)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        return input_ids.shape[1] - self.prompt >= self.lengths


def with_generate(loaded: Loaded, prompts: list[Prompt], lengths: list[int], group: int, batch: int) -> float:
    """Seconds of batched `model.generate`: every sample a row, prompts left-padded, `batch` rows at a time."""
    rows = [prompt.ids for prompt in prompts for _ in range(group)]
    started = time.perf_counter()
    for first in range(0, len(rows), batch):
        part, ends = rows[first : first + batch], lengths[first : first + batch]
        width = max(map(len, part))
        ids = torch.tensor([[PAD] * (width - len(row)) + list(row) for row in part])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in part])
        generate: Any = loaded.model.generate
        out = generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max(ends),
            suppress_tokens=[VOCABULARY - 1],
            stopping_criteria=transformers.StoppingCriteriaList([Until(width, ends)]),
        )
        assert out.shape[1] == width + max(ends)
    return time.perf_counter() - started


def with_engine(loaded: Loaded, prompts: list[Prompt], lengths: list[int], group: int, batch: int) -> float:
    """Seconds of the engine for the same rows. Lengths differ within a group, so each row carries its own."""
    engine = _Timed(loaded, Codec(loaded.tokenizer, loaded.generation_config), batch=batch)
    engine.lengths = {(str(row // group), row % group): length for row, length in enumerate(lengths)}
    requests = [Request(prompt, Sampling(max_new_tokens=384, n=group)) for prompt in prompts]
    started = time.perf_counter()
    done = sum(len(rollout.token_ids) for rollout in engine.generate(requests))
    seconds = time.perf_counter() - started
    assert done == sum(lengths), "both sides must produce the same tokens"
    return seconds


class _Timed(TransformersEngine):
    """The engine with given lengths in the place of end tokens."""

    lengths: dict[tuple[str, int], int]

    def _finished(self, row: Any) -> bool:
        return row.generated >= self.lengths[row.request.prompt.example_id, row.sample_index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (
        ("rows", 64),
        ("group", 8),
        ("batch", 64),
        ("rounds", 3),
        ("hidden", 512),
        ("layers", 8),
        ("threads", 0),
    ):
        parser.add_argument(f"--{flag}", type=int, default=default)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    loaded = policy(args.hidden, args.layers)
    loaded.model.config.max_position_embeddings = 4096
    ratios, rates = [], []
    for number in range(args.rounds):
        prompts, lengths = workload(args.rows, args.group, seed=number)
        plain = with_generate(loaded, prompts, lengths, args.group, args.batch)
        ours = with_engine(loaded, prompts, lengths, args.group, args.batch)
        ratios.append(plain / ours)
        rates.append((sum(lengths) / plain, sum(lengths) / ours))
        print(
            f"round {number}: {sum(lengths)} tokens (mean {sum(lengths) / len(lengths):.0f}, max {max(lengths)}); "
            f"generate {plain:.1f} s, engine {ours:.1f} s, {ratios[-1]:.2f} times"
        )
    print(
        f"{args.rows} rows in groups of {args.group}, batch {args.batch}, hidden {args.hidden}, {args.layers} layers: "
        f"{statistics.median(r[0] for r in rates):.0f} -> {statistics.median(r[1] for r in rates):.0f} tokens/s, "
        f"median {statistics.median(ratios):.2f} times (torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()})"
    )


if __name__ == "__main__":
    main()
