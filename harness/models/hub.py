"""Where a policy is: a built-in name, a folder or a hub name in, its local folder and configuration out. Reads no weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import ModelError
from harness.models import tiny
from harness.models.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


ARCHITECTURES: Mapping[str, bool] = {"qwen2": False, "qwen3": False, "llama": False, "qwen2_5_vl": True}
"""Supported model types; the value says whether the type reads images."""


FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
"""What a policy consists of: anything else in its folder is neither downloaded nor part of its identity."""


def cache_dir() -> Path:
    """Where derived files are kept: $RLFR_EVAL_CACHE, else ~/.cache/rlfr-eval."""
    return Path(os.environ.get("RLFR_EVAL_CACHE") or Path.home() / ".cache" / "rlfr-eval")


def resolve(path: str | Path, revision: str | None = None, weights: bool = True) -> tuple[Path, str]:
    """The local folder of a policy and its origin (`repository@commit`, or "" for a folder).

    A hub name is downloaded, or found in the hub's cache; `weights` False fetches configuration only. Raises ModelError.
    """
    if str(path) in tiny.NAMES:
        return tiny.shipped(str(path)), ""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{path} holds no policy (no config.json, no adapter_config.json)", "give the folder that holds it"
            )
        return folder.resolve(), ""
    if folder.is_absolute() or str(path).startswith((".", "~")) or str(path).count("/") > 1:
        raise ModelError(f"no such policy folder: {path}", "check --model or --policy")
    return _from_hub(str(path), revision, weights)


def _from_hub(name: str, revision: str | None, weights: bool) -> tuple[Path, str]:
    from huggingface_hub import errors, snapshot_download

    known = f"built-in policies are {', '.join(tiny.NAMES)}"
    try:
        with quiet():
            found = Path(
                snapshot_download(name, revision=revision, allow_patterns=list(FILES) if weights else ["*.json"])
            )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        where = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"no policy '{name}'{where}, neither as a folder nor on the hub", f"check --model; {known}"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"policy '{name}' is no folder, and the hub cannot be reached",
            f"give a local copy with --model PATH; {known}",
        ) from error
    return found, f"{name}@{found.name}"


def adapter_base(folder: Path) -> tuple[str, str | None]:
    """Name and revision of the base model that an adapter folder was trained on."""
    settings = read_json(folder / "adapter_config.json")
    base = settings.get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{folder}/adapter_config.json names no base model", "set base_model_name_or_path in it")
    return str(base), settings.get("revision")


def base_folder(folder: Path, weights: bool = True) -> Path:
    """The folder itself, or that of an adapter's base model. Raises ModelError for an adapter of an adapter."""
    if not (folder / "adapter_config.json").is_file():
        return folder
    base, _ = resolve(*adapter_base(folder), weights=weights)
    if (base / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} is an adapter of {base}, an adapter itself", "merge that one into its base model first"
        )
    return base


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a supported architecture. Raises ModelError naming the file or the architecture."""
    from transformers import AutoConfig

    kind = read_json(folder / "config.json").get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelError(f"{folder}: architecture '{kind}' is not supported", f"supported: {', '.join(ARCHITECTURES)}")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder}/config.json cannot be used ({error})", "mend or fetch it again") from error


def read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {file} ({error})", "fetch the policy again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} holds no settings", "fetch the policy again")
    return values


def model_class(config: PreTrainedConfig) -> Any:
    """The transformers auto class for a supported configuration."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if ARCHITECTURES[config.model_type] else AutoModelForCausalLM


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
