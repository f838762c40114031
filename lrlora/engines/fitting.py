"""Engines that replace f by a surrogate: fitted for many layers at once, evaluated layer by layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.engines.dense import dense_delta, dense_linear
from lrlora.engines.engine import Engine
from lrlora.engines.fitted_polynomial import FittedPolynomial
from lrlora.engines.layers import Layers, Shape
from lrlora.engines.ranges import Range, range_of
from lrlora.engines.sampling import Theta
from lrlora.engines.surrogate import Surrogate
from lrlora.engines.thin import factored_linear
from lrlora.transfer import TransferFunction


@dataclass(frozen=True)
class Site:
    """One place where an update is evaluated.

    Attributes:
        range: Where the entries of z lie; None: to be measured.
    """

    A: Tensor
    B: Tensor
    transfer: TransferFunction
    range: Range | None = None


class FittingEngine(Engine):
    """An engine that evaluates a surrogate of f."""

    @abstractmethod
    def fit(self, layers: Layers) -> list[Surrogate]:
        """The surrogates of s_out · f, one for each of the layers.

        Raises:
            EngineError: Not to be had to the tolerance with this engine.
        """

    def prepare(self, sites: Sequence[Site], gradients: bool) -> list[Surrogate]:
        """Fit the surrogates of layers that lie on one device and differ in parameters alone.

        Takes no notice of grad, inference and autocast modes: what it returns serves in any.
        """
        first = sites[0]
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(first.A.device.type, enabled=False):
            ranges = [site.range or range_of(site.A, site.B, site.transfer.input_scale) for site in sites]
            theta = Theta.stack([site.transfer for site in sites])
            scales = [site.transfer.output_scale for site in sites]
            shapes = [Shape(site.B.shape[0], site.A.shape[1], site.A.shape[0]) for site in sites]
            return self.fit(Layers(theta, ranges, scales, shapes, first.A.dtype, gradients))

    def _one(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Surrogate:
        return self.prepare([Site(A.detach(), B.detach(), transfer)], gradients=True)[0]

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, fitted: Surrogate | None = None) -> Tensor:
        """See :meth:`Engine.delta`."""
        return dense_delta(A, B, transfer, fitted or self._one(A, B, transfer))

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
        fitted: Surrogate | None = None,
    ) -> Tensor:
        """See :meth:`Engine.linear`. One product forward, two backward; no m × n tensor is kept between them."""
        surrogate = fitted or self._one(A, B, transfer)
        if isinstance(surrogate, FittedPolynomial) and surrogate.factored and x.dtype == A.dtype:
            return factored_linear(x, weight, bias, A, B, transfer, surrogate)
        return dense_linear(x, weight, bias, A, B, transfer, surrogate)

    def describe(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> str:
        """See :meth:`Engine.describe`."""
        return self._one(A, B, transfer).describe()
