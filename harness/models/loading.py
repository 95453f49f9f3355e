"""Policies: from a hub name, a folder or an adapter folder to a model that is exactly what its files say.

`load` is strict: a tensor that is missing, unexpected or of another shape stops the work. `digest` identifies a policy
by content. `preflight` reads a configuration only and refuses what the machine cannot hold, before any weight is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import ModelError
from harness.models.hub import (
    ARCHITECTURES,
    FILES,
    adapter_base,
    base_folder,
    cache_dir,
    first_line,
    model_class,
    read_config,
    read_json,
    resolve,
)
from harness.models.quiet import quiet

if TYPE_CHECKING:
    import torch
    from transformers import (
        GenerationConfig,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
    )

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy in memory. `path` is the local folder (of an adapter: the adapter's), `digest` its content's name."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    processor: ProcessorMixin | None
    generation_config: GenerationConfig
    digest: str
    path: Path
    multimodal: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """How a policy reads and writes, without its weights.

    tokenizer, processor: its own; the processor is None for a policy that reads text only. generation_config: names its end
    tokens. rows: of the input embedding. folder: where its weights are; of an adapter, its base model's.
    """

    tokenizer: PreTrainedTokenizerBase
    processor: ProcessorMixin | None
    generation_config: GenerationConfig
    rows: int
    folder: Path


def reading(path: str | Path, revision: str | None = None) -> Reading:
    """The files of a policy that a renderer needs; no weight is opened. Raises ModelError as `load` does."""
    from transformers import GenerationConfig

    folder, _ = resolve(path, revision)
    base = base_folder(folder)
    config = read_config(base)
    with quiet():
        tokens = _tokenizer(folder if (folder / "tokenizer_config.json").is_file() else base)
        processor = _processor(base, tokens) if ARCHITECTURES[config.model_type] else None
        if (base / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(base, local_files_only=True)
        else:
            generation = GenerationConfig.from_model_config(config)
    rows = int(config.get_text_config().vocab_size)
    _check_tokens(path, tokens, rows)
    return Reading(tokens, processor, generation, rows, base)


def _check_tokens(path: str | Path, tokens: PreTrainedTokenizerBase, rows: int) -> None:
    if len(tokens) > rows:
        raise ModelError(
            f"{path}: the tokenizer has {len(tokens)} tokens, the embedding {rows} rows", "use the model's own files"
        )


def load(path: str | Path, revision: str | None = None, dtype: str = "float32", device: str = "cpu") -> Loaded:
    """The policy at `path`: a built-in name, a folder, an adapter folder (peft) or a hub name, in evaluation mode.

    An adapter is merged into the base model that was loaded for it alone. Raises ModelError when the policy is not
    there, is of an unsupported kind, or its files do not hold exactly the tensors that its configuration asks for.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"dtype '{dtype}' is not supported", f"use one of {', '.join(DTYPES)}")
    folder, origin = resolve(path, revision)
    identity = digest(folder, origin)
    base = base_folder(folder)
    adapter = folder if base != folder else None
    config = read_config(base)
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        kind = quantised.get("quant_method", "") if isinstance(quantised, dict) else type(quantised).__name__
        raise ModelError(
            f"{path} is quantised ({kind or 'in a way it does not name'}), which is not read here",
            "use the checkpoint that it was made from; vLLM (--engine vllm, --server) may read it",
        )
    with quiet():
        model = _weights(base, config, getattr(torch, dtype))
        if adapter is not None:
            model = _merge_adapter(model, adapter)
        tokens = _tokenizer(folder if (folder / "tokenizer_config.json").is_file() else base)
        processor = _processor(base, tokens) if ARCHITECTURES[config.model_type] else None
    _check_tokens(path, tokens, embedding_rows(model))
    model.to(device).eval()  # type: ignore[arg-type]
    return Loaded(model, tokens, processor, model.generation_config, identity, folder, ARCHITECTURES[config.model_type])


def _weights(folder: Path, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    from safetensors import SafetensorError

    try:
        model, info = model_class(config).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: its weights cannot be read ({first_line(error)})", "fetch the policy again"
        ) from error
    _demand_exact(folder, info)
    return model


