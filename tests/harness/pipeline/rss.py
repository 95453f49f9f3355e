"""Run by test_estimate in a process of its own: peak memory of real training steps, in bytes above what was there before.

python rss.py '{"checkpointing": true, ...}'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 12_000,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}


def configuration(**changed: Any) -> Any:
    import transformers as hf

    return hf.Qwen2Config(**{**SMALL, **changed})


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main(checkpointing: bool, prompt: int, responses: int, length: int) -> None:
    import torch

    torch.set_num_threads(1)
    small = configuration(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    train(small, checkpointing, 4, 1, 4)  # what the libraries load on the way
    before = resident("VmRSS")
    train(configuration(), checkpointing, prompt, responses, length)
    print(resident("VmHWM") - before)


def train(config: Any, checkpointing: bool, prompt: int, responses: int, length: int) -> None:
    """Two steps of two micro-batches each: the second runs while gradients are there."""
    import torch
    import transformers as hf

    from harness.core.records import Prompt
    from trainers.batching import Item
    from trainers.policy import Policy

    policy = Policy(hf.Qwen2ForCausalLM(config).eval(), tokenizer=None, gradient_checkpointing=checkpointing)
    optimiser = torch.optim.AdamW([p for _, p in policy.trainable()])
    ids = (1,) * prompt
    asked = Prompt(example_id="", ids=ids, engine_ids=ids, text="", template_hash="")
    item = Item(asked, ((1,) * length,) * responses, tuple(range(responses)))
    (mb,) = policy.plan([item], 10**6)
    policy.train()
    for _ in range(2):
        for _ in range(2):
            out = policy(mb)
            (out.logp.sum() + out.entropy.sum()).backward()
            del out
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
