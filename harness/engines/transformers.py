"""The engine that every machine has: transformers' own model, decoded row by row.

Requests flow in, rollouts flow out as they finish. A prompt is prefilled once, alone and unpadded, for its n samples;
finished rows leave the batch at once and waiting ones take their place. Tokens do not depend on the batch (see sampling).

Tested on a CPU; the same code runs on CUDA (`device`), where it has not been measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import EngineError
from harness.core.records import Finish, Rollout
from harness.engines.base import Engine, Request, engine, incoming
from harness.models.codec import Codec

if TYPE_CHECKING:
    import torch

    from harness.engines.support.kv_cache import KeyValues, RowCache
    from harness.engines.support.sampling import Decoding, Uniforms
    from harness.models.loading import Loaded


@dataclass(slots=True)
class _Row:
    """A response being written. `position` is the rotary position of its next token to be read."""

    request: Request
    sample_index: int
    uniforms: Uniforms
    position: int
    tokens: list[int]
    logprobs: list[float]
    generated: int = 0


@dataclass(slots=True)
class _Prefilled:
    """A prompt that was read: its keys and values, the logits behind it [1, V], and the samples still to be started."""

    request: Request
    key_values: KeyValues
    logits: torch.Tensor
    position: int
    prefix_logprobs: list[float]
    waiting: deque[int] = field(default_factory=deque)


@engine.register("transformers")
class TransformersEngine(Engine):
    """Generation with transformers on CPU or CUDA; needs nothing beyond the project's own dependencies."""

    def __init__(self, loaded: Loaded, codec: Codec | None = None, batch: int = 64, device: str | None = None) -> None:
        """`loaded` becomes the engine's own: `sync` writes into its weights. `batch` rows decode together."""
        import torch

        if batch < 1:
            raise EngineError(f"engine.batch is {batch}", "set it to 1 or more")
        self.device = torch.device(device) if device else next(loaded.model.parameters()).device
        self.model: Any = loaded.model.to(self.device).eval()  # type: ignore[arg-type]
        self.codec, self.batch, self.multimodal, self.digest = (
            codec or Codec.of(loaded),
            batch,
            loaded.multimodal,
            loaded.digest,
        )
        text = self.model.config.get_text_config()
        if any(kind != "full_attention" for kind in getattr(text, "layer_types", None) or ()):
            raise EngineError(
                "the policy uses sliding-window attention", "set use_sliding_window to false in its config.json"
            )
        self.context: int = text.max_position_embeddings
        self._forbidden = torch.tensor(self.codec.forbidden_ids, dtype=torch.long, device=self.device)
        self._banned, self._ends = frozenset(self.codec.forbidden_ids), frozenset(self.codec.end_ids)
        self._cache_name = cache_name(self.model)
        self._generating = False

    @classmethod
    def open(
        cls, path: str | Path, revision: str | None = None, dtype: str = "float32", device: str = "cpu", batch: int = 64
    ) -> TransformersEngine:
        """The engine over a policy of its own, loaded from `path`. Raises ModelError."""
        from harness.models import loading

        return cls(loading.load(path, revision, dtype, device), batch=batch, device=device)

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        """Rollouts as they finish. Their tokens depend on (seed, version, prompt, sample index), not on the batch.

        A request is pulled when a place is free for its first sample: at most one prompt waits in memory.

        `max_new_tokens` counts tokens behind a request's prefix; the prefix is part of the rollout, with its
        log-probabilities. A response ends (finish `length`) where the context is full. Raises EngineError when a prompt
        alone fills it: before any work for a sequence of requests, when it is pulled for an iterator.
        """
        if self._generating:
            raise EngineError("the engine is generating already", "finish or close the earlier generation first")
        return self._generate(incoming(requests, self._check))

    def _generate(self, queue: Iterator[Request]) -> Iterator[Rollout]:
        from harness.engines.support.kv_cache import RowCache

        self._generating = True
        cache, rows, prefilled = RowCache(self.batch), list[_Row](), None
        decoding: Decoding | None = None
        try:
            while True:
                while len(rows) < self.batch:
                    if prefilled is None:
                        if (request := next(queue, None)) is None:
                            break
                        prefilled = self._prefill(request)
                    yield from self._start(prefilled, rows, cache)
                    prefilled, decoding = prefilled if prefilled.waiting else None, None
                if not rows:
                    return
                decoding = decoding or self._decoding(rows)
                finished = self._step(rows, cache, decoding)
                for place in sorted(finished, reverse=True):
                    yield self._rollout(rows[place])
                    cache.remove(place)
                    rows[place] = rows[-1]
                    rows.pop()
                    decoding = None
        finally:
            self._generating = False

    # ------------------------------------------------------------------------------------------------ the model's passes

    def _prefill(self, request: Request) -> _Prefilled:
        """Read one prompt (and its prefix) alone."""
        import torch
        from transformers import DynamicCache

        from harness.engines.support.sampling import score

        cache = DynamicCache(config=self.model.config.get_text_config())
        inputs, following = self._inputs(request)
        prefix = request.prefix
        inputs |= {self._cache_name: cache, "use_cache": True, "logits_to_keep": len(prefix) + 1}
        with torch.no_grad():
            logits = self.model(**inputs).logits[0]
        tokens = torch.tensor(prefix, dtype=torch.long, device=self.device)
        known = score(logits[:-1], tokens, request.sampling.temperature, self._forbidden) if prefix else []
        layers: Any = [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr]
        return _Prefilled(request, layers, logits[-1:], following, known, deque(_wanted(request)))

    def _inputs(self, request: Request) -> tuple[dict[str, Any], int]:
        """Model inputs for a whole prompt, and the rotary position of the first generated token.

        Positions are explicit: one-dimensional for text, three rows (time, height, width) where there are images.
        """
        import torch

        prompt = request.prompt
        ids = torch.tensor([prompt.ids + request.prefix], dtype=torch.long, device=self.device)
        if prompt.patches is None:
            positions = torch.arange(ids.shape[1], device=self.device).unsqueeze(0)
            return {"input_ids": ids, "position_ids": self._axes(positions)}, ids.shape[1]
        patches = torch.from_numpy(prompt.patches.patches).to(self.device)
        grid = torch.from_numpy(prompt.patches.grid).to(self.device)
        kinds = torch.tensor([(*(prompt.mm_token_type_ids or ()), *(0 for _ in request.prefix))], device=self.device)
        positions, _ = self.model.model.get_rope_index(
            ids, mm_token_type_ids=kinds, image_grid_thw=grid, attention_mask=torch.ones_like(ids)
        )
        with torch.no_grad():
            embeds = self.model.get_input_embeddings()(ids)
            features = torch.cat(self.model.get_image_features(patches, grid, return_dict=True).pooler_output)
            embeds = embeds.masked_scatter((kinds == 1).unsqueeze(-1), features.to(embeds.dtype))
        return {"inputs_embeds": embeds, "position_ids": positions}, int(positions.max()) + 1

    def _axes(self, positions: torch.Tensor) -> torch.Tensor:
        """Text positions [A, T], thrice for a policy with three position axes."""
        return positions.expand(3, *positions.shape) if self.multimodal else positions

    def _start(self, prefilled: _Prefilled, rows: list[_Row], cache: RowCache) -> Iterator[Rollout]:
        """Begin as many samples as there is room for; their first token comes from the prefill's logits."""
        from harness.engines.support.sampling import Decoding, Uniforms, draw

        request = prefilled.request
        indices = [prefilled.waiting.popleft() for _ in range(min(self.batch - len(rows), len(prefilled.waiting)))]
        new = [
            _Row(
                request,
                index,
                Uniforms(request.sampling.seed, self.version, request.prompt, index),
                prefilled.position,
                list(request.prefix),
                list(prefilled.prefix_logprobs),
            )
            for index in indices
        ]
        decoding = Decoding.of([request.sampling] * len(new), self.device)
        uniforms = [row.uniforms.at(len(row.tokens)) for row in new]
        logits = prefilled.logits.expand(len(new), -1)
        for row, token, logprob in zip(new, *draw(logits, uniforms, decoding, self._forbidden), strict=True):
            self._append(row, token, logprob)
        alive = [row for row in new if not self._finished(row)]
        yield from (self._rollout(row) for row in new if self._finished(row))
        if alive:
            cache.insert(prefilled.key_values, len(alive))
            rows += alive

    def _step(self, rows: list[_Row], cache: RowCache, decoding: Decoding) -> list[int]:
        """One more token for every row. Returns the places of the rows that it finished."""
        import torch

        from harness.engines.support.sampling import draw

        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=self.device)
        positions = torch.tensor([[row.position] for row in rows], device=self.device)
        with torch.no_grad():
            logits = self.model(
                input_ids=ids,
                position_ids=self._axes(positions),
                attention_mask=cache.mask(self.device),
                use_cache=True,
                logits_to_keep=1,
                **{self._cache_name: cache},
            ).logits[:, -1]
        cache.advance()
        uniforms = [row.uniforms.at(len(row.tokens)) for row in rows]
        for row, token, logprob in zip(rows, *draw(logits, uniforms, decoding, self._forbidden), strict=True):
            row.position += 1
            self._append(row, token, logprob)
        return [place for place, row in enumerate(rows) if self._finished(row)]

    def _decoding(self, rows: Sequence[_Row]) -> Decoding:
        from harness.engines.support.sampling import Decoding

        return Decoding.of([row.request.sampling for row in rows], self.device)

    # --- rows and rollouts --------------------------------------------------------------------------------------------

    def _append(self, row: _Row, token: int, logprob: float) -> None:
        row.tokens.append(token)
        row.logprobs.append(logprob)
        row.generated += 1

    def _finished(self, row: _Row) -> bool:
        known = len(row.request.prompt.ids) + len(row.tokens)
        full = known >= self.context or row.generated >= row.request.sampling.max_new_tokens
        return row.tokens[-1] in self._ends or full

    def _rollout(self, row: _Row) -> Rollout:
        request = row.request
        self._demand_allowed(row.tokens, f"a rollout of item {request.prompt.example_id}")
        return Rollout(
            prompt_id=request.prompt.example_id,
            sample_index=row.sample_index,
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            finish=Finish.STOP if row.tokens[-1] in self._ends else Finish.LENGTH,
            text=self.codec.decode(row.tokens),
            sampling=request.sampling,
            policy_version=self.version,
        )

    def _demand_allowed(self, tokens: Sequence[int], what: str) -> None:
        for token in tokens:
            if token in self._banned:
                raise EngineError(
                    f"{what} contains the forbidden token {token} ({self.codec.name(token)})", "it may not be sampled"
                )

    def _check(self, request: Request) -> None:
        """What makes a request impossible, before any work is done."""
        prompt, sampling, item = request.prompt, request.sampling, f"item {request.prompt.example_id}"
        if sampling.max_new_tokens < 1 or sampling.n < 1:
            raise EngineError(
                f"{item}: max_new_tokens {sampling.max_new_tokens}, n {sampling.n}", "both must be 1 or more"
            )
        if prompt.patches is not None and not self.multimodal:
            raise EngineError(f"{item} has an image, the policy reads text only", "use --model tiny-vl")
        if any(not 0 <= index < sampling.n for index in _wanted(request)):
            raise EngineError(f"{item}: samples {request.samples} of {sampling.n}", "ask for indices below n")
        known = len(prompt.ids) + len(request.prefix)
        if not known or known >= self.context:
            raise EngineError(
                f"{item}: {known} prompt tokens leave no room in the context of {self.context}", "leave the item out"
            )
        self._demand_allowed(request.prefix, f"the prefix of {item}")
        if any(token in self._ends for token in request.prefix):
            raise EngineError(
                f"the prefix of {item} contains an end token", "there is nothing to continue; cut it before the end"
            )

    # --- weights ------------------------------------------------------------------------------------------------------

    def sync(self, tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Copy the policy's weights in place. Names are those of a hub folder or of the model's state dict, of tied
        weights any of theirs.

        Raises EngineError naming a tensor that is unknown, missing, doubled or of another shape, and while generating.
        """
        import torch

        from harness.models.weights import hub_names, named_weights

        if self._generating:
            raise EngineError("weights change while rollouts are generated", "finish or close the generation first")
        own = named_weights(self.model)
        first = {tensor.data_ptr(): name for name, tensor in own.items()}
        state = self.model.state_dict()
        hub = hub_names(self.model, list(state))
        names = {hub[name]: first[tensor.data_ptr()] for name, tensor in state.items()}
        seen: set[str] = set()
        with torch.no_grad():
            for name, tensor in tensors:
                if name not in names:
                    raise EngineError(
                        f"weight sync: the engine has no tensor {name}", "trainer and engine must hold the same policy"
                    )
                target = own[names[name]]
                if tensor.shape != target.shape:
                    raise EngineError(
                        f"weight sync: tensor {name} has shape {list(tensor.shape)}, the engine's {list(target.shape)}",
                        "trainer and engine must hold the same policy",
                    )
                value = tensor.detach().to(target.device, target.dtype)
                if names[name] in seen and not torch.equal(value, target):
                    raise EngineError(
                        f"weight sync: tensor {name} came twice with different values", "send tied weights once"
                    )
                target.copy_(value)
                seen.add(names[name])
        for name in own:
            if name not in seen:
                raise EngineError(
                    f"weight sync: tensor {hub[name]} did not come", "trainer and engine must hold the same policy"
                )
        self.version = version

    def describe(self) -> dict[str, Any]:
        import torch
        import transformers

        return {
            "engine": "transformers",
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "context": self.context,
        }

    def close(self) -> None:
        import torch

        self.model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _wanted(request: Request) -> Sequence[int]:
    """Indices of the samples to draw."""
    return range(request.sampling.n) if request.samples is None else request.samples


def cache_name(model: Any) -> str:
    """What the installed transformers calls the cache of a forward pass: `cache`, in older versions `past_key_values`."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
