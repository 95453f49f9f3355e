"""Token signals of training rollouts: what train/rollouts/step-N.npz logged, as one list of tokens with numbers each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import attempt
from harness.core.runs import CONFIG

STEPS, ROLLOUTS, TOKENS = 2, 24, 4000
"""Shown of a run: the first and the last logged steps, so many rollouts of each, so many tokens of each."""


def logged_steps(run: Path) -> list[Path]:
    """Files of logged rollouts, by step."""
    return sorted((run / "train" / "rollouts").glob("step-*.npz"))


def tokens(run: Path) -> dict[str, Any]:
    """`steps`: each with its number and rollouts (`id`, `outcome`, `tokens`, `signals` by name). `why`: where there are
    none, what is missing."""
    files = logged_steps(run)
    if not files:
        return {"steps": [], "why": "no rollouts were logged (train.log_rollouts)"}
    tokenizer, error = attempt(_tokenizer, run)
    if error is not None:
        return {"steps": [], "why": f"the run's tokenizer cannot be read ({error})"}
    chosen = files if len(files) <= STEPS else [files[0], files[-1]]
    method, _ = attempt(_method, run)  # a plug-in's is not at hand here: its signals are shown as they were logged
    return {"steps": [_step(file, tokenizer, method) for file in chosen], "why": ""}


def _method(run: Path) -> Any:
    """The run's method with its options."""
    import yaml

    from rewards.method import method

    values = yaml.safe_load((run / CONFIG).read_text("utf-8"))
    return method.get(values["method"])(**values.get("method_options", {}))


def _tokenizer(run: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(run / "policy", local_files_only=True)


def _step(file: Path, tokenizer: Any, method: Any) -> dict[str, Any]:
    import numpy as np

    arrays = np.load(file, allow_pickle=False)
    ids, mask = arrays["ids"], arrays["mask"].astype(bool)
    signals = {
        name.removeprefix("signal/"): arrays[name]
        for name in arrays.files
        if (name.startswith("signal/") or name in ("advantage", "engine_logp")) and arrays[name].shape == ids.shape
    }
    if method is not None:
        signals |= _derived(method, signals, mask)
    rows = range(min(len(ids), ROLLOUTS))
    keys = arrays["keys"] if "keys" in arrays.files else np.arange(len(ids))
    outcome = arrays["outcome"] if "outcome" in arrays.files else np.full(len(ids), np.nan)
    return {
        "step": int(file.stem.split("-")[1]),
        "of": len(ids),
        "rollouts": [_rollout(str(keys[r]), float(outcome[r]), ids[r], mask[r], signals, r, tokenizer) for r in rows],
    }


def _derived(method: Any, signals: Mapping[str, Any], mask: Any) -> dict[str, Any]:
    """What the method makes of its logged signals."""
    import torch

    tensors = {name: torch.from_numpy(values) for name, values in signals.items()}
    return {name: found.numpy() for name, found in method.derived(tensors, torch.from_numpy(mask)).items()}


def _rollout(
    key: str, outcome: float, ids: Any, mask: Any, signals: Mapping[str, Any], row: int, tokenizer: Any
) -> dict[str, Any]:
    places = mask.nonzero()[0][:TOKENS]
    return {
        "id": key,
        "outcome": None if outcome != outcome else outcome,
        "tokens": [tokenizer.decode([int(ids[p])]) for p in places],
        "signals": {
            name: [None if not abs(float(values[row][p])) < 1e30 else float(f"{values[row][p]:.4g}") for p in places]
            for name, values in signals.items()
        },
    }
