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
from pathlib import Path
from typing import Any

from harness.models.shapes import TOKENS, configuration


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
