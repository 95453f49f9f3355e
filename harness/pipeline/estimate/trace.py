"""Memory of a forward and backward pass at true shapes without allocating it.

The real `Policy` and the real flow run under FakeTensorMode while torch's memory tracker counts. Layers are alike, so one
layer with the whole vocabulary is traced, and what each further layer adds comes from one and three layers without it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from harness.core.config import digest
from harness.core.files import read_json, write_json
from harness.core.records import Prompt

VERSION = 1
"""Of the kept traces: raised when what is traced changes."""


@dataclass(frozen=True, slots=True)
class Row:
    """The packed row that is traced: one prompt of `prompt` tokens with `responses` of `length` tokens each."""

    prompt: int
    responses: int
    length: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.responses * self.length


@dataclass(frozen=True, slots=True)
class Traced:
    """Bytes above weights and gradients at the peak: of a sweep without gradient, and of forward and backward."""

    sweep: int
    training: int


@dataclass(frozen=True, slots=True)
class How:
    """What the policy computes in, whether layers are computed again, whether base weights are frozen, on which device."""

    dtype: str
    checkpointing: bool
    frozen: bool
    device: str


def policy(config: Any, row: Row, how: How, folder: Path | None = None) -> Traced:
    """The trace of a policy of this configuration; kept in `folder` by content, as tracing takes seconds."""
    key = digest("trace", VERSION, config.to_dict(), asdict(row), asdict(how), torch.__version__, length=24)
    file = folder / f"{key}.json" if folder is not None else None
    if file is not None and file.is_file():
        return Traced(**read_json(file))
    layers = _text(config).num_hidden_layers
    whole = _trace(_small(config, 1), row, how)
    one, three = (_trace(_small(config, n, vocabulary=512), row, how) for n in (1, 3))
    further = max(0, three.training - one.training) // 2
    found = Traced(whole.sweep, whole.training + further * (layers - 1))
    if file is not None:
        write_json(file, asdict(found))
    return found


@cache
def flow(size: int, width: int, depth: int, rows: int, precision: str) -> tuple[int, int]:
    """Bytes above the field's weights and gradients of one piece of `rows`: scored, and with its backward pass."""
    from rewards.flow.field import FieldConfig, VelocityField
    from rewards.flow.matching import deviation, interpolate, precise

    with _fake():
        field = VelocityField(FieldConfig(size, width, depth), torch.Generator().manual_seed(0))
        for parameter in field.parameters():
            parameter.grad = torch.zeros_like(parameter)
        latents = torch.empty(3, rows, size)
        t, layer = torch.empty(rows), torch.empty(1)

        def loss() -> Tensor:
            with precise(torch.device("cpu"), precision):
                x, wanted = interpolate(latents[0], latents[1], t)
                return deviation(field(x, t, latents[2], layer), wanted).sum()

        def scored() -> None:
            with torch.no_grad():
                loss()

        return _peak(field, scored) + _bytes(latents), _peak(field, lambda: loss().backward()) + _bytes(latents)


def _trace(config: Any, row: Row, how: How) -> Traced:
    from harness.models.hub import model_class
    from trainers.batching import Item, plan
    from trainers.policy import Policy

    ids = (1,) * row.prompt
    prompt = Prompt(example_id="", ids=ids, engine_ids=ids, text="", template_hash="")
    item = Item(prompt, ((1,) * row.length,) * row.responses, tuple(range(row.responses)))
    axes = (3, row.prompt) if hasattr(config, "vision_config") else (row.prompt,)
    (mb,) = plan([item], row.tokens, lambda p: torch.arange(len(p.ids)).expand(axes))
    with _fake(), _like(how.device):
        weights = torch.bfloat16 if how.frozen and how.dtype == "bfloat16" else torch.float32
        made = Policy(
            model_class(config).from_config(config, dtype=weights),
            tokenizer=None,
            gradient_checkpointing=how.checkpointing,
            dtype=how.dtype,
        )
        if how.frozen:  # adapters of low rank add little beside the rows that they read
            made.requires_grad_(False)
            made.parts.trunk.norm.weight.requires_grad_(True)
        for _, parameter in made.trainable():
            parameter.grad = torch.zeros_like(parameter)

        def sweep() -> None:
            with torch.no_grad():
                made(mb)

        def step() -> None:
            out = made(mb)
            (out.logp.sum() + out.entropy.sum()).backward()

        return Traced(_peak(made, sweep), _peak(made, step))


def _peak(module: nn.Module, work: Any) -> int:
    """Bytes at the peak of `work` above what the module held before it."""
    from torch.distributed._tools.mem_tracker import MemTracker

    tracker = MemTracker()
    tracker.track_external(module)
    with ExitStack() as stack:
        for name in ("register_hook", "register_post_accumulate_grad_hook"):  # the tracker asks frozen weights too
            stack.enter_context(mock.patch.object(Tensor, name, _where_there_is_a_gradient(getattr(Tensor, name))))
        stack.enter_context(tracker)
        before = _total(tracker.get_tracker_snapshot("current"))
        work()
    return _total(tracker.get_tracker_snapshot("peak")) - before


def _where_there_is_a_gradient(register: Any) -> Any:
    def call(tensor: Tensor, hook: Any) -> Any:
        return register(tensor, hook) if tensor.requires_grad else mock.Mock()

    return call


def _total(snapshot: Any) -> int:
    return sum(int(kinds["Total"]) for kinds in snapshot.values())


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@contextmanager
def _fake() -> Iterator[None]:
    """Tensors without storage. Modules stay where they are: moving fake parameters fails."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(mock.patch.object(nn.Module, "to", lambda self, *_, **__: self))
        stack.enter_context(mock.patch.object(nn.utils, "skip_init", lambda kind, *sizes: kind(*sizes)))
        yield


@contextmanager
def _like(device: str) -> Iterator[None]:
    """The head as it runs on CUDA: large chunks, products in half precision that accumulate into float32 at once."""
    from trainers import head

    def product(left: Tensor, right: Tensor) -> Tensor:
        return left.new_empty((left.shape[0], right.shape[1]), dtype=torch.float32)

    with ExitStack() as stack:
        if device == "cuda":
            stack.enter_context(mock.patch.object(head, "_product", product))
            stack.enter_context(mock.patch.dict(head.CHUNK_BYTES, {"cpu": head.CHUNK_BYTES["cuda"]}))
        yield


def _text(config: Any) -> Any:
    return getattr(config, "text_config", config)


def _small(config: Any, layers: int, vocabulary: int | None = None) -> Any:
    """The configuration with few layers, the tower cut to one, and a vocabulary of its own where asked."""
    made = copy.deepcopy(config)
    text = _text(made)
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = list(text.layer_types)[:layers]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        for part in {id(made): made, id(text): text}.values():
            setattr(part, name, None)
    if vocabulary is not None:
        text.vocab_size = vocabulary
    if hasattr(made, "vision_config"):
        made.vision_config.depth = 1
        made.vision_config.fullatt_block_indexes = [0]
    return made
