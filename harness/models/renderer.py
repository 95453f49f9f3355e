"""The one renderer: an Example becomes a Prompt, for training, validation and evaluation alike.

Chat template, system turn and images are applied here and nowhere else. What flows out holds token ids with image pads
expanded, the ids an engine wants, the images resized once, and their patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.config import digest
from harness.core.errors import ConfigError, DataError, ImageError
from harness.core.records import Example, ImagePatches, ImageSlot, Message, PixelBudget, Prompt, PromptStyle, Text
from harness.models.codec import Codec

if TYPE_CHECKING:
    from PIL import Image
    from transformers import GenerationConfig, PreTrainedTokenizerBase, ProcessorMixin

    from harness.models.loading import Loaded

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% if message['content'] %}{{ message['content'] }}\n\n{% endif %}"
    "{% elif message['role'] == 'user' %}Question: {{ message['content'] }}\n\n"
    "{% else %}Answer: {{ message['content'] }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer: {% endif %}"
)
"""For base models whose tokenizer brings no chat template."""

MAX_RATIO = 100
"""Longest aspect ratio rendered: half of what Qwen's processors accept, as rounding a thin side can double the ratio."""


def forbidden_ids(loaded: Loaded) -> tuple[int, ...]:
    """Ids that a policy may not sample, for whoever needs them without a renderer."""
    return Codec.of(loaded).forbidden_ids


