"""What stays outside of the graphs of ``torch.compile``, when a whole model is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def outside_compiled_graphs(forward: F) -> F:
    """Keep the forward method of an adapted layer out of compiled graphs.

    A plan depends on the values of the parameters, and its constants would be compiled in. The whole method is kept
    out: compiled, each layer would be another version of it, of which the compiler allows eight.
    """
    reason = (
        "LR-LoRA reads the values of its parameters to plan how φ is evaluated; merge_and_unload() leaves one graph"
    )
    return torch.compiler.disable(forward, reason=reason)  # type: ignore[no-any-return, no-untyped-call]
