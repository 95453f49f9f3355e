"""The transformers engine against independent references: whole-sequence forwards and `model.generate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import ConfigError, EngineError, UnknownNameError
from harness.core.records import Finish, Prompt, PromptStyle, Rollout, Sampling
from harness.engines import create
from harness.engines.base import Request
from harness.engines.support.kv_cache import RowCache
from harness.engines.transformers import TransformersEngine
from harness.models import loading
from harness.models.codec import Codec
from harness.models.renderer import Renderer
from harness.models.weights import named_weights
from tests.harness.models.test_renderer import BUDGET, example, picture
from trainers.weight_bank import export


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Every weight once by the name that it has in a saved folder."""
    return dict(export(model))


Results = dict[tuple[str, int], Rollout]


def sharpen(loaded: loading.Loaded) -> loading.Loaded:
    """Three times the weights: random policies are nearly uniform, these have opinions and end their replies."""
    with torch.no_grad():
        for weight in named_weights(loaded.model).values():
            if weight.ndim > 1:
                weight.mul_(3.0)
    return loaded


@pytest.fixture(scope="module")
def policies(
    tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, loading.Loaded]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {name: sharpen(loading.load(folder)) for name, folder in tiny_folders.items()}


def prompts(loaded: loading.Loaded, count: int) -> list[Prompt]:
    """Prompts of many lengths; two in three bring an image of their own size where the policy reads images."""
    made, rng = Renderer.of(loaded, PromptStyle(), BUDGET), np.random.default_rng(0)
    found = []
    for n in range(count):
        image = (picture(60 + 20 * n, 80, seed=n),) if loaded.multimodal and n % 3 else ()
        item = example("ab c"[: n % 4] * int(rng.integers(1, 12)) + str(n), images=image)
        found.append(made.render(dataclasses.replace(item, id=str(n))))
    return found


def collect(made: TransformersEngine, requests: Sequence[Request]) -> Results:
    rollouts = list(made.generate(requests))
    results = {(r.prompt_id, r.sample_index): r for r in rollouts}
    assert len(results) == len(rollouts) == sum(r.sampling.n for r in requests)
    return results


def oracle(loaded: loading.Loaded, prompt: Prompt, response: Sequence[int], temperature: float = 1.0) -> list[float]:
    """Log-probabilities from one ordinary forward of the whole sequence, images given as pixels."""
    ids = torch.tensor([prompt.ids + tuple(response)])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if prompt.patches is not None:
        kinds = torch.tensor([(*(prompt.mm_token_type_ids or ()), *(0 for _ in response))])
        inputs |= {"pixel_values": torch.from_numpy(prompt.patches.patches), "mm_token_type_ids": kinds}
        inputs["image_grid_thw"] = torch.from_numpy(prompt.patches.grid)
    with torch.no_grad():
        logits = loaded.model(**inputs).logits[0, len(prompt.ids) - 1 : -1].double()
    logits[:, list(Codec.of(loaded).forbidden_ids)] = float("-inf")
    logp = (logits / temperature).log_softmax(-1)
    return logp[torch.arange(len(response)), torch.tensor(list(response))].tolist()


@pytest.mark.parametrize("name", ["tiny-lm", "tiny-vl"])
def test_rollouts_do_not_depend_on_the_batch_and_score_as_a_plain_forward(
    policies: dict[str, loading.Loaded], name: str
) -> None:
    loaded, rng = policies[name], np.random.default_rng(1)
    requests = [
        Request(p, Sampling(max_new_tokens=int(rng.integers(1, 60)), n=int(rng.integers(1, 6)), temperature=t, seed=5))
        for p, t in zip(prompts(loaded, 6), [1.0, 0.7] * 3, strict=True)
    ]
    runs = [collect(TransformersEngine(loaded, batch=size), requests) for size in (1, 3, 64)]
    for other in runs[1:]:
        assert other.keys() == runs[0].keys()
        for key, rollout in runs[0].items():
            assert other[key].token_ids == rollout.token_ids and other[key].finish is rollout.finish
            assert other[key].logprobs == pytest.approx(rollout.logprobs, abs=1e-5)
    assert {r.finish for r in runs[0].values()} == {Finish.STOP, Finish.LENGTH}
    by_item = {r.prompt.example_id: r for r in requests}
    for (item, _), rollout in runs[2].items():
        request = by_item[item]
        assert (len(rollout.token_ids) == request.sampling.max_new_tokens) or rollout.finish is Finish.STOP
        known = oracle(loaded, request.prompt, rollout.token_ids, request.sampling.temperature)
        assert rollout.logprobs == pytest.approx(known, abs=2e-5)
    texts = [r.text for (item, _), r in sorted(runs[0].items()) if item == "5"]
    assert len(set(texts)) == len(texts), "samples of one prompt must differ"


