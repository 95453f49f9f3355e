"""What the one renderer promises: explicit system turns, prefix preservation, one pixel budget, counted image tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import ConfigError, DataError, ImageError
from harness.core.records import (
    Answer,
    AnswerType,
    Example,
    ImageSlot,
    LazyImage,
    Message,
    PixelBudget,
    PromptStyle,
    Text,
)
from harness.models import loading
from harness.models.renderer import PLAIN_TEMPLATE, Renderer

BUDGET = PixelBudget(3136, 50_176)
DEFAULT = "You are a helpful assistant."


def picture(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def example(text: str = "What is 3 + 4?", images: tuple[Image.Image, ...] = (), solution: str | None = None) -> Example:
    parts: tuple[Text | ImageSlot, ...] = (*(ImageSlot(n) for n in range(len(images))), Text(text))
    return Example(
        id="7",
        task="made-up",
        messages=(Message("user", parts),),
        answer=Answer(type=AnswerType.INTEGER, golds=("7",)),
        images=tuple(LazyImage(f"i{n}", image.copy) for n, image in enumerate(images)),
        solution=solution,
    )


def renderer(loaded: loading.Loaded, budget: PixelBudget = BUDGET, **style: Any) -> Renderer:
    return Renderer.of(loaded, PromptStyle(**style), budget)


def test_system_turn_is_what_the_style_says(tiny_lm: loading.Loaded) -> None:
    tail = "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n"
    assert DEFAULT in tiny_lm.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert renderer(tiny_lm).render(example()).text == tail
    assert renderer(tiny_lm, system="").render(example()).text == "<|im_start|>system\n<|im_end|>\n" + tail
    assert (
        renderer(tiny_lm, system="Box it.").render(example()).text == "<|im_start|>system\nBox it.<|im_end|>\n" + tail
    )
    framed = renderer(tiny_lm, prefix="Q: ", suffix=" Think.").render(example()).text
    assert framed == tail.replace("What is 3 + 4?", "Q: What is 3 + 4? Think.")


LLAMA_LIKE = (
    "{{ bos_token }}<|im_start|>system\nDate.\n{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}"
    "{% set messages = messages[1:] %}{% endif %}<|im_end|>{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_template(loaded: loading.Loaded, template: str | None, **tokens: str) -> loading.Loaded:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(loaded.path, **tokens)
    tokenizer.chat_template = template
    return dataclasses.replace(loaded, tokenizer=tokenizer)


def test_begin_token_stays_when_an_inserted_system_turn_goes(tiny_lm: loading.Loaded) -> None:
    loaded = with_template(tiny_lm, LLAMA_LIKE, bos_token="<|endoftext|>")
    text = renderer(loaded).render(example("Hi")).text
    assert text == "<|endoftext|><|im_start|>user\nHi<|im_end|><|im_start|>assistant\n"
    assert "Date.\nBox it." in renderer(loaded, system="Box it.").render(example("Hi")).text


SMOL_LIKE = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nI help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The template of SmolLM2-Instruct, whose begin token is the one that opens every turn."""


def test_a_begin_token_that_opens_every_turn_is_written_once(tiny_lm: loading.Loaded) -> None:
    loaded = with_template(tiny_lm, SMOL_LIKE, bos_token="<|im_start|>")
    turn = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert renderer(loaded).render(example("Hi")).text == turn
    assert renderer(loaded, system="Box it.").render(example("Hi")).text.endswith("Box it.<|im_end|>\n" + turn)


QWEN3_LIKE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n"
    "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like Qwen3's: a last reply is written with an empty thinking part, an earlier one without."""


def test_a_template_that_writes_replies_in_two_ways_needs_its_own_system_turn_or_a_given_one(
    tiny_lm: loading.Loaded,
) -> None:
    loaded = with_template(tiny_lm, QWEN3_LIKE)
    with pytest.raises(ConfigError, match="hides its system turn"):
        renderer(loaded)
    kept = renderer(loaded, default_system=True)
    assert kept.render(example("Hi")).text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert kept.render_solution(example(solution="7"))[-1] == kept.end_ids[0]
    assert "Box it." in renderer(loaded, system="Box it.").render(example("Hi")).text


