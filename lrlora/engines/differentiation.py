"""What the custom autograd functions of the engines share: they can be differentiated once, and say so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

TWICE = (
    "LR-LoRA's engine can be differentiated once: for second derivatives, such as a gradient penalty, configure the "
    'adapter with engine="direct"'
)


def once(pull_back: Callable[..., Any], ctx: Any, grad: Tensor, *saved: Tensor) -> Any:
    """Runs a backward pass whose results raise one clear line if they are differentiated again."""
    # A backward pass that is called under autocast is not cast: the forward pass was not, and cast products do not fit
    # into what is allocated for the results.
    kind = grad.device.type
    cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False) if cast else nullcontext():
        found = pull_back(ctx, grad, *saved)
    if not torch.is_grad_enabled():  # no create_graph: nobody can ask for a second derivative
        return found
    asked = [value for value in found if isinstance(value, Tensor)]
    guarded = iter(_Once.apply(len(asked), *asked, grad, *saved))
    return tuple(next(guarded) if isinstance(value, Tensor) else value for value in found)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(TWICE)


def as_rows(x: Tensor) -> Tensor:
    """Returns ``(..., n)`` as ``(tokens, n)``, also of no tokens or no features; a view if it can be one."""
    return x.reshape(x.shape[:-1].numel(), x.shape[-1])


def transforms_active() -> bool:
    """Whether the caller is inside of a ``torch.func`` transform or of forward-mode differentiation.

    Plain operations are used there.
    """
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0