def _demand_exact(folder: Path, info: Mapping[str, Any]) -> None:
    """Every tensor of the configuration is in the files in its shape, and nothing else is. Tied weights count once."""
    remedy = "weights and config.json must come from the same policy"
    for missing in sorted(info["missing_keys"]):
        raise ModelError(f"{folder}: weights do not match: tensor {missing} is missing", remedy)
    for name, found, wanted in sorted(info["mismatched_keys"]):
        raise ModelError(
            f"{folder}: weights do not match: tensor {name} has shape {list(found)}, not {list(wanted)}", remedy
        )
    for unexpected in sorted(info["unexpected_keys"]):
        raise ModelError(f"{folder}: weights do not match: tensor {unexpected} is unexpected", remedy)
    for message in info.get("error_msgs") or ():
        raise ModelError(f"{folder}: weights do not match ({message})", remedy)


def _merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Base plus adapter; each merged weight is computed aside and checked to be finite before it takes its place."""
    import peft
    from safetensors import SafetensorError, safe_open

    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise ModelError(f"{folder} holds no adapter_model.safetensors", "save the adapter with peft's save_pretrained")
    try:
        with safe_open(file, "pt") as stored:
            names = set(stored.keys())
        with warnings.catch_warnings():  # what it warns of is an error below
            warnings.simplefilter("ignore")
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        wanted = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
        for name in sorted(wanted ^ names):
            raise ModelError(
                f"{folder}: adapter does not match its base: tensor {name} is {'missing' if name in wanted else 'unexpected'}",
                "use the base model it was trained on",
            )
        return wrapped.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: adapter cannot be merged ({first_line(error)})", "use the base model it was trained on"
        ) from error


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{folder}: its tokenizer cannot be read ({first_line(error)})", "copy the tokenizer files there"
        ) from error


def _processor(folder: Path, tokens: PreTrainedTokenizerBase) -> ProcessorMixin:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{folder}: its processor cannot be read ({first_line(error)})", "copy the processor files there"
        ) from error
    processor.tokenizer = tokens
    return processor


def embedding_rows(model: PreTrainedModel) -> int:
    """Rows of the input embedding, which may be more than the tokenizer has tokens."""
    return int(model.get_input_embeddings().weight.shape[0])  # type: ignore[index,union-attr]


def save(loaded: Loaded, folder: str | Path, model: PreTrainedModel | None = None) -> Path:
    """Write a policy as an ordinary hub folder, whole or not at all; `model` replaces the loaded one. Returns the folder."""
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with quiet():
            (model or loaded.model).save_pretrained(scratch)
            if loaded.processor is not None:
                loaded.processor.save_pretrained(scratch)
            loaded.tokenizer.save_pretrained(scratch)
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def digest(path: str | Path, origin: str | None = None, revision: str | None = None) -> str:
    """The identity of a policy: `repository@commit` from the hub, else `sha256:` of its files; never its path.

    An adapter's covers its base. `origin`: what `resolve` said of the folder, when it is known; without it a hub name is
    resolved from its configuration, no weights are fetched. File hashes are remembered by size, times of modification
    and of change, and inode.
    """
    folder, origin = (Path(path), origin) if origin is not None else resolve(path, revision, weights=False)
    adapter = (folder / "adapter_config.json").is_file()
    if origin and not adapter:
        return origin
    parts = [origin] if origin else _file_hashes(folder)
    if adapter:
        base, base_revision = adapter_base(folder)
        parts.append(f"base:{digest(base, revision=base_revision)}")
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _file_hashes(folder: Path) -> list[str]:
    files = sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()})
    with _hash_cache() as cache:
        return [f"{file.name}:{_file_hash(file, cache)}" for file in files]


def _file_hash(file: Path, cache: dict[str, list[Any]]) -> str:
    if file.name == "adapter_config.json":  # its base is part of the identity by content, not by where it lies
        settings = {k: v for k, v in read_json(file).items() if k != "base_model_name_or_path"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    state = file.stat()
    mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    known = cache.get(str(file.resolve()))
    if known is not None and known[:-1] == mark:
        return str(known[-1])
    with file.open("rb") as stream:
        value = hashlib.file_digest(stream, "sha256").hexdigest()
    cache[str(file.resolve())] = [*mark, value]
    return value


@contextlib.contextmanager
def _hash_cache() -> Iterator[dict[str, list[Any]]]:
    """The remembered file hashes; written back when they changed. An unreadable cache is an empty one."""
    file = cache_dir() / "digests.json"
    try:
        cache = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        cache = {}
    before = dict(cache)
    yield cache
    if cache != before:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as stream:
                json.dump(cache, stream)
            Path(stream.name).replace(file)
        except OSError:
            return  # a home that cannot be written costs time, not correctness