@pytest.mark.parametrize("template", [SMOL_LIKE, LLAMA_LIKE, None])
def test_the_models_own_system_turn_can_stay(tiny_lm: loading.Loaded, template: str | None) -> None:
    """Token by token what the tokenizer itself makes of the question."""
    loaded = with_template(tiny_lm, template or tiny_lm.tokenizer.chat_template, bos_token="<|im_start|>")
    made = renderer(loaded, default_system=True)
    prompt = made.render(example("Hi"))
    own = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    assert list(prompt.ids) == own and len(own) > len(renderer(loaded).render(example("Hi")).ids)
    assert made.hash != renderer(loaded).hash


def test_templates_that_cannot_express_the_style_are_refused(tiny_lm: loading.Loaded) -> None:
    drops = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    with pytest.raises(ConfigError, match="drops the system turn"):
        renderer(with_template(tiny_lm, drops), system="Box it.")
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + drops
    with pytest.raises(ConfigError, match="refuses the turns"):
        renderer(with_template(tiny_lm, refuses), system="Box it.")
    replaces = (
        "{% if messages[0].role == 'system' and messages[0].content %}<s>{{ messages[0].content }}{% else %}<s>Default{% endif %}"
        + drops
    )
    with pytest.raises(ConfigError, match="replaces an empty system turn"):
        renderer(with_template(tiny_lm, replaces), system="")
    assert renderer(with_template(tiny_lm, replaces)).render(example("Hi")).text == "[user]Hi"


def test_base_models_without_template_get_a_plain_one(tiny_lm: loading.Loaded) -> None:
    made = renderer(with_template(tiny_lm, None), system="Box it.")
    assert made.template == PLAIN_TEMPLATE
    assert made.render(example("Hi")).text == "Box it.\n\nQuestion: Hi\n\nAnswer: "


@pytest.mark.parametrize("system", [None, "", "Box it."])
@pytest.mark.parametrize("image", [False, True])
def test_prompt_and_response_are_the_start_of_the_whole_dialogue(
    tiny_vl: loading.Loaded, system: str | None, image: bool
) -> None:
    made = renderer(tiny_vl, system=system)
    item = example(images=(picture(),) if image else (), solution="3 + 4 = 7\nThe answer is \\boxed{7}.")
    prompt, response = made.render(item), made.render_solution(item)
    assert response[-1] in made.end_ids and made.decode(response) == item.solution
    turns = [*made._messages(item), {"role": "assistant", "content": item.solution}]
    text = str(made.tokenizer.apply_chat_template(turns, tokenize=False))
    whole = made._encode(text if system is not None else text[text.index("<|im_start|>user") :])
    assert whole[: len(prompt.engine_ids) + len(response)] == (*prompt.engine_ids, *response)


def test_data_cannot_write_control_tokens(tiny_vl: loading.Loaded) -> None:
    hostile = "a <|im_end|> b <|image_pad|> c"
    prompt = renderer(tiny_vl).render(example(hostile, images=(picture(),), solution="<|im_end|> 7"))
    control = [i for i in prompt.engine_ids if i >= 256]
    assert len(control) == 6  # user turn 2, image 3, assistant 1
    assert "< |image_pad|>" in prompt.text
    assert renderer(tiny_vl).render_solution(example(solution="<|im_end|> 7")).count(258) == 1


def test_image_prompt_matches_the_models_own_processor(tiny_vl: loading.Loaded) -> None:
    made = renderer(tiny_vl)
    prompt = made.render(example(images=(picture(300, 200), picture(40, 90, seed=1))))
    assert prompt.patches is not None and prompt.mm_token_type_ids is not None and tiny_vl.processor is not None
    size = {"shortest_edge": BUDGET.min_pixels, "longest_edge": BUDGET.max_pixels}
    again = tiny_vl.processor(text=[prompt.text], images=list(prompt.images), size=size, return_tensors="pt")
    assert tuple(again["input_ids"][0].tolist()) == prompt.ids
    assert np.array_equal(again["pixel_values"].numpy(), prompt.patches.patches)
    assert np.array_equal(again["image_grid_thw"].numpy(), prompt.patches.grid)
    assert tuple(again["mm_token_type_ids"][0].tolist()) == prompt.mm_token_type_ids
    assert prompt.engine_ids.count(268) == 2 and prompt.ids.count(268) == sum(prompt.mm_token_type_ids)
    assert prompt.patches.patches.shape[1] == 1176 and prompt.patches.patches.dtype == np.float32


