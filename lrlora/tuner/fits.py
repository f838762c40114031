"""Surrogates of all the layers of one adapter, fitted together when the first of them finds its own out of date.

Fitting layer by layer costs a few dozen small operations each; together they are a few dozen for all. Whether a fit is
out of date is read off the values themselves, and not off counters of changes: parameters are also changed behind the
counters' back, by some optimizers and by averaging of weights. In evaluation nothing changes and nothing is fitted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lrlora.engines.fitting import FittingEngine, Site
from lrlora.engines.ranges import RangeKeeper, bounds, range_of
from lrlora.engines.surrogate import Surrogate
from lrlora.tuner.theta import THETA

if TYPE_CHECKING:
    from lrlora.tuner.layer import LRLoraLayer


_groups: weakref.WeakSet[FitGroup] = weakref.WeakSet()


def evaluated_layers() -> Iterator[tuple[LRLoraLayer, str]]:
    """Every adapted layer of this process that is in use, with the name of an adapter that is evaluated there."""
    for group in list(_groups):
        for _, layer in group._alive():
            yield layer, group.adapter


class _Purpose(NamedTuple):
    """What a fit is for.

    Attributes:
        training: Whether the layer is in training mode. If not, the fit depends on the parameters alone and not on how
            they came to be: a loaded adapter computes what the saved one did, bit by bit.
        gradients: Whether gradients of θ are wanted.
    """

    training: bool
    gradients: bool


class _Member:
    def __init__(self, layer: LRLoraLayer) -> None:
        self.layer = weakref.ref(layer)
        self.keeper = RangeKeeper()
        self.surrogate: Surrogate | None = None
        self.values: Tensor | None = None
        self.purpose: _Purpose | None = None

    def serves(self, values: Tensor, purpose: _Purpose) -> bool:
        return (
            self.values is not None
            and self.purpose == purpose
            and self.values.device == values.device
            and torch.equal(self.values, values)
        )


def _start_over(layer: LRLoraLayer, prefix: str, keep_vars: bool) -> None:
    """When parameters are saved, training goes on from them alone, as it will where they are loaded.

    So a run that is resumed does what the one that saved did, bit by bit. It costs one measurement of the range.
    """
    for fits in layer.lrlora_fits.values():
        fits.start_over(layer)


class FitGroup:
    """The layers of one adapter. A layer joins when it is first evaluated, and leaves when it is deleted.

    What is held here can be made anew from the layers at any time, so a copied or pickled group is an empty one.

    Args:
        adapter: Name of the adapter.
    """

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter
        self._members: dict[int, _Member] = {}
        _groups.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (FitGroup, (self.adapter,))

    def join(self, layer: LRLoraLayer) -> None:
        """Let the layer be fitted together with the others."""
        self._member(layer)
        layer.register_state_dict_pre_hook(_start_over)

    def start_over(self, layer: LRLoraLayer) -> None:
        """Forget what the layer's fits were made from, but for its parameters."""
        if id(layer) in self._members:
            self._members[id(layer)] = _Member(layer)

    def fitted(self, layer: LRLoraLayer) -> Surrogate | None:
        """The surrogate of a layer at its present parameters; None where its engine makes none."""
        member = self._member(layer)
        if not isinstance(layer.lrlora_engine[self.adapter], FittingEngine):
            return None
        # Whether autograd is on makes no difference. In training a checkpointed layer runs with it off first, and then
        # again with it on; in evaluation the output is one and the same, whoever asks, as is what a merge adds.
        wanted = not layer.training or layer.trains_theta(self.adapter)
        purpose = _Purpose(layer.training, wanted)
        with torch.no_grad():
            if not member.serves(self._values(layer), purpose):
                self._fit(layer, purpose)
        return member.surrogate

    def _member(self, layer: LRLoraLayer) -> _Member:
        found = self._members.get(id(layer))
        if found is None or found.layer() is not layer:
            found = self._members[id(layer)] = _Member(layer)
        return found

    def _alive(self) -> Iterator[tuple[_Member, LRLoraLayer]]:
        for key, member in list(self._members.items()):
            layer = member.layer()
            if layer is None or self.adapter not in layer.lrlora_A:
                del self._members[key]
            else:
                yield member, layer

    def _values(self, layer: LRLoraLayer) -> Tensor:
        """What a fit depends on: θ, and A and B by their norms."""
        A, B = layer.lrlora_A[self.adapter], layer.lrlora_B[self.adapter]
        theta = [getattr(layer, part)[self.adapter].weight for part in THETA]
        return torch.cat([*theta, torch.stack(torch._foreach_norm([A, B]))])

    def _fit(self, asking: LRLoraLayer, purpose: _Purpose) -> None:
        """Fit every layer beside ``asking`` whose fit is out of date."""
        device = asking.lrlora_A[self.adapter].device
        stale: list[tuple[_Member, LRLoraLayer, Tensor]] = []
        for member, layer in self._alive():
            A = layer.lrlora_A[self.adapter]
            if A.device != device or A.dtype != asking.lrlora_A[self.adapter].dtype or A.device.type == "meta":
                continue
            values = self._values(layer)
            if not member.serves(values, purpose):
                stale.append((member, layer, values))
        pairs = [layer.wide_factors(self.adapter) for _, layer, _ in stale]
        sites = []
        for (member, layer, _), (A, B), known in zip(stale, pairs, bounds(pairs), strict=True):
            scale = layer.input_scale[self.adapter]
            where = member.keeper.range(A, B, known, scale) if purpose.training else range_of(A, B, scale, known)
            sites.append(Site(A, B, layer.transfer(self.adapter), where))
        engine: FittingEngine = asking.lrlora_engine[self.adapter]  # type: ignore[assignment]
        for (member, _, values), surrogate in zip(stale, engine.prepare(sites, purpose.gradients), strict=True):
            member.surrogate, member.values, member.purpose = surrogate, values, purpose
