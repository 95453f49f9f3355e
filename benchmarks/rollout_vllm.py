"""What our engine costs on top of vLLM: `VLLMEngine.generate` against a bare `LLM.generate`, paired in one process.

    .venv-vllm/bin/python benchmarks/rollout_vllm.py [--rows 64] [--group 8] [--rounds 5] [--hidden 512] [--layers 8]

Both sides use the one vLLM instance, the same prompts in groups, the same lengths (lognormal over prompts, mean 64, at most
192 tokens) and log-probabilities of the sampled tokens; the prefix cache is emptied before every call and the order of the
two sides alternates. Ours masks forbidden ids (about 400, as a Qwen2.5 policy has), checks every prompt, streams samples and
decodes them; the bare call does none of the first three. Weights are random, so only time is compared. Times are processor
times of this process, which a busy machine disturbs less; wall times are printed beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROWS_BEHIND_TOKENIZER = 400


def policy(folder: Path, hidden: int, layers: int) -> Path:
    """A random Qwen2 with a byte-level tokenizer and as many unused rows as Qwen2.5 has."""
    import torch
    import transformers

    from harness.models import tiny

    tokens = tiny.tokenizer()
    config = transformers.Qwen2Config(
        vocab_size=len(tokens) + ROWS_BEHIND_TOKENIZER,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        tie_word_embeddings=True,
        eos_token_id=tokens.eos_token_id,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config)
    model.generation_config = transformers.GenerationConfig(eos_token_id=tokens.eos_token_id)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def workload(prompts: int, seed: int) -> list[tuple[tuple[int, ...], int]]:
    """Prompts of 150 to 250 tokens with the length of their answers."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    raw = torch.exp(torch.randn(prompts, generator=generator) * 0.6)
    lengths = (raw / raw.mean() * 64).round().clamp(4, 192).long().tolist()
    sizes = torch.randint(150, 251, (prompts,), generator=generator).tolist()
    return [
        (tuple(torch.randint(32, 127, (size,), generator=generator).tolist()), length)
        for size, length in zip(sizes, lengths, strict=True)
    ]


def ours(engine: Any, work: list[tuple[tuple[int, ...], int]], group: int) -> int:
    """Tokens that our engine gave."""
    from harness.core.records import Prompt, Sampling
    from harness.engines.base import Request

    requests = [
        Request(
            Prompt(example_id=str(number), ids=ids, engine_ids=ids, text="", template_hash=""),
            Sampling(max_new_tokens=length, n=group),
        )
        for number, (ids, length) in enumerate(work)
    ]
    return sum(len(rollout.token_ids) for rollout in engine.generate(requests))


def bare(engine: Any, work: list[tuple[tuple[int, ...], int]], group: int) -> int:
    """Tokens that the library's own call gave."""
    from vllm import SamplingParams

    settings = [SamplingParams(n=group, temperature=1.0, max_tokens=n, ignore_eos=True, logprobs=0) for _, n in work]
    prompts = [{"prompt_token_ids": list(ids)} for ids, _ in work]
    answers = engine._llm.generate(prompts, settings, use_tqdm=False)
    return sum(len(part.token_ids) for answer in answers for part in answer.outputs)


def timed(side: Callable[..., int], engine: Any, work: list[Any], group: int) -> tuple[float, float]:
    """Processor and wall seconds of one call, which must give every token that was asked for."""
    engine._llm.reset_prefix_cache()
    wall, processor = time.perf_counter(), time.process_time()
    tokens = side(engine, work, group)
    spent = time.process_time() - processor, time.perf_counter() - wall
    assert tokens == group * sum(length for _, length in work), "both sides must produce the same number of tokens"
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("rows", 64), ("group", 8), ("batch", 64), ("rounds", 5), ("hidden", 512), ("layers", 8)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    args = parser.parse_args()
    from harness.engines.vllm import VLLMEngine

    with tempfile.TemporaryDirectory() as folder:
        engine = VLLMEngine(policy(Path(folder), args.hidden, args.layers), batch=args.batch, context=512)
        vars(engine.codec)["end_ids"] = (engine.codec.rows - 1,)  # forbidden: lengths alone decide where an answer ends
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        for number in range(-1, args.rounds):
            work = workload(args.rows // args.group, seed=number + 1)
            sides = [("ours", ours), ("bare", bare)]
            for name, side in sides if number % 2 else reversed(sides):
                spent = timed(side, engine, work, args.group)
                if number >= 0:  # the first round warms up
                    found[name].append(spent)
        engine.close()
    for kind, place in (("processor", 0), ("wall", 1)):
        one, other = ([t[place] for t in found[name]] for name in ("ours", "bare"))
        ratios = [a / b for a, b in zip(one, other, strict=True)]
        print(
            f"{kind} seconds, {args.rows} rows in groups of {args.group}, hidden {args.hidden}, {args.layers} layers: "
            f"ours {statistics.median(one):.2f}, bare {statistics.median(other):.2f}; ours / bare in {args.rounds} "
            f"rounds: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
