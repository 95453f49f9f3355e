"""Time and memory of a recipe's real architecture on this machine, with random weights and generated tasks; no download.

    python benchmarks/gpu_smoke.py --recipe qwen2.5-vl-3b [--method rlfr] [--steps 2] [--set model.lora.rank=16]...

Builds a policy with the recipe's architecture and as many tokens, then runs the main job on it: training on arithmetic or
charts with the recipe's own batch, group and lengths, vLLM where it is installed, then a short evaluation. Random weights
write no end token, so that every response has full length: the worst case of time and memory. Prints seconds by phase,
sampled tokens per second and the peak of memory, with the machine's name. `--recipe tiny-lm` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENS = 151_643
"""Ordinary tokens of Qwen2.5; its control tokens follow."""

TEXTS: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-Math-1.5B": {"hidden": 1536, "inner": 8960, "layers": 28, "heads": 12, "kv": 2, "rows": 151_936},
    "Qwen/Qwen2.5-Math-7B": {"hidden": 3584, "inner": 18_944, "layers": 28, "heads": 28, "kv": 4, "rows": 152_064},
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "hidden": 2048,
        "inner": 11_008,
        "layers": 36,
        "heads": 16,
        "kv": 2,
        "rows": 151_936,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "hidden": 3584,
        "inner": 18_944,
        "layers": 28,
        "heads": 28,
        "kv": 4,
        "rows": 152_064,
    },
}
"""Text trunks of the recipes' policies; the smaller of each kind ties its embeddings."""

TIED = ("Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-VL-3B-Instruct")

VISION: Mapping[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 112,
}


def tokenizer() -> Any:
    """Bytes, fillers up to Qwen's number of tokens, then its control tokens at their own ids."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    from harness.models import tiny

    vocabulary = {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary |= {f"w{number}": number for number in range(len(vocabulary), TOKENS)}
    vocabulary |= {token: TOKENS + number for number, token in enumerate(tiny.CONTROL_TOKENS)}
    made = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token=None,  # type: ignore[arg-type]
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    marks = [AddedToken(t, special=True, normalized=False) for t in tiny.CONTROL_TOKENS]
    made.add_special_tokens({"additional_special_tokens": marks})
    made.chat_template = tiny.CHAT_TEMPLATE
    return made


def configuration(name: str) -> Any:
    """The configuration of a policy by its hub name. Raises KeyError for one that is not in TEXTS."""
    from transformers import Qwen2_5_VLConfig, Qwen2Config

    from harness.models import tiny

    size, tied = TEXTS[name], name in TIED
    ends = {"bos_token_id": None, "eos_token_id": TOKENS + 2, "pad_token_id": TOKENS}
    text: dict[str, Any] = {
        "vocab_size": size["rows"],
        "hidden_size": size["hidden"],
        "intermediate_size": size["inner"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv"],
        "max_position_embeddings": 16_384,
        "tie_word_embeddings": tied,
        **ends,
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1_000_000.0}
    if "-VL-" not in name:
        return Qwen2Config(**text, rope_parameters=rope)
    place = {token: TOKENS + number for number, token in enumerate(tiny.CONTROL_TOKENS)}
    return Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": {**rope, "mrope_section": [16, 24, 24]}},
        vision_config={**VISION, "out_hidden_size": size["hidden"]},
        tie_word_embeddings=tied,
        image_token_id=place["<|image_pad|>"],
        video_token_id=place["<|video_pad|>"],
        vision_start_token_id=place["<|vision_start|>"],
        vision_end_token_id=place["<|vision_end|>"],
        **ends,
    )


def build(name: str, folder: Path) -> Path:
    """A policy of the architecture `name` with random weights in bfloat16, as an ordinary hub folder."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    from harness.models import tiny
    from harness.models.hub import model_class

    if name in tiny.NAMES:
        return tiny.build(name, folder / name)
    config, tokens = configuration(name), tokenizer()
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = model_class(config).from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=[TOKENS + 2, TOKENS], pad_token_id=TOKENS)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    if "-VL-" in name:
        processor: Any = Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(),
            tokenizer=tokens,
            video_processor=Qwen2VLVideoProcessor(),
            chat_template=tiny.CHAT_TEMPLATE,
        )
        processor.save_pretrained(folder)
    return folder


def machine() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"{platform.processor() or platform.machine()}, no GPU"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)} ({memory:.0f} GiB)"


def measured(run: Path) -> str:
    """The lines of one run's report, from what it logged."""
    steps = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text("utf-8").splitlines()]
    manifest = json.loads((run / "train" / "manifest.json").read_text("utf-8"))
    steady = steps[1:] or steps
    phases = sorted({key for step in steady for key in step if key.startswith("seconds/")})
    lines = [f"{key:<24}{statistics.mean(step.get(key, 0.0) for step in steady):8.2f}" for key in phases]
    sampled = [b["sampled_tokens"] - a["sampled_tokens"] for a, b in itertools.pairwise(steps)]
    sampled = sampled or [steps[0]["sampled_tokens"]]
    collect = [step["seconds/collect"] for step in steady]
    lines.append(f"{'sampled tokens a second':<24}{sum(sampled) / sum(collect):8.0f}")
    lines.append(f"{'engine mismatch (mean)':<24}{statistics.mean(s['engine_mismatch_mean'] for s in steady):8.2g}")
    peak = manifest.get("peak_bytes", manifest.get("facts", {}).get("peak_bytes", 0))
    lines.append(f"{'peak GiB (trainer)':<24}{peak / 2**30:8.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="qwen2.5-vl-3b")
    parser.add_argument("--method", default="rlfr")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    args = parser.parse_args()
    from harness.core import config
    from harness.pipeline import run
    from harness.pipeline.options import Budget, RunOptions

    recipe = config.load(args.recipe)
    task = "charts" if recipe.modality == "multimodal" else "arithmetic"
    given = [f"train.task={task}", "train.split=train", f"expert={{task: {task}, split: expert, limit: 128}}"]
    given += ["validation=null", "cold_start=null", "evaluation.max_new_tokens=256", *args.sets]
    with tempfile.TemporaryDirectory() as scratch:
        policy = build(recipe.model.path, Path(scratch) / "policy")
        options = RunOptions(
            tasks=(task,),
            methods=(args.method,),
            model=str(policy),
            recipe=args.recipe,
            budget=Budget(steps=args.steps),
            limit=64,
            engine=args.engine,
            sets=tuple(given),
            out=Path(scratch) / "runs",
        )
        (evaluation,) = run.run(options)
        print(f"{args.recipe}, {args.method}, {args.steps} steps, {machine()}, {' '.join(args.sets)}")
        print(measured(evaluation.parent.parent))


if __name__ == "__main__":
    main()
