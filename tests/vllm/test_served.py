"""The served engine against a real `vllm serve` on loopback: text and pictures, greedy and sampled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="runs in the environment of `make test-vllm`")

from harness.core.errors import ConfigError, EngineError
from harness.core.records import PixelBudget, PromptStyle, Sampling
from harness.engines import create
from harness.engines.base import Request
from harness.engines.served import ServedEngine
from tests.vllm.conftest import BOUND, keyed, lively

START_SECONDS = 300.0


@dataclass(frozen=True)
class Serving:
    """A server of a tiny-vl policy, and prompts with and without a picture."""

    address: str
    folder: Path
    prompts: tuple[Any, ...]
    reference: Any


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def command(folder: Path, port: int) -> list[str]:
    """What `vllm serve` runs (that command itself asks for a distribution called vllm, which the CPU build is not)."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", "lively", "--host", "127.0.0.1", "--port", str(port)),
        *("--trust-request-chat-template", "--logprobs-mode", "processed_logprobs"),
        *("--mm-processor-kwargs", '{"do_resize": false}'),
        *("--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "8", "--enforce-eager"),
        *("--block-size", "32", "--limit-mm-per-prompt", '{"video": 0}'),
    ]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    from harness.engines.transformers import TransformersEngine
    from harness.models import loading
    from harness.models.renderer import Renderer
    from tasks.base import task

    folder = lively("tiny-vl", tmp_path_factory.mktemp("served"))
    renderer = Renderer.of(loading.load(folder), PromptStyle(), PixelBudget(3136, 50176))
    examples = [*task.get("charts")("train").load()[:3], *task.get("arithmetic")("train").load()[:2]]
    prompts = tuple(replace(renderer.render(e), example_id=f"{n}") for n, e in enumerate(examples))
    port = free_port()
    environment = os.environ | {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_SERVER_DEV_MODE": "1",
    }
    log = (folder.parent / "server.log").open("wb")
    server = subprocess.Popen(
        command(folder, port), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait(f"http://127.0.0.1:{port}/health", server, folder.parent / "server.log")
        yield Serving(f"http://127.0.0.1:{port}", folder, prompts, TransformersEngine.open(folder, batch=8))
    finally:
        stop(server)
        log.close()


def stop(server: subprocess.Popen[bytes]) -> None:
    """The server and the processes that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError(f"no server after {START_SECONDS} s: {log.read_text(errors='replace')[-2000:]}")


def opened(serving: Serving, **settings: Any) -> ServedEngine:
    return ServedEngine(serving.folder, serving.address, **settings)


def test_text_and_pictures_get_the_answers_that_transformers_gives(serving: Serving) -> None:
    requests = [Request(p, Sampling(max_new_tokens=20, temperature=0.0)) for p in serving.prompts]
    assert {bool(r.prompt.images) for r in requests} == {True, False}
    ours = keyed(opened(serving).generate(requests))
    theirs = keyed(serving.reference.generate(requests))
    assert len({r.token_ids for r in ours.values()}) > 1
    for key, rollout in theirs.items():
        assert ours[key].token_ids == rollout.token_ids
        assert (ours[key].text, ours[key].finish) == (rollout.text, rollout.finish)
        assert max(abs(a - b) for a, b in zip(ours[key].logprobs, rollout.logprobs, strict=True)) < BOUND


def test_samples_differ_and_forbidden_tokens_never_come(serving: Serving) -> None:
    engine = opened(serving, seeded=False)
    requests = [Request(p, Sampling(max_new_tokens=12, n=4, temperature=1.0)) for p in serving.prompts[1:4]]
    rollouts = list(engine.generate(requests))
    assert sorted((r.prompt_id, r.sample_index) for r in rollouts) == [(str(p), i) for p in (1, 2, 3) for i in range(4)]
    assert len({r.token_ids for r in rollouts}) > 6
    assert not {t for r in rollouts for t in r.token_ids} & set(engine.codec.forbidden_ids)


def test_prompts_that_the_server_reads_otherwise_are_an_error(serving: Serving) -> None:
    for prompt in (serving.prompts[0], serving.prompts[-1]):
        wrong = replace(prompt, ids=(*prompt.ids, 7))
        with pytest.raises(EngineError, match=rf"item {prompt.example_id}: the server reads {len(prompt.ids)} prompt"):
            list(opened(serving).generate([Request(wrong, Sampling(max_new_tokens=2))]))


def test_a_server_of_another_policy_is_refused_and_none_can_train(serving: Serving, tmp_path: Path) -> None:
    other = lively("tiny-vl", tmp_path / "other", scale=0.2)
    assert other.name == serving.folder.name
    with pytest.raises(EngineError, match=rf"serves lively from {serving.folder}, not the policy in {other}: start it"):
        ServedEngine(other, serving.address)
    engine = create("vllm", path=serving.folder, settings={"server": serving.address, "seeded": False})
    assert isinstance(engine, ServedEngine), "the served root is the folder itself"
    assert engine.describe()["engine"] == "served"
    assert engine.describe()["dtype"] == "float32" and engine.describe()["quantisation"] == "none"
    with pytest.raises(ConfigError, match="cannot train"):
        engine.sync([], 1)
    filling = replace(serving.prompts[0], ids=(70,) * 512)
    with pytest.raises(EngineError, match="leave no room in the context of 512"):
        engine.generate([Request(filling, Sampling(max_new_tokens=1))])


def test_a_server_that_is_not_there_is_named(serving: Serving) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(EngineError, match=rf"{nowhere} does not answer /v1/models .*engine.server"):
        ServedEngine(serving.folder, nowhere)