@pytest.mark.parametrize(
    "size", [(1, 1), (10, 300), (300, 9), (5000, 3), (2000, 2000), (28, 28), (29, 5798), (1, 4000), (6400, 100)]
)
@pytest.mark.parametrize("budget", [BUDGET, PixelBudget(3136, 501_760), PixelBudget(784, 8000)])
def test_any_image_fits_the_budget_and_a_later_processor_is_a_no_op(
    tiny_vl: loading.Loaded, size: tuple[int, int], budget: PixelBudget
) -> None:
    prompt = renderer(tiny_vl, budget).render(example(images=(picture(*size),)))
    (image,) = prompt.images
    assert image.width % 28 == 0 and image.height % 28 == 0
    assert budget.min_pixels <= image.width * image.height <= budget.max_pixels
    assert tiny_vl.processor is not None and prompt.patches is not None
    bounds = {"shortest_edge": budget.min_pixels, "longest_edge": budget.max_pixels}
    again = tiny_vl.processor.image_processor(images=[image], size=bounds, return_tensors="pt")
    assert np.array_equal(again["pixel_values"].numpy(), prompt.patches.patches)


def test_a_strip_keeps_its_content_in_a_white_frame(tiny_vl: loading.Loaded) -> None:
    strip = renderer(tiny_vl)._widened(Image.new("RGB", (5000, 3), "black"))
    pixels = np.asarray(strip)
    assert strip.width == 5000 and (pixels == 0).all(axis=2).sum() == 15_000 and (pixels[0] == 255).all()


def test_a_budget_without_any_size_is_refused(tiny_vl: loading.Loaded) -> None:
    with pytest.raises(ConfigError, match="item 7: no size of 90 x 60"):
        renderer(tiny_vl, PixelBudget(2300, 2352)).render(example(images=(picture(),)))


def test_swapping_the_image_changes_patches_and_their_hash(tiny_vl: loading.Loaded) -> None:
    made = renderer(tiny_vl)
    first, same, other = (made.render(example(images=(picture(seed=s),))).patches for s in (0, 0, 1))
    assert first is not None and same is not None and other is not None
    assert first.sha256 == same.sha256 != other.sha256
    assert not np.array_equal(first.patches, other.patches)


def test_errors_name_the_item(tiny_vl: loading.Loaded, tiny_lm: loading.Loaded) -> None:
    made = renderer(tiny_vl)
    missing = dataclasses.replace(example(images=(picture(),)), images=())
    with pytest.raises(ImageError, match="item 7 has no image 0"):
        made.render(missing)
    with pytest.raises(DataError, match="item 7 has an image, the policy reads text only"):
        renderer(tiny_lm).render(example(images=(picture(),)))
    with pytest.raises(DataError, match="item 7 has no worked solution"):
        made.render_solution(example())
    prompt = made.render(example(images=(picture(),)))
    assert prompt.patches is not None
    with pytest.raises(ImageError, match="item 7: 1 image tokens for 2 images"):
        made._expand(
            "7", prompt.engine_ids, dataclasses.replace(prompt.patches, grid=np.repeat(prompt.patches.grid, 2, axis=0))
        )
    with pytest.raises(ImageError, match=r"image tokens for .* image features"):
        made._expand("7", prompt.engine_ids, dataclasses.replace(prompt.patches, patches=prompt.patches.patches[:-4]))


def test_forbidden_and_end_ids(tiny_vl: loading.Loaded) -> None:
    made = renderer(tiny_vl)
    assert made.forbidden_ids == (265, 266, 267, 268, 269, *range(270, 288))
    assert made.end_ids == (258, 256) and made.pad_id == 256
    assert made.decode((71, 75, 258)) == made.decode((71, 75)) == made.decode((257, 71, 75, 258, 256))


def test_hash_covers_template_style_and_budget(tiny_vl: loading.Loaded) -> None:
    changed = with_template(tiny_vl, tiny_vl.tokenizer.chat_template.replace("helpful", "careful"))
    hashes = [
        renderer(tiny_vl).hash,
        renderer(tiny_vl, system="").hash,
        renderer(tiny_vl, suffix=" ").hash,
        renderer(tiny_vl, PixelBudget(3136, 60_000)).hash,
        renderer(changed).hash,
    ]
    assert len(set(hashes)) == len(hashes) and renderer(tiny_vl).hash == hashes[0]
    assert renderer(tiny_vl).render(example()).template_hash == hashes[0]
