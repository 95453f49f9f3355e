"""What engines that are not ours have in common: a policy's facts without its weights, and answers as whole rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import EngineError
from harness.core.records import Finish, Rollout
from harness.engines.base import Request
from harness.models.codec import Codec

REMEDY = "run the same command again, which resumes; what was logged is kept"


def read_policy(folder: Path, context: int | None) -> tuple[Codec, int, bool]:
    """Codec, context and whether it reads images, from the policy's files; no weight is read."""
    from harness.models import hub, loading

    found = loading.reading(folder)
    config = hub.read_config(found.folder)
    allowed = int(config.get_text_config().max_position_embeddings)
    codec = Codec(found.tokenizer, found.generation_config, found.rows)
    return codec, min(context or allowed, allowed), hub.ARCHITECTURES[config.model_type]


def check_request(request: Request, multimodal: bool, context: int) -> None:
    """Raises EngineError for a request that vLLM cannot answer, before any work."""
    prompt, sampling, item = request.prompt, request.sampling, f"item {request.prompt.example_id}"
    if sampling.max_new_tokens < 1 or sampling.n < 1:
        raise EngineError(f"{item}: max_new_tokens {sampling.max_new_tokens}, n {sampling.n}", "both must be 1 or more")
    if prompt.images and not multimodal:
        raise EngineError(f"{item} has an image, the policy reads text only", "use --model tiny-vl")
    if request.prefix:
        raise EngineError(
            f"{item}: vLLM cannot score the tokens of a given prefix as it scores sampled ones",
            "use --engine transformers",
        )
    if len(prompt.ids) >= context:
        raise EngineError(
            f"{item}: {len(prompt.ids)} prompt tokens leave no room in the context of {context}",
            "raise engine.context, or leave the item out",
        )


def room(request: Request, context: int) -> int:
    """Most tokens of a response: as asked, or up to where the context is full."""
    return min(request.sampling.max_new_tokens, context - len(request.prompt.ids))


def whole_rollout(
    codec: Codec,
    request: Request,
    index: int,
    reason: str,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    version: int,
) -> Rollout:
    """A finished sample as a record. Raises EngineError for a forbidden token, and for one that is not whole."""
    item = request.prompt.example_id
    banned = set(tokens) & set(codec.forbidden_ids)
    if banned:
        token = min(banned)
        raise EngineError(
            f"a rollout of item {item} contains the forbidden token {token} ({codec.name(token)})",
            "it may not be sampled",
        )
    if reason not in ("stop", "length") or len(tokens) != len(logprobs) or not tokens:
        raise EngineError(f"vLLM ended a rollout of item {item} with '{reason}'", REMEDY)
    return Rollout(
        prompt_id=item,
        sample_index=index,
        token_ids=tuple(tokens),
        logprobs=tuple(logprobs),
        finish=Finish.STOP if tokens[-1] in codec.end_ids else Finish.LENGTH,
        text=codec.decode(tokens),
        sampling=request.sampling,
        policy_version=version,
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
