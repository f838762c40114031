"""The state of a run that is not in its settings: parameters, optimizer, random generators."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_EXTRA = "_extra_state"


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns trained parameters, buffers and the plans of adapted layers, by name.

    Frozen parameters are left out: they are loaded or drawn again. A shared parameter has one name.
    """
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names |= {name for name, _ in model.named_buffers()}
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and (name in names or name.endswith(_EXTRA))
    }


def restore_model(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Set what :func:`model_state` returned.

    Raises:
        RuntimeError: If the model lacks one of the tensors, or has another shape.
    """
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise RuntimeError(f"the checkpoint is of another model: it has {unexpected[0]}")


def optimizer_state(optimizer: Any) -> dict[str, Any]:
    """Returns the state of an optimizer with string keys, as JSON has them."""
    state = optimizer.state_dict()
    return {**state, "state": {str(key): value for key, value in state["state"].items()}}


def restore_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Set what :func:`optimizer_state` returned."""
    optimizer.load_state_dict({**state, "state": {int(key): value for key, value in state["state"].items()}})


def random_state() -> dict[str, Any]:
    """Returns the states of the global generators of Python, NumPy, PyTorch and, where there is one, the GPU."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  # the state of others
    return {
        "python": random.getstate(),
        "numpy": [np.asarray(keys).tolist(), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random(state: dict[str, Any]) -> None:
    """Set what :func:`random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
