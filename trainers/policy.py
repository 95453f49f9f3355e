"""The one module that calls the model: packed micro-batches in, log-probabilities, entropies and hidden states out.

It holds the backbone, the head and the adapters. Qwen2, Llama and Qwen2.5-VL; where their parts are is known here alone.
There is no dropout anywhere: it would part old and new log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.core.config import Lora
from harness.core.errors import ModelError, TrainingError
from harness.core.records import Prompt
from trainers import attention, weight_bank
from trainers.batching import Item, MicroBatch, plan
from trainers.head import product_dtype, raw_logits, token_scores
from trainers.padded_oracle import padded_logp

CHECK_BOUND = {"float32": 1e-3, "bfloat16": 0.3}
"""Largest difference of a log-probability between the packed pass and the padded one; a layout fault gives 2 to 4."""

POSITIONS_KEPT = 4096
"""Image prompts whose positions are remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """logp, entropy [M] (nats, with gradient where enabled); latents {layer: [M + b, D]}, detached; `layers`: the depth;
    head [M, D]: what the output head reads, detached, where asked for."""

    logp: Tensor
    entropy: Tensor
    latents: dict[int, Tensor]
    layers: int
    head: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Where an architecture keeps its text trunk (embedding, decoder layers, final norm), head and vision tower."""

    trunk: Any
    head: nn.Linear
    visual: nn.Module | None

    @classmethod
    def of(cls, model: Any) -> Parts:
        """Raises ModelError for an architecture that packed rows cannot serve."""
        trunk = getattr(model.model, "language_model", model.model)
        config = trunk.config
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - {"full_attention"}:
            raise ModelError(
                f"{model.config.model_type} with {', '.join(sorted(kinds))}: only full attention can be trained here",
                "use a policy without a sliding window",
            )
        return cls(trunk, model.lm_head, getattr(model.model, "visual", None))


class Policy(nn.Module):
    """A model as a policy over packed micro-batches (trainers/batching.py).

    forbidden: token ids masked before the log-softmax, the same as in the engine. freeze_vision: the tower gets no
    gradient and runs without one. lora: adapters on the linear layers of the text trunk, everything else frozen. dtype:
    what `forward` computes in, whatever surrounds the call: bfloat16 is autocast over float32 weights, so that sweeps,
    probe and training see the same numbers. logits_budget_bytes: logits that may be kept for the backward pass.
    """

    forbidden: Tensor

    def __init__(
        self,
        model: Any,
        *,
        tokenizer: Any,
        processor: Any = None,
        forbidden: Sequence[int] = (),
        freeze_vision: bool = True,
        lora: Lora | None = None,
        gradient_checkpointing: bool = False,
        dtype: str = "float32",
        logits_budget_bytes: int = 2**30,
    ) -> None:
        super().__init__()
        self.parts = Parts.of(model)
        self.model, self.tokenizer, self.processor, self.dtype = model, tokenizer, processor, dtype
        self.layers = len(self.parts.trunk.layers)
        self.hidden_size = int(self.parts.trunk.config.hidden_size)
        self.logits_budget_bytes = logits_budget_bytes
        self.checkpointing = gradient_checkpointing
        self.register_buffer("forbidden", torch.tensor(sorted(forbidden), dtype=torch.long), persistent=False)
        self._positions: dict[tuple[Any, ...], Tensor] = {}
        self._start: dict[str, Tensor] | None = None
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        if freeze_vision and self.parts.visual is not None:
            self.parts.visual.requires_grad_(False)
        self.adapted = lora is not None
        if lora is not None:
            weight_bank.add_adapters(model, self.parts.trunk, lora)
        self.tower_trains = any(p.requires_grad for p in self.parts.visual.parameters()) if self.parts.visual else False
        attention.register()
        self._implement(attention.NAME)
        if gradient_checkpointing:
            self._checkpoint()
        model.to(self.device)
        self.to(self.device)
        self.train(False)

    # --- the forward pass -------------------------------------------------------------------------------------------

    def forward(
        self, mb: MicroBatch, layers: Sequence[int] = (), temperature: float = 1.0, head: bool = False
    ) -> Output:
        """Log-probability and entropy of every target at `temperature`; outputs of the given decoder layers, head inputs.

        Raises TrainingError when the text trunk does not run `grouped` attention: every other implementation would
        read the packed row wrongly, without an error.
        """
        self._guard()
        with self.precision():
            return self._forward(mb, layers, temperature, head)

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast of one call. Never held open over several, and it keeps no casts of weights: a swap or an optimiser step
        would leave them stale, and a sweep would hold the whole policy a second time."""
        half = self.dtype == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def _forward(self, mb: MicroBatch, layers: Sequence[int], temperature: float, head: bool) -> Output:
        embedded = self._embed(mb)
        if self.checkpointing and torch.is_grad_enabled() and not embedded.requires_grad:
            embedded.requires_grad_()  # reentrant checkpointing passes no gradient to adapters otherwise
        positions = mb.position_ids[..., None, :]
        latents: dict[int, Tensor] = {}
        with self._taps(mb, layers, latents):
            states = self.parts.trunk(
                inputs_embeds=embedded,
                position_ids=positions,
                attention_mask=None,
                use_cache=False,
                segments=attention.Layout(mb.segments, mb.input_ids.device),
            ).last_hidden_state
        read = states[0].index_select(0, mb.score_at)
        logp, entropy = token_scores(
            read,
            self.parts.head.weight,
            mb.targets,
            temperature=temperature,
            forbidden=self.forbidden,
            budget_bytes=self.logits_budget_bytes,
        )
        inputs = read.detach().to(product_dtype(self.parts.head.weight)) if head else None
        return Output(logp, entropy, latents, self.layers, inputs)

    def logits(self, states: Tensor, temperature: float = 1.0) -> Tensor:
        """Logits [n, V] of head inputs [n, D], as `forward` uses them, without gradient."""
        with torch.no_grad():
            return raw_logits(states, self.parts.head.weight, temperature=temperature, forbidden=self.forbidden)

    def _embed(self, mb: MicroBatch) -> Tensor:
        """[1, N, D]: token embeddings, with the tower's features at the places of image tokens."""
        embedded = self.parts.trunk.embed_tokens(mb.input_ids[None])
        if mb.patches is None or mb.grid is None or mb.image_at is None:
            return embedded
        with nullcontext() if self.tower_trains else torch.no_grad():
            found = self.model.get_image_features(mb.patches, mb.grid, return_dict=True)
        features = torch.cat(tuple(found.pooler_output)).to(embedded.dtype)
        if len(features) != len(mb.image_at):
            raise TrainingError(
                f"{len(mb.image_at)} image tokens for {len(features)} image features",
                "render with the policy's processor",
            )
        return embedded[0].index_copy(0, mb.image_at, features)[None]

    @contextmanager
    def _taps(self, mb: MicroBatch, layers: Sequence[int], latents: dict[int, Tensor]) -> Iterator[None]:
        """Reads layer outputs at `state_at` on the way. The hooks are gone before a backward pass computes layers again,
        and what they keep is detached, so that checkpointing of either kind changes nothing."""
        shape = (1, mb.tokens, self.hidden_size)

        def tap(layer: int) -> Any:
            def keep(_module: nn.Module, _args: Any, output: Any) -> None:
                states = output[0] if isinstance(output, tuple) else output
                if tuple(states.shape) != shape:
                    raise TrainingError(
                        f"decoder layer {layer} gave {tuple(states.shape)}, expected {shape}", "check the model's class"
                    )
                latents[layer] = states.detach()[0].index_select(0, mb.state_at)

            return keep

        handles = [self.parts.trunk.layers[layer].register_forward_hook(tap(layer)) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # --- what a micro-batch needs -------------------------------------------------------------------------------------

    def plan(self, items: Sequence[Item], token_budget: int) -> list[MicroBatch]:
        """Micro-batches on the policy's device (trainers.batching.plan with the model's own positions)."""
        return plan(items, token_budget, self.positions, self.device)

    def positions(self, prompt: Prompt) -> Tensor:
        """Position ids of a prompt's tokens: [P], or [3, P] for a model with three-axis positions.

        Raises TrainingError when an image's tokens do not get their own height and width.
        """
        size = len(prompt.ids)
        if self.parts.visual is None:
            if prompt.patches is not None:
                raise TrainingError(
                    f"prompt {prompt.example_id} has images, the policy reads text only", "use --model tiny-vl"
                )
            return torch.arange(size)
        if prompt.patches is None:
            return torch.arange(size).expand(3, size)
        key = (prompt.patches.sha256, prompt.ids)
        if key not in self._positions:
            if len(self._positions) >= POSITIONS_KEPT:
                self._positions.pop(next(iter(self._positions)))
            self._positions[key] = self._image_positions(prompt)
        return self._positions[key]

    def _image_positions(self, prompt: Prompt) -> Tensor:
        assert prompt.patches is not None
        kinds = torch.tensor(prompt.mm_token_type_ids or [0] * len(prompt.ids))
        grid = torch.as_tensor(prompt.patches.grid, dtype=torch.long)
        ids = torch.tensor(prompt.ids)
        found, _ = self.model.model.get_rope_index(ids[None], mm_token_type_ids=kinds[None], image_grid_thw=grid)
        positions = found[:, 0]
        merge = self.model.config.vision_config.spatial_merge_size
        sizes = [(int(t), int(h) // merge, int(w) // merge) for t, h, w in grid]
        places = positions[:, kinds == 1]
        counts = [t * h * w for t, h, w in sizes]
        right = positions.shape == (3, len(ids)) and places.shape[1] == sum(counts)
        if right:
            spans = [p.amax(1) - p.amin(1) + 1 for p in places.split(counts, dim=1)]
            right = all(span.tolist() == list(size) for span, size in zip(spans, sizes, strict=True))
        if not right:
            raise TrainingError(
                f"image tokens of prompt {prompt.example_id} have no positions of their own on three axes",
                "give mm_token_type_ids with 1 at every image token",
            )
        return positions

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its response that the architecture knows positions for."""
        return int(self.parts.trunk.config.max_position_embeddings)

    # --- weights ------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.parts.head.weight.device

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that get a gradient; tied ones once."""
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> Policy:
        """Dropout stays off in either mode; only layers that are computed again in the backward pass must be told."""
        super().train(mode)
        self.model.train(False)
        for module in self._recomputed():
            module.training = True
        return self

    def _recomputed(self) -> list[Any]:
        """Layers that are computed again in the backward pass."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        return [
            m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing
        ]

    def _checkpoint(self, on: bool = True, reentrant: bool = False) -> None:
        from torch.utils.checkpoint import checkpoint
        from transformers.modeling_layers import GradientCheckpointingLayer

        self.checkpointing = on
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.gradient_checkpointing = on
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)  # type: ignore[assignment]
        self.train(self.training)

    def keep_start(self) -> None:
        """Remember the weights as they are now as `start`; a second call changes nothing. Adapters need no copy."""
        if self._start is None and not self.adapted:
            self._start = {name: p.detach().to("cpu", copy=True) for name, p in self.trainable()}

    @contextmanager
    def weights(self, which: Literal["old", "start"]) -> Iterator[None]:
        """The policy with other weights for a while: `old` as it is, `start` as at keep_start (adapters off)."""
        if which == "old":
            yield
        elif self.adapted:
            with weight_bank.without_adapters(self.model):
                yield
        elif self._start is None:
            raise TrainingError("the start policy was not kept", "call keep_start before the first step")
        else:
            with torch.no_grad(), weight_bank.swapped(self.trainable(), self._start):
                yield

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """Full weights under the names of the hub's files, one at a time, detached; adapters merged aside."""
        return weight_bank.export(self.model)

    def save(self, folder: str | Path) -> None:
        """An ordinary hub folder (weights, configuration, tokenizer, processor), whole or not at all."""
        weight_bank.save(self.model, self.tokenizer, self.processor, Path(folder))

    # --- guards ---------------------------------------------------------------------------------------------------------

    def _implement(self, name: str) -> None:
        """Set the text trunk's attention; the tower keeps its own."""
        nested = self.parts.trunk.config is not self.model.config
        self.model.set_attn_implementation({"text_config": name} if nested else name)

    def _guard(self) -> None:
        name = self.parts.trunk.config._attn_implementation
        if name != attention.NAME:
            raise TrainingError(
                f"the text trunk runs '{name}' attention, which reads a packed row wrongly",
                "leave the attention implementation to trainers.policy.Policy",
            )

    def check_first_batch(self, mb: MicroBatch) -> None:
        """Packed log-probabilities against an ordinary padded pass of up to four rollouts. Raises TrainingError."""
        chosen = sorted({0, 1, len(mb.rows) // 2, len(mb.rows) - 1} & set(range(len(mb.rows))))
        worst = 0.0
        with torch.no_grad():
            packed = self(mb).logp
            for row in chosen:  # one at a time: an ordinary pass holds the logits of every place
                with self._ordinary(), self.precision():
                    padded = padded_logp(self.model, mb, [row], self.forbidden)
                if len(padded):
                    worst = max(worst, float((packed[mb.rollout == row] - padded).abs().max()))
        half = self.parts.head.weight.dtype != torch.float32
        bound = CHECK_BOUND["bfloat16" if half else self.dtype]
        if not worst <= bound:
            raise TrainingError(
                f"packed and padded log-probabilities differ by {worst:.2g} in the first batch (bound {bound:g})",
                "report the versions of torch and transformers; this layout would train on wrong numbers",
            )

    def _ordinary(self) -> AbstractContextManager[None]:
        """The model as transformers runs it, for the oracle: scaled dot product attention."""

        @contextmanager
        def change() -> Iterator[None]:
            self._implement("sdpa")
            try:
                yield
            finally:
                self._implement(attention.NAME)

        return change()
