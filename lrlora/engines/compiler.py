"""Whether, and how, a pass over the entries is compiled into one loop."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

WORTH_STARTING = 4_000_000_000
WORTH_ANOTHER = 400_000_000
"""Entries through passes that are not compiled before one is: the compiler takes 10 to 20 s to start and 2 to 5 s for a
pass, and saves 2 to 4 ns per entry. Counted and not timed, so that the same run does the same twice."""

log = logging.getLogger(__name__)


class Compiler:
    """Whether to compile: LRLORA_COMPILE is ``auto`` (where it is worth the wait), ``always`` or ``never``."""

    def __init__(self) -> None:
        self.mode = os.environ.get("LRLORA_COMPILE", "auto")
        if self.mode not in ("auto", "always", "never"):
            raise ValueError(f"LRLORA_COMPILE is 'auto', 'always' or 'never', not {self.mode!r}")
        self.started = False

    def usable(self, t: Tensor) -> bool:
        """Whether a pass over ``t`` may be compiled."""
        return self.mode != "never" and t.numel() > 0 and not torch.compiler.is_compiling()

    def is_worth(self, entries: int) -> bool:
        """Whether a pass that so many entries went through should be."""
        return self.mode == "always" or entries > (WORTH_ANOTHER if self.started else WORTH_STARTING)

    @contextmanager
    def failing_over(self) -> Iterator[None]:
        """Go on without where there is no compiler; a pass that was not compiled has changed nothing."""
        try:
            yield
        except TorchDynamoException as error:
            self.mode = "never"
            reason = str(error).strip().partition("\n")[0]
            log.warning("passes are not compiled, and take two to four times as long: %s", reason)


compiler = Compiler()


class Fused:
    """A pass through ``torch.compile``, started when it is first called.

    Args:
        function: A plain function of tensors that works in place and may return others.
        version: Distinguishes what is compiled from the same function.
    """

    # Every intermediate value of a loop is to stay in a register; the compiler's own thresholds would store powers.
    OPTIONS: ClassVar[dict[str, Any]] = {
        "realize_opcount_threshold": 1_000_000,
        "realize_reads_threshold": 1_000_000,
        "realize_acc_reads_threshold": 1_000_000,
        "max_fusion_size": 1000,
    }

    def __init__(self, function: Callable[..., Any], version: str) -> None:
        assert isinstance(function, FunctionType)
        # A code object of its own: the compiler allows few versions of one, and each degree is a version.
        code = function.__code__.replace(co_name=f"{function.__name__}_{version}")
        self._function = FunctionType(code, function.__globals__, code.co_name)
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *tensors: Tensor) -> Any:
        """Run it."""
        if self._compiled is None:
            compiler.started = True
            self._compiled = torch.compile(self._function, dynamic=True, fullgraph=True, options=self.OPTIONS)
        # As plain tensors: of a parameter the compiler takes every shape for another version, of which it allows few.
        return self._compiled(*[tensor.detach() for tensor in tensors])
