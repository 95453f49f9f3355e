"""vLLM in the trainer's own process: the engine of a machine with a GPU, and of its CPU build.

Requests flow in as token ids and resized images, rollouts flow out as they finish; weights flow in tensor by tensor and
are read back. The n samples of a prompt share its prefill. Log-probabilities are processed ones: at the sampling
temperature, behind the mask of forbidden ids and behind top_k and top_p.

Seeds: on a GPU every sample has a stream of its own, keyed by (seed, policy version, prompt, sample index). The sampler of
the CPU build has none; there a whole call of `generate` has one stream, keyed by all its requests, so its tokens repeat
with the call but depend on what is decoded together. Sleep (level 2) is only used on a GPU: the CPU build has none, so that
the order of waking is not tested there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import EngineError, RlfrEvalError, attempt
from harness.core.records import Rollout
from harness.engines.base import Engine, Request, engine, incoming
from harness.engines.support.responses import REMEDY, check_request, first_line, read_policy, room, whole_rollout
from harness.engines.support.streams import CallStream, request_seed, streams_kept

if TYPE_CHECKING:
    import torch

    from harness.engines.support.weight_names import Names

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""What vLLM reads when it is imported; a value that is set already stays, except the first: the engine is in-process."""

MOST_FORBIDDEN = 1024
"""Biased tokens that vLLM's GPU sampler takes in one request."""

CPU_BLOCK = 32
"""Tokens of a cache block on a CPU. Whole blocks are shared between samples; the CPU build's own 128 exceed many prompts."""


@dataclass(slots=True)
class _Asked:
    """A request that vLLM works on; `found` holds tokens and log-probabilities of its unfinished samples."""

    request: Request
    waiting: int
    found: dict[int, tuple[list[int], list[float]]] = field(default_factory=dict)


