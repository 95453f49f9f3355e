"""What must be equal for two rows to stand beside each other as equals: prompt, pictures, engine, precision.

In: results of evaluations. Out: the conditions of a row, and in words what differs between two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = "unknown"
_ENGINE = {"engine": "engine", "dtype": "precision", "quantization": "quantisation", "quantisation": "quantisation"}
_VERSIONS = ("device", "tensor_parallel", "torch", "transformers", "vllm", "context", "sha256", "server")


def get(values: Any, *path: str) -> Any:
    """A nested value, None where a part of the path is missing."""
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return None
        values = values[part]
    return values


def decoding(results: Mapping[str, Any]) -> dict[str, Any]:
    """How the samples were drawn, without the seed."""
    sampling = dict(get(results, "generation", "sampling") or {})
    sampling.pop("seed", None)
    return sampling


def conditions(results: Mapping[str, Any]) -> dict[str, str]:
    """What a row was made under, by name. Recorded responses were made under conditions that nobody wrote down."""
    generation = results.get("generation") or {}
    if "responses" in generation:
        return {"engine": "recorded elsewhere", "prompt": UNKNOWN, "precision": UNKNOWN}
    engine = generation.get("engine") or {}
    found = {"prompt": str(generation.get("prompt", UNKNOWN)), "engine": UNKNOWN, "precision": UNKNOWN}
    found |= {_ENGINE.get(k, k): str(v) for k, v in engine.items() if k not in _VERSIONS and v is not None}
    for name, value in (
        ("longest prompt", generation.get("max_prompt_tokens")),
        ("pixels", results.get("pixel_budget")),
    ):
        if value is not None:
            found[name] = _pixels(value) if isinstance(value, Mapping) else f"{value} tokens"
    return found


def _pixels(budget: Mapping[str, Any]) -> str:
    return f"{budget.get('min_pixels')} to {budget.get('max_pixels')}"


def versions(results: Mapping[str, Any]) -> dict[str, str]:
    """What may differ between rows that are compared, and is said: the machine's kind and the engine's releases."""
    engine = get(results, "generation", "engine") or {}
    return {k: str(engine[k]) for k in _VERSIONS[:5] if engine.get(k) is not None}


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """`precision bfloat16 instead of float32, prompt 3f2a instead of 91bc`; empty where nothing differs."""
    names = [k for k in dict.fromkeys([*ours, *theirs]) if ours.get(k) != theirs.get(k)]
    return ", ".join(f"{k} {_short(ours.get(k))} instead of {_short(theirs.get(k))}" for k in names)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}.."


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def mixed(values: Sequence[Mapping[str, str]]) -> list[str]:
    """Names whose values are not all equal, with the values."""
    names = list(dict.fromkeys(k for v in values for k in v))
    found = []
    for name in names:
        seen = list(dict.fromkeys(v.get(name, "none") for v in values))
        if len(seen) > 1:
            found.append(f"{name} {' / '.join(seen)}")
    return found
