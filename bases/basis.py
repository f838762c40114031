"""What a basis is: N scalar functions of one variable, evaluated together.

A basis knows nothing of amplitudes, of adapters or of how a φ is evaluated fast; those live elsewhere. It is written in
plain differentiable PyTorch, elementwise in ``z``, and is stateless: its options are set once, by its constructor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Basis(ABC):
    """N functions ψ_i(z; z_i, ω_i) of one variable, which a transfer function φ(z) = Σ a_i ψ_i(z) weighs.

    The contract of :meth:`matrix`, on which every engine relies:

    - It is elementwise in ``z``: an entry of the result depends on one entry of ``z`` only.
    - It is differentiable once in ``z``, ``grid`` and ``bandwidth``, through autograd, almost everywhere.
    - It is a pure function: no random numbers, no state, no change to its arguments.
    - It keeps the dtype and the device of ``z``. Engines call it in float64.

    A constructor parameter called ``bound`` is filled with the adapter's ``grid_bound`` unless ``basis_kwargs`` sets
    it: this is how a basis that lives on an interval, and not at grid points, learns that interval. A basis that is a
    (frozen) dataclass can be passed to a config as an instance and still be saved as JSON.
    """

    uses_grid: ClassVar[bool] = True
    """Whether the grid points matter. Where they do not, a config refuses to train them."""

    @abstractmethod
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """Evaluate all N functions at every entry of ``z``.

        Args:
            z: Points, of any shape ``(...)``.
            grid: Grid points z_i, ``(N,)``.
            bandwidth: Bandwidths ω_i > 0, ``(N,)``.

        Returns:
            The values, ``(..., N)``.
        """


class ShiftedBasis(Basis):
    """A basis of one kernel, ψ_i(z) = ψ(ω_i (z − z_i)). A subclass writes :meth:`kernel` and nothing else."""

    @abstractmethod
    def kernel(self, u: Tensor) -> Tensor:
        """ψ(u), elementwise, for ``u`` of any shape; ``u`` is zero at a grid point and one bandwidth away at 1/ω."""

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        """See :meth:`Basis.matrix`."""
        return self.kernel(bandwidth * (z.unsqueeze(-1) - grid))