class Renderer:
    """Renders examples for one policy under one style and one pixel budget.

    `generation_config` gives the end tokens (else the tokenizer's own), `vocab_size` the rows of the embedding, of which
    those behind the tokenizer are forbidden. `Renderer.of(loaded, ...)` takes both from the policy.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        processor: ProcessorMixin | None,
        style: PromptStyle,
        budget: PixelBudget,
        *,
        generation_config: GenerationConfig | None = None,
        vocab_size: int | None = None,
    ) -> None:
        self.tokenizer, self.processor, self.style, self.budget = tokenizer, processor, style, budget
        self.template: str = tokenizer.chat_template or PLAIN_TEMPLATE
        self.codec = Codec(tokenizer, generation_config, vocab_size or 0)
        self.end_ids, self.pad_id = self.codec.end_ids, self.codec.pad_id
        self.forbidden_ids = self.codec.forbidden_ids
        self._check_style()

    @classmethod
    def of(cls, loaded: Loaded, style: PromptStyle, budget: PixelBudget) -> Renderer:
        """The renderer of a loaded policy."""
        from harness.models.loading import embedding_rows

        return cls(
            loaded.tokenizer,
            loaded.processor,
            style,
            budget,
            generation_config=loaded.generation_config,
            vocab_size=embedding_rows(loaded.model),
        )

    @classmethod
    def read(cls, path: str | Path, revision: str | None, style: PromptStyle, budget: PixelBudget) -> Renderer:
        """The renderer of a policy that is not loaded: its files are read, its weights are not."""
        from harness.models.loading import reading

        found = reading(path, revision)
        return cls(
            found.tokenizer,
            found.processor,
            style,
            budget,
            generation_config=found.generation_config,
            vocab_size=found.rows,
        )

    @cached_property
    def hash(self) -> str:
        """Content hash of chat template, style and pixel budget."""
        style, budget = self.style, self.budget
        pixels = (budget.min_pixels, budget.max_pixels) if self.processor is not None else None
        kept = ("default system turn",) if style.default_system else ()
        return digest(self.template, style.system, style.prefix, style.suffix, pixels, *kept)

    def render(self, example: Example) -> Prompt:
        """The prompt of an example, ending where the response begins; never truncated.

        Raises ImageError or DataError naming the item, ConfigError when the template cannot express the style.
        """
        messages = self._messages(example)
        text = self._apply(messages, generation=True)
        if messages[0]["role"] != "system" and not self.style.default_system:
            text = self._without_default_system(text)
        engine_ids = self._encode(text)
        slots = [p.index for m in example.messages for p in m.parts if isinstance(p, ImageSlot)]
        if not slots:
            return Prompt(
                example_id=example.id, ids=engine_ids, engine_ids=engine_ids, text=text, template_hash=self.hash
            )
        images = tuple(self._resized(example, index) for index in slots)
        patches = self._patches(images)
        ids = self._expand(example.id, engine_ids, patches)
        return Prompt(
            example_id=example.id,
            ids=ids,
            engine_ids=engine_ids,
            text=text,
            template_hash=self.hash,
            images=images,
            patches=patches,
            mm_token_type_ids=tuple(int(i == self._image_id) for i in ids),
            pixel_budget=self.budget,
        )

    def render_solution(self, example: Example) -> tuple[int, ...]:
        """Response ids of the worked solution, end token included. Raises DataError when the item has none."""
        if not example.solution or not example.solution.strip():
            raise DataError(f"{example.task} item {example.id} has no worked solution", "use a split that has them")
        return (*self._encode(self._harmless(example.solution.strip())), self._turn_end)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text, as within a response: no template, and control tokens in it are read as text."""
        return self._encode(self._harmless(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The verifier's view of a response: without control tokens and without the end token."""
        return self.codec.decode(ids)

    # ------------------------------------------------------------------------------------------------ text

    def _messages(self, example: Example) -> list[dict[str, Any]]:
        """The example's turns with the style around them. A system turn of the style replaces the example's own."""
        turns = list(example.messages)
        if self.style.system is not None:
            turns = [Message("system", (Text(self.style.system),)), *(m for m in turns if m.role != "system")]
        users = [n for n, m in enumerate(turns) if m.role == "user"]
        if not users or turns[-1].role != "user":
            raise DataError(f"{example.task} item {example.id} does not end with a user turn", "mend its messages")
        turns[users[-1]] = self._surround(turns[users[-1]])
        return [{"role": m.role, "content": self._content(example, m)} for m in turns]

    def _surround(self, message: Message) -> Message:
        """Prefix before the first text of the turn, suffix behind its last."""
        parts = list(message.parts)
        texts = [n for n, p in enumerate(parts) if isinstance(p, Text)]
        if not texts:
            return Message(message.role, (*parts, Text(self.style.prefix + self.style.suffix)))
        for place, before, after in ((texts[0], self.style.prefix, ""), (texts[-1], "", self.style.suffix)):
            part = parts[place]
            assert isinstance(part, Text)
            parts[place] = Text(before + part.text + after)
        return Message(message.role, tuple(parts))

    def _content(self, example: Example, message: Message) -> str | list[dict[str, str]]:
        """One string for text alone, as every template reads; parts where there is an image."""
        if all(isinstance(p, Text) for p in message.parts):
            return self._harmless("".join(p.text for p in message.parts if isinstance(p, Text)))
        if self.processor is None:
            raise DataError(
                f"{example.task} item {example.id} has an image, the policy reads text only", "use --model tiny-vl"
            )
        return [
            {"type": "text", "text": self._harmless(p.text)} if isinstance(p, Text) else {"type": "image"}
            for p in message.parts
        ]

    @cached_property
    def _control(self) -> tuple[str, ...]:
        special = {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        return tuple(sorted(special | set(self.tokenizer.all_special_tokens), key=len, reverse=True))

    def _harmless(self, text: str) -> str:
        """Data cannot write control tokens: a blank behind the first character makes each plain text."""
        for token in self._control:
            if token in text:
                text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text

    def _apply(self, messages: list[dict[str, Any]], generation: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, chat_template=self.template, tokenize=False, add_generation_prompt=generation
                )
            )
        except TemplateError as error:
            remedy = "set rendering.system to null" if messages[0]["role"] == "system" else "use another policy"
            raise ConfigError(f"the policy's chat template refuses the turns ({error})", remedy) from error

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _default_head(self) -> tuple[str, str]:
        """What the template writes before a first user turn (begin token, perhaps a system turn), and the begin token.

        A later user turn shows how the turn alone looks; what precedes it in a first turn is the head.
        """
        user, reply = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
        first = self._apply([user], generation=True)
        before = self._apply([user, reply], generation=False)
        both = self._apply([user, reply, user], generation=True)
        turn = both[len(before) :]
        if not both.startswith(before) or not first.endswith(turn):
            raise ConfigError(
                "the policy's chat template hides its system turn", "set rendering.system, for example to ''"
            )
        head, begin = first[: len(first) - len(turn)], str(self.tokenizer.bos_token or "")
        opens = (
            begin and head.startswith(begin) and not turn.startswith(begin)
        )  # a begin token may also open every turn
        return head, begin if opens else ""

    def _without_default_system(self, text: str) -> str:
        head, begin = self._default_head
        if not text.startswith(head):
            raise ConfigError(
                "the policy's chat template hides its system turn", "set rendering.system, for example to ''"
            )
        return begin + text[len(head) :]

    def _check_style(self) -> None:
        """The asked system turn, even an empty one, is in the rendered text, and no other."""
        system = self.style.system
        if system is None:
            if not self.style.default_system:
                self._default_head  # noqa: B018  # raises when the template cannot do without
            return
        turns = [{"role": "system", "content": self._harmless(system)}, {"role": "user", "content": "x"}]
        text = self._apply(turns, generation=True)
        if self._harmless(system).strip() not in text:
            raise ConfigError("the policy's chat template drops the system turn", "set rendering.system to null")
        default = self._apply(turns[1:], generation=True)
        if not system and text == default and self._default_head[0] != self._default_head[1]:
            raise ConfigError(
                "the policy's chat template replaces an empty system turn", "set rendering.system to null"
            )

    @cached_property
    def _turn_end(self) -> int:
        """The end token with which the template closes a reply, else the first end token."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
        opened = self._apply(turns[:1], generation=True) + "y"
        closed = self._apply(turns, generation=False)
        after = self._encode(closed[len(opened) :]) if closed.startswith(opened) else ()
        return after[0] if after and after[0] in self.end_ids else self.end_ids[0]

    # ------------------------------------------------------------------------------------------------ images

    @cached_property
    def _image_processor(self) -> Any:
        return getattr(self.processor, "image_processor", None)

    @cached_property
    def _image_id(self) -> int:
        return int(getattr(self.processor, "image_token_id"))  # noqa: B009

    def _resized(self, example: Example, index: int) -> Image.Image:
        """The image at its final size: multiples of the patch unit within the budget, which a processor leaves as it is."""
        from qwen_vl_utils import fetch_image, smart_resize

        if not 0 <= index < len(example.images):
            raise ImageError(
                f"{example.task} item {example.id} has no image {index}", f"it brings {len(example.images)}"
            )
        image = self._widened(example.images[index].open(example.id))
        patch, bounds = self._image_processor.patch_size, (self.budget.min_pixels, self.budget.max_pixels)
        unit = patch * self._image_processor.merge_size
        height, width = smart_resize(image.height, image.width, unit, *bounds)
        if not height or not width or smart_resize(height, width, unit, *bounds) != (height, width):
            raise ConfigError(
                f"{example.task} item {example.id}: no size of {image.width} x {image.height} pixels fits the budget {bounds}",
                "lower rendering.min_pixels or raise rendering.max_pixels",
            )
        source = {"image": image, "min_pixels": self.budget.min_pixels, "max_pixels": self.budget.max_pixels}
        return fetch_image(source, image_patch_size=patch)

    def _widened(self, image: Image.Image) -> Image.Image:
        """A strip too thin for the processor, or for one row of patches in the budget, gets a white margin."""
        from PIL import Image as Pil

        unit = self._image_processor.patch_size * self._image_processor.merge_size
        ratio = min(MAX_RATIO, max(1, self.budget.max_pixels // unit**2 - 1))
        side = -(-max(image.size) // ratio)
        if min(image.size) >= side:
            return image
        canvas = Pil.new("RGB", (max(image.width, side), max(image.height, side)), "white")
        canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
        return canvas

    def _patches(self, images: Sequence[Image.Image]) -> ImagePatches:
        """Patches [n, 1176] and grids [images, 3] of images that already have their size."""
        import numpy as np

        features = self._image_processor(images=list(images), do_resize=False, return_tensors="pt")
        patches = np.ascontiguousarray(features["pixel_values"].float().numpy())
        grid = np.ascontiguousarray(features["image_grid_thw"].numpy().astype(np.int64))
        sha256 = hashlib.sha256(patches.tobytes() + grid.tobytes()).hexdigest()
        return ImagePatches(patches, grid, sha256)

    def _expand(self, item: str, engine_ids: tuple[int, ...], patches: ImagePatches) -> tuple[int, ...]:
        """Each image pad repeated once per merged patch. Raises ImageError naming the item when the counts disagree."""
        counts = [int(n) for n in patches.grid.prod(axis=1) // self._image_processor.merge_size**2]
        pads = engine_ids.count(self._image_id)
        if pads != len(counts):
            raise ImageError(
                f"item {item}: {pads} image tokens for {len(counts)} images", "check the policy's chat template"
            )
        ids: list[int] = []
        remaining = iter(counts)
        for token in engine_ids:
            ids.extend([token] * (next(remaining) if token == self._image_id else 1))
        merged = patches.patches.shape[0] // self._image_processor.merge_size**2
        if ids.count(self._image_id) != merged:
            raise ImageError(
                f"item {item}: {ids.count(self._image_id)} image tokens for {merged} image features", "report it"
            )
        return tuple(ids)
