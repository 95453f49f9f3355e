"""The records that travel the path: Example -> Prompt -> Rollout -> Verdict -> Sample.

All are frozen and slotted. Token ids are the only truth from engine to loss; text is a view for the verifier. No torch.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.core import pictures
from harness.core.errors import DataError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SCHEMA = 1
"""Version of every file written from these records."""


class AnswerType(enum.StrEnum):
    """How a gold answer is read and compared. A choice never goes through LaTeX."""

    CHOICE = "choice"
    INTEGER = "integer"
    FLOAT = "float"
    EXPRESSION = "expression"
    LIST = "list"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A typed gold answer.

    `golds`: any one of them is right; for LIST they are the elements, in order. A CHOICE gold is its letter.
    `choices`: option texts in letter order (empty strings where the option is inside the picture).
    `precision`: decimals that count for FLOAT (None: relative 1e-6).
    """

    type: AnswerType
    golds: tuple[str, ...]
    choices: tuple[str, ...] = ()
    precision: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text part of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """An image part of a message: the index into `Example.images`."""

    index: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `parts` in reading order."""

    role: str
    parts: tuple[Text | ImageSlot, ...]


@dataclass(frozen=True, slots=True)
class LazyImage:
    """An image that is opened only when needed. `name` says where it comes from; `load` returns a PIL image."""

    name: str
    load: Callable[[], Image.Image] = field(repr=False, compare=False)

    def open(self, item: str) -> Image.Image:
        """The image in RGB, upright, on white, fully read. Raises ImageError naming `item` when it is missing, broken or
        far too large."""
        try:
            return pictures.rgb(self.load())
        except FileNotFoundError as error:
            raise ImageError(
                f"item {item}: image {self.name} is missing", "fetch it or drop the item with --ids"
            ) from error
        except pictures.bomb() as error:
            raise ImageError(
                f"item {item}: image {self.name} has too many pixels ({error})",
                "drop the item with --ids, or shrink it",
            ) from error
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise ImageError(f"item {item}: image {self.name} is broken ({error})", "fetch it again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One item of a task. `task` is the full name with its split; `solution` is worked text for supervised data.

    `rule` names the benchmark's own answer rule as `module:function` (see rewards.verifier); "" means that the strict
    rule is also the official one. `note` marks a gold known to be wrong or an item known to be duplicated.
    """

    id: str
    task: str
    messages: tuple[Message, ...]
    answer: Answer
    images: tuple[LazyImage, ...] = ()
    solution: str | None = None
    rule: str = ""
    note: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises DataError, naming the item, for golds that no response could be compared with."""
        golds = self.answer.golds
        if not isinstance(golds, tuple) or not all(isinstance(g, str) for g in golds):
            raise DataError(
                f"item {self.id} of {self.task}: golds are {golds!r}, not texts in a tuple", 'write golds=("7",)'
            )
        if not all(g.strip() for g in golds):
            raise DataError(f"item {self.id} of {self.task}: a gold is empty", "leave golds empty where none is known")

    @property
    def question(self) -> str:
        """The text of all user turns."""
        return "\n".join(p.text for m in self.messages for p in m.parts if isinstance(p, Text) and m.role == "user")


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """Bounds on the pixels of one resized image; the same object serves engine, trainer and evaluator."""

    min_pixels: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class ImagePatches:
    """What the vision tower sees of all images of one prompt.

    patches: float32 [n, channels * temporal * patch * patch] (1176 for Qwen2.5-VL); grid: int64 [images, 3] of (t, h, w)
    in patches; sha256 of both.
    """

    patches: np.ndarray
    grid: np.ndarray
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStyle:
    """What a recipe or a method puts around a question.

    system: text of the system turn; "" is an explicit empty one, None is none at all. prefix, suffix: surround the user's
    text. default_system: where `system` is None, a system turn that the policy's own template inserts stays; else it goes.
    """

    system: str | None = None
    prefix: str = ""
    suffix: str = ""
    default_system: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A rendered example.

    ids: token ids with image pads expanded [P]; engine_ids: one pad per image (what vLLM wants); mm_token_type_ids: 1 at
    image tokens [P], None for text. `images` are already resized to the pixel budget, so that a later processor is a no-op.
    """

    example_id: str
    ids: tuple[int, ...]
    engine_ids: tuple[int, ...]
    text: str
    template_hash: str
    images: tuple[Image.Image, ...] = ()
    patches: ImagePatches | None = None
    mm_token_type_ids: tuple[int, ...] | None = None
    pixel_budget: PixelBudget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. temperature 0 is greedy; `seed` keys the stream together with prompt and sample index."""

    max_new_tokens: int
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


class Finish(enum.StrEnum):
    """Why a rollout ended."""

    STOP = "stop"
    LENGTH = "length"
    PROMPT_TOO_LONG = "prompt_too_long"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One response. `token_ids` [T] end with the end token when there is one; `logprobs` [T] are the engine's, at the
    sampling temperature, after forbidden tokens are masked."""

    prompt_id: str
    sample_index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    text: str
    sampling: Sampling | None = None
    policy_version: int = 0


class Status(enum.StrEnum):
    """Right, wrong, or not graded: never a bare number."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNGRADED = "ungraded"


class Side(enum.StrEnum):
    """Whose fault an UNGRADED verdict is. INSTRUMENT: gold unparseable, judge failed, worker lost; in training the row
    leaves the statistics. ANSWER: the reply itself broke the deadline or the caps; in training it counts as incorrect."""

    INSTRUMENT = "instrument"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the verifier says of one response under one protocol (`official` or `strict`)."""

    status: Status
    protocol: str
    reason: str
    extracted: str | None = None
    side: Side | None = None
    seconds: float = 0.0

    @property
    def correct(self) -> bool:
        return self.status is Status.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of samples.jsonl, of training and of evaluation: everything needed to score the log again without a model.

    step: the training step that the sample belongs to, from 1; None in an evaluation.
    """

    id: str
    sample_index: int
    task: str
    response: str
    gold: str
    verdict: Status
    extracted: str | None
    reason: str
    protocol: str
    side: Side | None = None
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finish: str = ""
    tokens: int = 0
    rewards: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    question: str = ""
    image_sha256: str = ""
    policy_version: int = 0
    seconds: float = 0.0
    step: int | None = None
    schema: int = SCHEMA