@pytest.mark.parametrize("name", ["tiny-lm", "tiny-vl"])
def test_greedy_equals_model_generate(policies: dict[str, loading.Loaded], name: str) -> None:
    loaded = policies[name]
    found = prompts(loaded, 6)
    results = collect(
        TransformersEngine(loaded, batch=4), [Request(p, Sampling(max_new_tokens=40, temperature=0.0)) for p in found]
    )
    for prompt in found:
        ids = torch.tensor([prompt.ids])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if prompt.patches is not None:
            inputs |= {"pixel_values": torch.from_numpy(prompt.patches.patches)}
            inputs |= {"image_grid_thw": torch.from_numpy(prompt.patches.grid)}
            inputs |= {"mm_token_type_ids": torch.tensor([prompt.mm_token_type_ids])}
        generate: Any = loaded.model.generate
        expected = generate(
            **inputs, max_new_tokens=40, do_sample=False, suppress_tokens=list(Codec.of(loaded).forbidden_ids)
        )[0, len(prompt.ids) :]
        rollout = results[prompt.example_id, 0]
        assert rollout.token_ids == tuple(expected.tolist())
        assert rollout.logprobs == pytest.approx(oracle(loaded, prompt, rollout.token_ids), abs=2e-5)


@pytest.mark.parametrize("name", ["tiny-lm", "tiny-vl"])
def test_a_prefix_is_continued_as_if_it_had_been_sampled(policies: dict[str, loading.Loaded], name: str) -> None:
    loaded = policies[name]
    made = TransformersEngine(loaded, batch=8)
    prompt = prompts(loaded, 3)[2]
    whole = collect(made, [Request(prompt, Sampling(max_new_tokens=30, n=4, seed=2))])
    rollout = max(whole.values(), key=lambda r: len(r.token_ids))
    cut = 9
    assert len(rollout.token_ids) > cut + 1
    request = Request(prompt, Sampling(max_new_tokens=30 - cut, n=4, seed=2), prefix=rollout.token_ids[:cut])
    again = collect(made, [request])[rollout.prompt_id, rollout.sample_index]
    assert again.token_ids == rollout.token_ids and again.text == rollout.text
    assert again.logprobs == pytest.approx(rollout.logprobs, abs=2e-5)


def test_rollouts_come_as_they_finish_and_waiting_rows_take_their_place(policies: dict[str, loading.Loaded]) -> None:
    loaded = policies["tiny-lm"]
    lengths = [40, 1, 2, 3, 4]
    requests = [
        Request(p, Sampling(max_new_tokens=m, seed=8)) for p, m in zip(prompts(loaded, 5), lengths, strict=True)
    ]
    seen = [r.prompt_id for r in TransformersEngine(loaded, batch=2).generate(requests)]
    assert sorted(seen) == ["0", "1", "2", "3", "4"] and seen[0] == "1" and seen[-1] == "0"


def test_version_and_seed_change_the_draws(policies: dict[str, loading.Loaded]) -> None:
    made = TransformersEngine(policies["tiny-lm"])
    prompt = prompts(policies["tiny-lm"], 1)[0]

    def run(seed: int) -> tuple[int, ...]:
        return collect(made, [Request(prompt, Sampling(max_new_tokens=20, seed=seed))])["0", 0].token_ids

    first = run(0)
    assert run(0) == first != run(1)
    made.sync(weights(made.model).items(), version=7)
    assert run(0) != first
    assert next(iter(made.generate([Request(prompt, Sampling(max_new_tokens=1))]))).policy_version == 7


def test_swapping_the_image_changes_the_log_probabilities(policies: dict[str, loading.Loaded]) -> None:
    loaded = policies["tiny-vl"]
    made, render = TransformersEngine(loaded), Renderer.of(loaded, PromptStyle(), BUDGET).render
    runs = [
        next(
            iter(
                made.generate(
                    [Request(render(example(images=(picture(seed=s),))), Sampling(max_new_tokens=1, temperature=0.0))]
                )
            )
        )
        for s in (0, 1)
    ]
    assert abs(runs[0].logprobs[0] - runs[1].logprobs[0]) > 1e-4


def test_a_response_ends_where_the_context_is_full(policies: dict[str, loading.Loaded]) -> None:
    text = TransformersEngine(policies["tiny-lm"])
    plain = prompts(policies["tiny-lm"], 1)[0]
    text.context = len(plain.ids) + 3
    (cut,) = text.generate([Request(plain, Sampling(max_new_tokens=50, temperature=0.0))])
    text.context = 10_000
    (free,) = text.generate([Request(plain, Sampling(max_new_tokens=50, temperature=0.0))])
    assert (len(cut.token_ids), cut.finish) == (3, Finish.LENGTH)
    assert free.token_ids[:3] == cut.token_ids and len(free.token_ids) > 3


