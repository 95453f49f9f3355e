"""Names of a policy's weights: in its module, and in the files of a hub folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def named_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights of a model by their names in its state dict, each storage once: of tied weights the first name."""
    seen: set[int] = set()
    unique: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            unique[name] = tensor
    return unique


def hub_names(model: Any, names: Sequence[str]) -> dict[str, str]:
    """Module name -> name in a hub folder, as transformers itself writes it (it renames parts of some models)."""
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    numbered = {name: torch.tensor([number]) for number, name in enumerate(names)}
    return {names[int(number)]: key for key, number in revert_weight_conversion(model, numbered).items()}
