"""The served engine against a stand-in for the server: how many prompts are with it at a time, and what a failure costs.

The protocol itself is tested against a real server in tests/vllm.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import EngineError
from harness.core.records import Prompt, Sampling
from harness.engines.base import Request
from harness.engines.served import ServedEngine, same_policy


class StandIn(ThreadingHTTPServer):
    """Answers with the prompt's own tokens, after `seconds`; prompts whose first id is in `broken` get a 503 at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.broken: set[int] = set()
        self.root, self.config = "", ""
        self.seconds, self.running, self.most, self.asked = 0.02, 0, 0, 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        card = {"id": "policy", "root": self.server.root, "max_model_len": 256}
        known = {"/v1/models": {"data": [card]}, "/version": {"version": "0"}}
        if self.server.config:
            known["/server_info"] = {"vllm_config": self.server.config}
        if self.path in known:
            self.answer(known[self.path])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = body["prompt"]
        with self.server.lock:
            self.server.running += 1
            self.server.asked += 1
            self.server.most = max(self.server.most, self.server.running)
        try:
            if ids[0] in self.server.broken:
                self.send_error(503, "busy")
                return
            time.sleep(self.server.seconds)
            choice = {"finish_reason": "length", "token_ids": ids, "logprobs": {"token_logprobs": [-1.0] * len(ids)}}
            choices = [choice | {"index": index, "prompt_token_ids": ids} for index in range(body["n"])]
        finally:
            with self.server.lock:
                self.server.running -= 1
        self.answer({"choices": choices})

    def answer(self, value: dict[str, Any]) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def opened(server: StandIn, folder: Path) -> ServedEngine:
    server.root = server.root or str(folder)
    return ServedEngine(folder, f"http://127.0.0.1:{server.server_port}", batch=4)


def request(number: int) -> Request:
    ids = (40 + number, 41, 42)
    prompt = Prompt(example_id=str(number), ids=ids, engine_ids=ids, text="", template_hash="")
    return Request(prompt, Sampling(max_new_tokens=3, n=2))


def test_a_batch_of_prompts_is_with_the_server_and_the_next_is_pulled_as_one_comes_back(
    server: StandIn, tiny_folders: dict[str, Path]
) -> None:
    pulled = []

    def requests() -> Iterator[Request]:
        for number in range(20):
            pulled.append(number)
            yield request(number)

    seen = []
    for rollout in opened(server, tiny_folders["tiny-lm"]).generate(requests()):
        seen.append((rollout.prompt_id, rollout.sample_index))
        assert len(pulled) <= len(seen) // 2 + 1 + 4 + 4, "at most those asked and those just answered"
    assert sorted(seen) == sorted((str(n), k) for n in range(20) for k in range(2))
    assert server.most == 4


def test_a_refused_prompt_does_not_cost_the_answers_that_are_on_their_way(
    server: StandIn, tiny_folders: dict[str, Path]
) -> None:
    server.broken, server.seconds = {40 + 3}, 0.1
    seen = []
    with pytest.raises(EngineError, match="refuses item 3"):
        for rollout in opened(server, tiny_folders["tiny-lm"]).generate(request(n) for n in range(20)):
            seen.append(rollout.prompt_id)
    assert {"0", "1", "2"} <= set(seen), "asked before it, answered after it"
    assert server.asked <= 8, "nothing further is asked"


def test_another_runs_policy_is_refused_whatever_it_is_called(
    server: StandIn, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Finding 5: every run's folder is called `policy`, and a server is free to call itself so."""
    ours = Path(shutil.copytree(tiny_folders["tiny-lm"], tmp_path / "a" / "policy"))
    theirs = Path(shutil.copytree(ours, tmp_path / "b" / "policy"))
    weights = theirs / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    server.root = str(theirs)
    with pytest.raises(EngineError, match=f"serves policy from {theirs}, not the policy in {ours}: start it with"):
        opened(server, ours)
    server.root = "policy"
    with pytest.raises(EngineError, match="serves policy from policy, not the policy in"):
        opened(server, ours)


def test_a_copy_of_the_policy_and_its_hub_name_are_accepted(
    server: StandIn, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    server.root = str(shutil.copytree(tiny_folders["tiny-lm"], tmp_path / "copy"))
    assert opened(server, tiny_folders["tiny-lm"]).model == "policy"
    assert same_policy("made/up", tiny_folders["tiny-lm"], "made/up")
    assert not same_policy("made/up", tiny_folders["tiny-lm"], "")


@pytest.mark.parametrize(
    ("said", "dtype", "quantisation"),
    [
        ("model='m', dtype=torch.bfloat16, max_seq_len=9, quantization=None, kv_cache_dtype=auto", "bfloat16", "none"),
        ("model='m', kv_cache_dtype=fp8, dtype=torch.float16, quantization=awq_marlin", "float16", "awq_marlin"),
        ("", "unknown", "unknown"),
    ],
)
def test_the_servers_precision_is_part_of_what_was_evaluated(
    server: StandIn, tiny_folders: dict[str, Path], said: str, dtype: str, quantisation: str
) -> None:
    server.config = said
    found = opened(server, tiny_folders["tiny-lm"]).describe()
    assert (found["dtype"], found["quantisation"]) == (dtype, quantisation)