def test_impossible_requests_are_refused_before_any_work(policies: dict[str, loading.Loaded]) -> None:
    text, vision = (TransformersEngine(policies[name]) for name in ("tiny-lm", "tiny-vl"))
    plain, pictured = prompts(policies["tiny-lm"], 1)[0], prompts(policies["tiny-vl"], 2)[1]
    good = Sampling(max_new_tokens=4)
    cases = [
        (text, Request(plain, good, prefix=(70,) * text.context), "leave no room in the context"),
        (text, Request(pictured, good), "item 1 has an image, the policy reads text only"),
        (text, Request(plain, Sampling(max_new_tokens=0)), "item 0: max_new_tokens 0"),
        (
            text,
            Request(plain, good, prefix=(70, 268)),
            r"prefix of item 0 contains the forbidden token 268 \(<\|image_pad\|>\)",
        ),
        (vision, Request(pictured, good, prefix=(270,)), r"forbidden token 270 \(no token\)"),
        (text, Request(plain, good, prefix=(258,)), "contains an end token"),
    ]
    for made, request, says in cases:
        with pytest.raises(EngineError, match=says):
            made.generate([request])
    assert len(collect(text, [Request(plain, good)])) == 1


def test_a_forbidden_token_in_a_rollout_is_an_error(policies: dict[str, loading.Loaded]) -> None:
    """An engine whose mask is gone, at a temperature at which any of 288 ids comes up."""
    loaded = policies["tiny-vl"]
    made = TransformersEngine(loaded)
    requests = [Request(p, Sampling(max_new_tokens=60, temperature=50.0, n=8)) for p in prompts(loaded, 1)]
    assert not {t for r in collect(made, requests).values() for t in r.token_ids} & set(made.codec.forbidden_ids)
    made._forbidden = made._forbidden[:0]
    with pytest.raises(
        EngineError, match=r"a rollout of item 0 contains the forbidden token 2\d\d \((<\|.*\|>|no token)\)"
    ):
        list(made.generate(requests))
    made._forbidden = torch.tensor(made.codec.forbidden_ids)
    assert len(collect(made, requests)) == 8, "a failed generation must not block the next"


@pytest.fixture
def twin(tiny_folders: dict[str, Path]) -> TransformersEngine:
    return TransformersEngine(loading.load(tiny_folders["tiny-vl"]))


def test_sync_takes_every_tensor_and_changes_the_output(
    twin: TransformersEngine, policies: dict[str, loading.Loaded], tmp_path: Path
) -> None:
    loaded = policies["tiny-vl"]
    request = Request(prompts(loaded, 2)[1], Sampling(max_new_tokens=12, temperature=0.0))
    before, wanted = (collect(e, [request])["1", 0] for e in (twin, TransformersEngine(loaded)))
    storage = {name: tensor.data_ptr() for name, tensor in named_weights(twin.model).items()}
    stored = load_file(loading.save(loaded, tmp_path / "policy") / "model.safetensors")
    assert weights(loaded.model).keys() == stored.keys()
    head = stored["model.embed_tokens.weight"]
    twin.sync([*stored.items(), ("lm_head.weight", head)], version=3)  # the tied head under its second name too
    after = collect(twin, [request])["1", 0]
    assert before.token_ids != after.token_ids == wanted.token_ids and after.logprobs == wanted.logprobs
    assert twin.version == after.policy_version == 3
    assert {name: tensor.data_ptr() for name, tensor in named_weights(twin.model).items()} == storage


@pytest.mark.parametrize("lost", ["model.layers.2.self_attn.q_proj.weight", "visual.blocks.1.mlp.down_proj.bias"])
def test_sync_is_strict_both_ways(twin: TransformersEngine, lost: str) -> None:
    whole = weights(twin.model)
    assert lost in whole
    with pytest.raises(EngineError, match=f"tensor {lost} did not come"):
        twin.sync([(k, v) for k, v in whole.items() if k != lost], 1)
    with pytest.raises(EngineError, match=r"no tensor model\.extra"):
        twin.sync([*whole.items(), ("model.extra", torch.zeros(1))], 1)
    with pytest.raises(EngineError, match=rf"tensor {lost} has shape \[3\]"):
        twin.sync([(k, torch.zeros(3) if k == lost else v) for k, v in whole.items()], 1)
    head = whole["model.embed_tokens.weight"] + 1
    with pytest.raises(EngineError, match=r"lm_head.weight came twice with different values"):
        twin.sync([*((k, v.clone()) for k, v in whole.items()), ("lm_head.weight", head)], 1)
    assert twin.version == 0


