"""Which modules can be adapted, and which are refused because an adapter there would be without effect.

A model may read the weight of a module and never call the module, as ``torch.nn.MultiheadAttention`` does with its
``out_proj`` and Mamba with its ``conv1d``. An adapter computes its update when it is called, so it would change nothing
until it is merged. Such modules are found in the source of the class that holds them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from lrlora.tuner.convolution import CONVOLUTIONS, Convolution
from lrlora.tuner.embedding import Embedding
from lrlora.tuner.linear import Linear

FUSED = ("conv1d", "out_proj")
FUSED_MODEL_TYPES = ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")
"""Modules whose weights go to a fused kernel, in the model types that PEFT refuses them in for LoRA."""

_PROPERTIES = r"(dtype|device|shape|size|ndim|dim|numel|is_meta|is_cuda|requires_grad|layout)\b"
"""Attributes of a weight that say nothing of its values, as a regular expression."""

_SETUP = ("init", "reset", "load", "state", "repr")
"""Parts of the names of methods that take no part in a forward pass."""


def layer_class(base: nn.Module, name: str) -> type[Linear] | type[Embedding] | type[Convolution]:
    """Returns the class that adapts a module.

    Args:
        base: The module to adapt.
        name: Its full name, for the message.

    Raises:
        ValueError: No class does, or the module is sharded by tensor parallelism.
    """
    if getattr(base, "_hf_tp_plan", None) is not None or isinstance(getattr(base, "weight", None), DTensor):
        raise ValueError(
            f"target module {name!r} is sharded by tensor parallelism, which LR-LoRA refuses: φ is applied to whole "
            "entries of BA, and φ of a sum over shards of the rank is not the sum of φ over the shards"
        )
    if isinstance(base, nn.Embedding):
        return Embedding
    if isinstance(base, CONVOLUTIONS):
        return Convolution
    if isinstance(base, Conv1D) or (hasattr(base, "in_features") and hasattr(base, "out_features")):
        return Linear
    raise ValueError(
        f"target module {name!r} is a {type(base).__name__}; LR-LoRA adapts torch.nn.Linear, transformers' Conv1D, "
        "torch.nn.Embedding and torch.nn.Conv1d, Conv2d and Conv3d"
    )


def check_is_called(model: nn.Module, name: str) -> None:
    """Check that the model calls a module, and does not only read its weight.

    Args:
        model: The base model.
        name: The module's full name.

    Raises:
        ValueError: An adapter there would be without effect.
    """
    parent_name, _, child = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    kind = type(parent).__name__
    if child in FUSED and getattr(getattr(model, "config", None), "model_type", None) in FUSED_MODEL_TYPES:
        raise ValueError(
            f"target module {name!r}: {kind} may pass its weight to a fused kernel and not call it, so an adapter "
            f"there may have no effect; leave {child!r} out of target_modules, or name it in exclude_modules"
        )
    if _is_read_and_not_called(type(parent), child):
        raise ValueError(
            f"target module {name!r}: {kind} reads its weight and never calls it, so an adapter there has no effect; "
            f"leave {child!r} out of target_modules, or name it in exclude_modules"
        )
    if isinstance(parent, nn.TransformerEncoderLayer) and torch.backends.mha.get_fastpath_enabled():
        raise ValueError(
            f"target module {name!r}: {kind} reads its weight in evaluation and does not call it there, so an adapter "
            "has no effect; call torch.backends.mha.set_fastpath_enabled(False) first"
        )


def _is_read_and_not_called(parent: type[nn.Module], child: str) -> bool:
    """Whether methods of a class read ``self.child.weight``, and none uses ``self.child`` in another way."""
    uses = {use for base in parent.__mro__ if base not in nn.Module.__mro__ for use in _uses(base).get(child, ())}
    called = "" in uses or "forward" in uses  # or handed on to what may call it
    read = any(use == "weight" or re.match(rf"weight\.(?!{_PROPERTIES})", use) for use in uses)
    return read and not called


@functools.cache
def _uses(owner: type) -> dict[str, set[str]]:
    """What the methods of a class write behind each attribute, as ``"weight.T"``; "" for the attribute itself."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}  # no source, as for classes that are made at run time
    found: dict[str, set[str]] = {}
    waiting = [node for node in ast.iter_child_nodes(body) if not any(word in _name(node) for word in _SETUP)]
    while waiting:
        node = waiting.pop()
        names: list[str] = []
        if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)):
            while isinstance(node, ast.Attribute):
                names.insert(0, node.attr)
                node = node.value
        for i, name in enumerate(names, 1):
            found.setdefault(name, set()).add(".".join(names[i:]))
        waiting.extend(ast.iter_child_nodes(node))
    return found


def _name(node: ast.AST) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else ""
