"""Copied into the site-packages of .venv-vllm: declares two torchvision operators before torchvision is first imported.

The torchvision that vLLM's CPU build brings was compiled against a CUDA torch, so its operators do not load beside a CPU
torch, and importing it fails on `operator torchvision::nms does not exist`. Nothing here calls them; declaring them is
enough. As `sitecustomize` it also holds in the processes that vLLM starts.
"""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any


class _DeclareTorchvisionOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Finds nothing; at the first import of torchvision it declares the operators and steps aside."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


sys.meta_path.insert(0, _DeclareTorchvisionOperators())