def test_sync_during_generation_is_refused(twin: TransformersEngine) -> None:
    loaded_prompt = Prompt(example_id="a", ids=(5, 6, 7), engine_ids=(5, 6, 7), text="", template_hash="")
    running = twin.generate([Request(loaded_prompt, Sampling(max_new_tokens=9, n=3))])
    next(running)
    with pytest.raises(EngineError, match="while rollouts are generated"):
        twin.sync(weights(twin.model).items(), 1)
    running.close()  # type: ignore[attr-defined]
    twin.sync(weights(twin.model).items(), 1)
    assert twin.version == 1
    twin.close()
    twin.close()


@pytest.mark.parametrize("family", ["Llama", "Qwen3"])
def test_other_families_and_half_precision(family: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    """Loaded from a folder of its own; bfloat16 follows float32 within its rounding."""
    import transformers

    configuration, model = (getattr(transformers, family + end) for end in ("Config", "ForCausalLM"))
    tiny_lm = loading.load(tiny_folders["tiny-lm"])
    sizes = {
        k: getattr(tiny_lm.model.config, k) for k in ("vocab_size", "hidden_size", "intermediate_size", "pad_token_id")
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other: Any = model(
            configuration(
                **sizes, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.1
            )
        )
    other.generation_config = tiny_lm.generation_config
    folder = loading.save(tiny_lm, tmp_path / family, other)
    loaded = loading.load(folder)
    prompt = prompts(loaded, 3)[2]
    made = TransformersEngine(loaded)
    rollout = collect(made, [Request(prompt, Sampling(max_new_tokens=20, temperature=0.0))])["2", 0]
    assert rollout.logprobs == pytest.approx(oracle(loaded, prompt, rollout.token_ids), abs=2e-5)
    half = create("transformers", path=folder, dtype="bfloat16")
    assert isinstance(half, TransformersEngine) and half.describe()["dtype"] == "bfloat16"
    forced = Request(prompt, Sampling(max_new_tokens=1), prefix=rollout.token_ids[:-1])
    rough = collect(half, [forced])["2", 0].logprobs[:-1]
    assert rough == pytest.approx(rollout.logprobs[:-1], abs=0.1)
    half.sync(weights(loaded.model).items(), version=1)
    assert half.version == 1 and half.describe()["dtype"] == "bfloat16"


def test_create_by_name(tiny_folders: dict[str, Path]) -> None:
    made = create("transformers", path=tiny_folders["tiny-lm"], batch=5)
    assert isinstance(made, TransformersEngine) and made.batch == 5
    assert made.describe()["dtype"] == "float32" and made.describe()["device"] == "cpu"
    with pytest.raises(ConfigError, match="runs no policy"):
        create("recorded", path=tiny_folders["tiny-lm"])
    with pytest.raises(UnknownNameError, match="did you mean 'transformers'"):
        create("transformer", path=tiny_folders["tiny-lm"])


def test_row_cache_keeps_every_row_through_moves_growth_and_removal() -> None:
    """Against a plain list of what each row has seen."""
    rng = np.random.default_rng(0)
    cache, rows, stamp = RowCache(5), list[list[float]](), 0.0
    for _ in range(400):
        if len(rows) < 5 and rng.random() < 0.3:
            length, count = int(rng.integers(1, 60)), min(int(rng.integers(1, 4)), 5 - len(rows))
            values = torch.arange(stamp, stamp + length)
            stamp += length
            layer = values.view(1, 1, -1, 1).expand(1, 2, length, 3)
            cache.insert([(layer, -layer)] * 2, count)
            rows += [values.tolist() for _ in range(count)]
        elif rows:
            new = torch.arange(stamp, stamp + len(rows))
            stamp += len(rows)
            mask = cache.mask(torch.device("cpu"))[:, 0, 0]
            step = new.view(-1, 1, 1, 1).expand(-1, 2, 1, 3)
            for layer_index in range(2):
                keys, values = cache.update(step, -step, layer_index)
                assert keys.shape[2] == mask.shape[1] and torch.equal(keys, -values)
                for place, row in enumerate(rows):
                    assert keys[place, 1, mask[place], 2].tolist() == [*row, float(new[place])]
            cache.advance()
            for row, value in zip(rows, new.tolist(), strict=True):
                row.append(value)
            if rng.random() < 0.2:
                place = int(rng.integers(len(rows)))
                cache.remove(place)
                rows[place] = rows[-1]
                rows.pop()
