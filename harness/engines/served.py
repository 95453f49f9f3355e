"""A policy behind a running `vllm serve`, for evaluation: token ids go out over HTTP, token ids come back.

Text prompts go to /v1/completions as ids. Pictures go to /v1/chat/completions with a template that writes the renderer's
own text, so that nothing is formatted twice; the server must allow that (`--trust-request-chat-template`) and leave the
resized pictures alone (`--mm-processor-kwargs '{"do_resize": false}'`). Every answer brings the prompt's ids as the server
read them, and they must be the renderer's. Log-probabilities are what the server reports: start it with
`--logprobs-mode processed_logprobs` where they are wanted at the sampling temperature.
"""

from __future__ import annotations

import base64
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError, EngineError
from harness.core.records import Prompt, Rollout
from harness.engines.base import Engine, Request, engine, incoming
from harness.engines.support.responses import REMEDY, check_request, read_policy, room, whole_rollout
from harness.engines.support.streams import request_seed

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
"""Writes the text parts as they are; it loops over parts, so that the server leaves the image marks to the text."""

BIAS = -100.0
"""Lowest bias that the interface allows: 4e-44 times the odds. A forbidden token that comes all the same is an error."""

PATIENCE = 1800.0
"""Seconds to wait for one prompt's answers."""


