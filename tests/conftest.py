"""Shared by all tests: where real benchmark data is, one thread, no network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real benchmark data beside the project; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no shared benchmark data beside the project")
    return SHARED / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _plugins_end_with_their_test() -> Iterator[None]:
    """What a test registers (plug-ins, classes of its own) does not show up in the next one."""
    from harness.engines.base import engine
    from rewards.method import method
    from tasks.base import task

    registries = (task, method, engine)
    before, modules = [set(r._classes) for r in registries], set(sys.modules)
    yield
    for registry, known in zip(registries, before, strict=True):
        for key in set(registry._classes) - known:
            if not registry._origins[key].startswith(f"{registry.package}."):
                del registry._classes[key], registry._origins[key]
    for name in [n for n in set(sys.modules) - modules if n.startswith("rlfr_plugin_")]:
        del sys.modules[name]
