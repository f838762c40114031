"""When a layer's plan is made: it is kept between steps, and remade before it is stale.

**In training** a plan has room for BA to grow by :data:`GROWTH`, and the next one is made when it should have done so:
BA is taken to go on growing with the power of the number of steps with which it grew between the last two plans. That
gives plans at steps 0, 1, 2, 3, 4, 6, 9 … and later every :data:`LONGEST` steps at the latest. No value is read in
between, so a step does not synchronise with the device. A plan is also made when the
parameters were changed other than by training: when they changed although no backward pass ran, or by more (or fewer)
in-place operations than from step to step before. The plan is part of the layer's state, so a run that is resumed from
a checkpoint goes on to the bit; reading the state changes nothing.

**In evaluation** the plan depends on the parameters alone, so that a loaded adapter computes what the saved one did. It
is remade whenever they changed. On a CPU their values are compared, elsewhere their version counters, which do not see
what is written through ``.data``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.engines import Engine, Plan
from lrlora.transfer import TransferFunction

GROWTH = 1.5
"""Room of a plan for the growth of BA, as a factor."""

POWERS = (0.75, 3.0)
"""Least and largest power of the number of steps that BA is taken to grow with. In trained models it was 0.4 to 1.8."""

MARGIN = 0.25
"""What is added to the power that was observed."""

LONGEST = 64
"""Most steps that a plan is used for."""


class Plans(nn.Module):
    """The plans of one adapter in one layer; a module, so that they are saved with it. It has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self._in_training: Plan | None = None
        self._saved: dict[str, Any] | None = None
        self._in_evaluation: Plan | None = None
        self._age = 0
        self._until = 0
        self._made_at = 0
        self._stepped = False
        self._versions: tuple[int, ...] | None = None
        self._usual: tuple[int, ...] | None = None
        self._frozen: Plan | None = None
        self._evaluated: tuple[Any, ...] | None = None
        self._values: list[Tensor] = []

    def current(
        self,
        engine: Engine,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
        parameters: Sequence[Tensor],
        *,
        training: bool,
    ) -> Plan | None:
        """Returns the plan to evaluate with, which is made if there is none that serves.

        Args:
            engine: What plans.
            A: ``(r, in)``, in the dtype of the evaluation.
            B: ``(out, r)``.
            transfer: At the present parameters.
            parameters: The tensors of the adapter as they are held, A and B first.
            training: Whether the layer is in training mode.
        """
        if A.device.type == "meta":
            raise RuntimeError("an adapter on the meta device has no values to plan by; give its layer a device first")
        if training:
            return self._while_training(engine, A, B, transfer, parameters)
        state = (A.device, A.dtype, *((id(p), _version(p)) for p in parameters))
        values = [A, B, transfer.amplitude, transfer.bandwidth, transfer.grid, *transfer.shape.values()]
        if self._in_evaluation is None or state != self._evaluated or self._written_to(values):
            self._in_evaluation = _made(engine, A, B, transfer)
            self._frozen = None
            self._evaluated = state
            self._values = [value.detach().clone() for value in values] if A.device.type == "cpu" else []
        if torch.is_grad_enabled() or self._in_evaluation is None:
            return self._in_evaluation
        if self._frozen is None:
            with torch.inference_mode(False), torch.no_grad():
                self._frozen = self._in_evaluation.frozen(A, B, transfer)
        return self._frozen

    def watch(self, result: Tensor) -> None:
        """Learns from ``result``, the layer's output, when a backward pass runs through the layer."""
        if result.requires_grad:
            result.register_hook(self._on_backward)  # type: ignore[no-untyped-call]

    def _on_backward(self, _: Tensor) -> None:
        self._stepped = True

    def _written_to(self, values: Sequence[Tensor]) -> bool:
        return any(not torch.equal(old, new) for old, new in zip(self._values, values, strict=False))

    def _while_training(
        self, engine: Engine, A: Tensor, B: Tensor, transfer: TransferFunction, parameters: Sequence[Tensor]
    ) -> Plan | None:
        if self._saved is not None:
            plan = engine.restore(self._saved)
            self._in_training, self._saved = None if plan is None else plan.to(A.device, A.dtype), None
        plan = self._in_training
        if plan is not None and torch._C._current_graph_task_id() != -1:
            return plan  # a checkpointed layer, computed again within the backward pass: as it was the first time
        versions = tuple(_version(p) for p in parameters[:2])
        changes = None
        if self._versions is not None:
            changes = tuple(now - then for now, then in zip(versions, self._versions, strict=True))
        self._versions = versions
        if self._stepped:
            self._stepped = False
            self._age += 1
            due = self._age >= self._until or not self._is_usual(changes)
        else:
            due = changes is not None and any(changes)
        if plan is None or due or plan.device != A.device:
            self._in_training = _made(engine, A, B, transfer, growth=GROWTH, previous=plan)
            self._until = self._age + self._interval(plan, self._in_training)
            self._made_at = self._age
            plan = self._in_training
        return plan

    def _interval(self, last: Plan | None, new: Plan | None) -> int:
        """Returns for how many steps the new plan is used."""
        power = 1.0
        if last is not None and new is not None and self._age > self._made_at > 0:
            observed = math.log(new.rho / last.rho) / math.log(self._age / self._made_at)
            power = min(max(observed + MARGIN, POWERS[0]), POWERS[1])
        return min(max(1, int(self._age * (GROWTH ** (1 / power) - 1))), LONGEST)

    def _is_usual(self, changes: tuple[int, ...] | None) -> bool:
        """Whether parameters changed as from step to step before; not at all if gradients are accumulated."""
        if changes is None or not any(changes):
            return True
        if self._usual is None:
            self._usual = changes
        return changes == self._usual

    # -- state ----------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Returns the plan of training as JSON in bytes; empty if there is none."""
        plan = self._saved if self._in_training is None else self._in_training.to_dict()
        if plan is None:
            return torch.empty(0, dtype=torch.uint8)
        state = {
            "plan": plan,
            "age": self._age,
            "until": self._until,
            "made_at": self._made_at,
            "stepped": self._stepped,
        }
        return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes a plan that :meth:`get_extra_state` returned; training goes on with it.

        Raises:
            ValueError: If the bytes are no such plan.
        """
        self._versions = self._usual = self._in_training = self._saved = None
        self._age, self._until, self._made_at, self._stepped = 0, 0, 0, False
        if state.numel() == 0:
            return
        try:
            data = json.loads(bytes(state.to(device="cpu", dtype=torch.uint8).tolist()))
            self._age, self._until, self._made_at = int(data["age"]), int(data["until"]), int(data["made_at"])
            self._stepped = bool(data["stepped"])
            self._saved = dict(data["plan"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the saved plan of an adapted layer is damaged: {error!r}") from error


def _made(engine: Engine, A: Tensor, B: Tensor, transfer: TransferFunction, **how: Any) -> Plan | None:
    """Returns a new plan, of tensors that autograd can save: one made in inference mode may be used outside of it."""
    with torch.inference_mode(False), torch.no_grad(), _one_thread():
        return engine.plan(A, B, transfer, **how)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Runs small operations on one thread: waking others takes longer, and much longer beside another busy process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _version(parameter: Tensor) -> int:
    return 0 if parameter.is_inference() else parameter._version