@engine.register("served")
class ServedEngine(Engine):
    """Evaluation against a running OpenAI-compatible vLLM server (engine.server)."""

    options = ("server", "seeded")

    def __init__(self, folder: str | Path, server: str, hub_name: str = "", batch: int = 64, seeded: bool = True):
        """`folder`: the policy's own files; `hub_name`: its name there, where it comes from the hub.

        Raises EngineError when the server does not answer or does not serve this policy.
        """
        self.folder, self.batch, self.seeded = Path(folder), batch, seeded
        self.server = server.rstrip("/").removesuffix("/v1")
        self.codec, _, self.multimodal = read_policy(self.folder, None)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.model, self.context = self._served(hub_name)
        self.release = str(self._call("/version", None, 30.0).get("version", "unknown"))
        self.precision = self._precision()

    @classmethod
    def open(
        cls,
        path: str | Path,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        batch: int = 64,
        **settings: Any,
    ) -> ServedEngine:
        """The engine over the server that serves the policy at `path`. Raises ConfigError for an adapter folder."""
        from harness.models import hub

        folder, origin = hub.resolve(path, revision)
        if (folder / "adapter_config.json").is_file():
            raise ConfigError(f"{path} is an adapter, the server needs a whole policy", "serve and name the merged one")
        return cls(folder, hub_name=origin.rpartition("@")[0], batch=batch, **settings)

    def _served(self, hub_name: str) -> tuple[str, int]:
        """The server's name of the policy and its context. What the server calls it is no proof: every run's policy lies in
        a folder of the same name. It counts where the weights come from."""
        found = self._call("/v1/models", None, 30.0).get("data", [])
        for entry in found:
            if same_policy(str(entry.get("root") or ""), self.folder, hub_name):
                return str(entry["id"]), int(entry.get("max_model_len") or 0)
        known = ", ".join(f"{entry.get('id')} from {entry.get('root')}" for entry in found) or "nothing"
        raise EngineError(
            f"{self.server} serves {known}, not the policy in {self.folder}",
            f"start it with: vllm serve {hub_name or self.folder}",
        )

    def _precision(self) -> dict[str, str]:
        """Number format and quantisation, where the server tells them (with VLLM_SERVER_DEV_MODE=1), else "unknown"."""
        try:
            said = str(self._call("/server_info", None, 30.0).get("vllm_config", ""))
        except EngineError:
            said = ""
        found = {
            "dtype": re.search(r"(?:^|, )dtype=(?:torch\.)?(\w+)", said),
            "quantisation": re.search(r"(?:^|, )quantization=(\w+)", said),
        }
        return {name: match[1].lower() if match else "unknown" for name, match in found.items()}

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        """The rollouts of each prompt as its last one finishes; `batch` prompts are with the server at a time. Raises
        EngineError for a request that cannot be answered: before any work for a sequence, when it is pulled for an
        iterator."""
        return self._generate(incoming(requests, lambda r: check_request(r, self.multimodal, self.context)))

    def _generate(self, queue: Iterator[Request]) -> Iterator[Rollout]:
        pool, asked = ThreadPoolExecutor(max_workers=self.batch), set[Future[list[Rollout]]]()
        failure: BaseException | None = None
        try:
            while True:
                while failure is None and len(asked) < self.batch and (request := next(queue, None)):
                    asked.add(pool.submit(self._ask, request))
                if not asked:
                    break
                finished, asked = wait(asked, return_when=FIRST_COMPLETED)
                for done in finished:
                    if (error := done.exception()) is None:
                        yield from done.result()
                    failure = failure or error
            if failure is not None:
                raise failure  # after the answers that were on their way, which are good
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, request: Request) -> list[Rollout]:
        prompt, item = request.prompt, f"item {request.prompt.example_id}"
        place, body = ("/v1/chat/completions", _chat(prompt)) if prompt.images else ("/v1/completions", _text(prompt))
        answer = self._call(place, {**body, **self._parameters(request)}, PATIENCE, item)
        choices = answer.get("choices") or []
        read = answer.get("prompt_token_ids") or (choices[0].get("prompt_token_ids") if choices else None)
        if read is None or any(choice.get("token_ids") is None for choice in choices):
            raise EngineError(f"{self.server} returns no token ids", "serve with vLLM 0.32")
        if tuple(read) != prompt.ids:
            raise EngineError(
                f"{item}: the server reads {len(read)} prompt tokens, the renderer wrote {len(prompt.ids)}",
                "serve the same policy, with the image processor of its own folder",
            )
        if len(choices) != request.sampling.n:
            raise EngineError(f"{item}: {len(choices)} answers instead of {request.sampling.n}", REMEDY)
        return [
            whole_rollout(
                self.codec, request, c["index"], c["finish_reason"], c["token_ids"], _logprobs(c), self.version
            )
            for c in choices
        ]

    def _parameters(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        drawn = sampling.temperature > 0 and self.seeded
        return {
            "model": self.model,
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,  # the server's defaults come from the policy's generation config
            "max_tokens": room(request, self.context),
            "seed": request_seed(request, self.version) if drawn else None,
            "logit_bias": {str(token): BIAS for token in self.codec.forbidden_ids} or None,
            "ignore_eos": True,
            "stop_token_ids": list(self.codec.end_ids),
            "return_token_ids": True,
        }

    def _call(self, place: str, body: dict[str, Any] | None, patience: float, item: str = "") -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.server + place, data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(call, timeout=patience) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise EngineError(
                f"{self.server} refuses {item or place} ({error.code}: {said})",
                "see docs/gpu.md for how to start the server",
            ) from error
        except (OSError, ValueError) as error:
            raise EngineError(
                f"{self.server} does not answer {f'for {item}' if item else place} ({error})",
                f"check engine.server and that the server runs; {REMEDY}",
            ) from error

    def sync(self, tensors: Any, version: int) -> None:
        """Not possible: a server keeps the weights that it was started with. Raises ConfigError."""
        raise ConfigError("a served engine cannot train", "leave engine.server out, or evaluate with --policy")

    def describe(self) -> dict[str, Any]:
        return {"engine": "served", "vllm": self.release, **self.precision}


def same_policy(root: str, folder: Path, hub_name: str) -> bool:
    """Whether a server that loaded `root` serves the policy in `folder`: the same folder, the same hub name, or a copy.

    A relative path says nothing here: the server may have been started anywhere.
    """
    from harness.core.errors import ModelError
    from harness.models import loading

    if hub_name and root == hub_name:
        return True
    place = Path(root)
    if not place.is_absolute() or not place.is_dir():
        return False
    if place.resolve() == folder.resolve():
        return True
    try:
        return loading.digest(place) == loading.digest(folder)
    except ModelError:
        return False


def _text(prompt: Prompt) -> dict[str, Any]:
    return {"prompt": list(prompt.engine_ids), "logprobs": 0}


def _chat(prompt: Prompt) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": _png(image)}} for image in prompt.images]
    return {
        "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": prompt.text}]}],
        "chat_template": TEMPLATE,
        "add_generation_prompt": False,
        "add_special_tokens": False,
        "logprobs": True,
        "top_logprobs": 0,
    }


def _png(image: Any) -> str:
    """A picture without loss, as a data address."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _logprobs(choice: dict[str, Any]) -> list[float]:
    found = choice.get("logprobs") or {}
    if "token_logprobs" in found:
        return [float(value) for value in found["token_logprobs"]]
    return [float(token["logprob"]) for token in found.get("content") or []]