@engine.register("vllm")
class VLLMEngine(Engine):
    """Generation with vLLM: continuous batching on a GPU (or vLLM's CPU build), in the trainer's own process."""

    options = ("context", "gpu_memory", "tensor_parallel")

    def __init__(
        self,
        folder: str | Path,
        dtype: str = "float32",
        device: str = "cpu",
        batch: int = 64,
        *,
        context: int | None = None,
        gpu_memory: float = 0.45,
        tensor_parallel: int = 1,
    ) -> None:
        """`folder`: a policy's own files. `batch`: rollouts decoded together; `context`: most tokens of prompt and response
        (None: what the policy allows); `gpu_memory`: share of the GPU for its weights and cache; `tensor_parallel`: GPUs
        that share one policy (evaluation only). Raises EngineError when vLLM is missing or does not start.
        """
        if batch < 1:
            raise EngineError(f"engine.batch is {batch}", "set it to 1 or more")
        self.folder, self.dtype, self.device, self.batch = Path(folder), dtype, device, batch
        self.tensor_parallel, self._sleeps = tensor_parallel, device.startswith("cuda")
        self.codec, self.context, self.multimodal = read_policy(self.folder, context)
        self.reused_tokens = 0
        if len(self.codec.forbidden_ids) > MOST_FORBIDDEN:
            raise EngineError(
                f"{folder}: {len(self.codec.forbidden_ids)} rows of the embedding are no tokens, vLLM masks {MOST_FORBIDDEN}",
                "use --engine transformers",
            )
        self._bias = dict.fromkeys(self.codec.forbidden_ids, float("-inf"))
        self._asleep, self._generating, self._broken = False, False, ""
        self._names: Names | None = None
        self._llm: Any = self._start(gpu_memory)

    @classmethod
    def open(
        cls,
        path: str | Path,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        batch: int = 64,
        **settings: Any,
    ) -> VLLMEngine:
        """The engine over the policy at `path` (a hub name, a folder, an adapter folder: merged first)."""
        from harness.engines.support.weight_names import plain_folder

        return cls(plain_folder(path, revision, dtype), dtype, device, batch, **settings)

    def _start(self, gpu_memory: float) -> Any:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = ENVIRONMENT["VLLM_ENABLE_V1_MULTIPROCESSING"]
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # vLLM's own, of the torch that it pins
                from vllm import LLM
        except ImportError as cause:
            raise EngineError(
                f"vLLM is not installed ({cause})", "pip install 'rlfr-eval[vllm]', or --engine transformers"
            ) from cause
        settings: dict[str, Any] = {
            "model": str(self.folder),
            "dtype": self.dtype,
            "max_model_len": self.context,
            "max_num_seqs": self.batch,
            "seed": 0,
            "logprobs_mode": "processed_logprobs",
            "generation_config": "vllm",  # the policy's file would bring its own penalties and top_k
            "tensor_parallel_size": self.tensor_parallel,
            "enable_prefix_caching": True,
            "use_tqdm_on_load": False,
        }
        if self.multimodal:
            settings["limit_mm_per_prompt"] = {"video": 0}
        if self.device.startswith("cuda"):
            settings |= {"gpu_memory_utilization": gpu_memory, "enable_sleep_mode": self._sleeps}
        else:
            settings |= {"enforce_eager": True, "block_size": CPU_BLOCK}
        with streams_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            llm, error = attempt(LLM, **settings)
        if error is not None:
            raise EngineError(
                f"vLLM does not start ({first_line(error)})",
                "lower engine.gpu_memory or engine.context when memory is short (docs/gpu.md), or --engine transformers",
            ) from error
        return llm

    # ------------------------------------------------------------------------------------------------ generation

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        """Rollouts as they finish. Raises EngineError for a request that cannot be answered: before any work for a
        sequence of requests, when it is pulled for an iterator. The CPU build, whose one stream is keyed by all requests,
        reads an iterator to its end first."""
        self._demand_ready()
        if not self.device.startswith("cuda"):
            requests = list(requests)
        stream = CallStream(requests, self.version, self.device)
        return self._generate(incoming(requests, lambda r: check_request(r, self.multimodal, self.context)), stream)

    def _generate(self, queue: Iterator[Request], stream: CallStream) -> Iterator[Rollout]:
        """Keeps about two batches in vLLM's hands, so that pictures are read while others decode."""
        core, asked = self._llm.llm_engine, dict[str, _Asked]()
        self._generating = True
        number = 0
        try:
            while True:
                while sum(a.waiting for a in asked.values()) < 2 * self.batch and (request := next(queue, None)):
                    number += 1
                    self._guarded(
                        asked, core.add_request, str(number), self._prompt(request), self._parameters(request)
                    )
                    asked[str(number)] = _Asked(request, request.sampling.n)
                if not asked:
                    return
                with stream.entered():
                    outputs = self._guarded(asked, core.step)
                for output in outputs:
                    yield from self._finished(asked[output.request_id], output)
                    if not asked[output.request_id].waiting:
                        del asked[output.request_id]
        finally:
            self._generating = False
            if asked and not self._broken:
                core.abort_request(list(asked))

    def _guarded(self, asked: dict[str, _Asked], function: Any, *args: Any) -> Any:
        """A call into vLLM; its failure ends the engine, not the samples that were logged."""
        result, error = attempt(function, *args)
        if error is None:
            return result
        left = sum(a.waiting for a in asked.values())
        self._broken = f"vLLM failed with {left} rollouts unfinished ({type(error).__name__}: {first_line(error)})"
        raise EngineError(self._broken, REMEDY) from error

    def _prompt(self, request: Request) -> dict[str, Any]:
        """One pad per image, and the images at their final size: vLLM's processor expands the pads and resizes nothing."""
        prompt = request.prompt
        asked: dict[str, Any] = {"prompt_token_ids": list(prompt.engine_ids)}
        if prompt.images:
            asked["multi_modal_data"] = {"image": list(prompt.images)}
            asked["mm_processor_kwargs"] = {"do_resize": False}
        return asked

    def _parameters(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=room(request, self.context),
            seed=request_seed(request, self.version) if self.device.startswith("cuda") else None,
            logprobs=0,
            flat_logprobs=True,
            logit_bias=self._bias or None,
            ignore_eos=True,  # the tokenizer's own end token need not be one of the policy's
            stop_token_ids=list(self.codec.end_ids),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,  # each sample as it finishes, not the last of its n
            stream_interval=2**30,
        )

    def _finished(self, asked: _Asked, output: Any) -> Iterator[Rollout]:
        """The samples of one answer that are whole now."""
        prompt = asked.request.prompt
        if tuple(output.prompt_token_ids) != prompt.ids:
            raise EngineError(
                f"item {prompt.example_id}: vLLM reads {len(output.prompt_token_ids)} prompt tokens, "
                f"the renderer wrote {len(prompt.ids)}",
                "report the version of vLLM: its image processor must leave resized images as they are",
            )
        for part in output.outputs:
            tokens, logprobs = asked.found.setdefault(part.index, ([], []))
            if not tokens:
                self.reused_tokens += output.num_cached_tokens or 0
            tokens += part.token_ids
            logprobs += part.logprobs.logprobs
            if part.finish_reason is not None:
                asked.waiting -= 1
                yield whole_rollout(
                    self.codec,
                    asked.request,
                    part.index,
                    part.finish_reason,
                    *asked.found.pop(part.index),
                    self.version,
                )

    def _demand_ready(self) -> None:
        if self._llm is None:
            raise EngineError("the engine is closed", "open a new one")
        if self._broken:
            raise EngineError(self._broken, REMEDY)
        if self._generating:
            raise EngineError("the engine is generating already", "finish or close the earlier generation first")
        if self._asleep:
            raise EngineError("the engine sleeps without weights", "sync before generating")

    # ------------------------------------------------------------------------------------------------ weights

    def rest(self) -> None:
        """Give the GPU's memory to the trainer until the next `sync`: sleep level 2, which drops weights and cache."""
        self._demand_ready()
        if self._sleeps:
            self._llm.sleep(level=2)
            self._asleep = True

    def sync(self, tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take new weights, streamed one tensor at a time; names as in the policy's own files or in its state dict.

        Raises EngineError for a name that is unknown, doubled or missing, for another shape, and for a weight that reads
        back from vLLM other than it was sent; afterwards the engine generates no more.
        """
        from harness.engines.support.weight_names import SAME, Names, Sent, differing

        if self.tensor_parallel > 1:
            raise EngineError("weights cannot be synced over several GPUs", "set engine.tensor_parallel to 1 to train")
        if self._generating or self._llm is None or self._broken:
            self._demand_ready()
        self._names = self._names or Names.of(self.folder)
        sent = Sent(self._names, self.dtype)
        self._broken = f"the weights of sync {version} did not arrive whole"
        self._replace(sent.stream(tensors), version)
        sent.demand_whole()
        (wrong,) = self._llm.apply_model(lambda model: differing(model, sent))
        if wrong:
            raise EngineError(f"weight sync {version}: {wrong}", SAME)
        self._broken, self.version = "", version

    def _replace(self, weights: Iterator[tuple[str, torch.Tensor]], version: int) -> None:
        """Wake the weights, load, wake the cache, in this order: old cache and new weights never lie side by side.
        Then everything that was computed from the old weights is dropped."""
        from harness.engines.support.weight_names import repack

        llm, core = self._llm, self._llm.llm_engine
        if self._asleep:
            llm.wake_up(tags=["weights"])
        _, error = attempt(llm.collective_rpc, "reload_weights", kwargs={"weights_iterator": weights})
        if isinstance(error, RlfrEvalError):
            raise error
        if error is not None:
            raise EngineError(f"weight sync {version}: vLLM failed ({first_line(error)})", REMEDY) from error
        if self.device == "cpu":
            llm.apply_model(repack)
        if self._asleep:
            llm.wake_up(tags=["kv_cache"])
            self._asleep = False
        if not llm.reset_prefix_cache():
            raise EngineError(f"weight sync {version}: vLLM kept its prefix cache", REMEDY)
        core.reset_mm_cache()
        core.reset_encoder_cache()

    # ------------------------------------------------------------------------------------------------ the rest

    def describe(self) -> dict[str, Any]:
        import torch
        import transformers
        import vllm

        return {
            "engine": "vllm",
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "dtype": self.dtype,
            "device": self.device.split(":")[0],
            "tensor_parallel": self.tensor_parallel,
        }

    def close(self) -> None:
        import gc

        import torch

        llm, self._llm = self._llm, None
        if llm is None:
            return
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
