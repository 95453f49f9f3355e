"""What token ids mean for one policy: which end a response, which may never be sampled, how they read as text.

A loaded policy (or its tokenizer and generation config) flows in; engines, renderer and trainer ask this one object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.core.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.models.loading import Loaded

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
"""Never sampled: each would claim an image that is not there."""


@dataclass(frozen=True)
class Codec:
    """Ids of one policy. `rows`: rows of its embedding, of which those behind the tokenizer are no tokens (0: not known).

    End tokens come from the generation config, else from the tokenizer; without any, `end_ids` raises ConfigError.
    """

    tokenizer: PreTrainedTokenizerBase
    generation_config: Any = None
    rows: int = 0

    @classmethod
    def of(cls, loaded: Loaded) -> Codec:
        """The codec of a loaded policy."""
        from harness.models.loading import embedding_rows

        return cls(loaded.tokenizer, loaded.generation_config, embedding_rows(loaded.model))

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        ends = getattr(self.generation_config, "eos_token_id", None)
        ends = self.tokenizer.eos_token_id if ends is None else ends
        found = tuple(int(i) for i in ends) if isinstance(ends, list | tuple) else () if ends is None else (int(ends),)
        if not found:
            raise ConfigError("the policy names no end token", "set eos_token_id in its generation_config.json")
        return found

    @cached_property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self.end_ids[0] if pad is None else int(pad)  # type: ignore[arg-type]

    @cached_property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Ids that may not be sampled: vision tokens, and embedding rows that are no token; never an end token."""
        vocabulary = self.tokenizer.get_vocab()
        vision = {vocabulary[token] for token in VISION_TOKENS if token in vocabulary}
        beyond = range(max(vocabulary.values()) + 1, self.rows)
        return tuple(sorted({*vision, *beyond} - set(self.end_ids)))

    def decode(self, ids: Sequence[int]) -> str:
        """The verifier's view of a response: without control tokens and without the end token."""
        kept = list(ids)
        while kept and kept[-1] in self.end_ids:
            kept.pop()
        return str(self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def name(self, token: int) -> str:
        """How a token is called in an error."""
        return str(self.tokenizer.convert_ids_to_tokens(token) or "no token")
