"""What a basis is: N scalar functions of one variable, evaluated together.

A basis knows nothing of amplitudes, of adapters or of how a φ is evaluated fast; those live elsewhere. It is written in
plain differentiable PyTorch, elementwise in ``z``, and is stateless: its options are set once, by its constructor.
"""

from __future__ import annotations

import keyword
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lrlora.bases.options import number


@dataclass(frozen=True)
class Properties:
    """What a basis says of its functions. Every field that is set is checked by the conformance kit.

    u is ω_i (z − z_i) where the grid points are used, and ω_i z where they are not.

    Attributes:
        parity: Of every ψ_i in u; ``"definite"`` where some are even and the others odd.
        period: In u, of every ψ_i: at bandwidths that are all ω, φ has the period ``period`` / ω in z.
        support: Half-width in u: where |u| ≥ ``support`` the value is zero, exactly.
        band_limit: In cycles per unit of u: ψ_i holds no frequency above it.
        partition_of_unity: Σ_i ψ(u − i) = 1 over the integers i.
        smoothness: How many continuous derivatives ψ_i has in z; ``math.inf`` means analytic.
        polynomial: Whether ψ_i, i = 1 … N, is a polynomial of degree i at most.
        interval: ``smoothness`` and ``polynomial`` hold for |u| up to this; None: on the whole line.
    """

    parity: Literal["even", "odd", "definite"] | None = None
    period: float | None = None
    support: float | None = None
    band_limit: float | None = None
    partition_of_unity: bool = False
    smoothness: float | None = None
    polynomial: bool = False
    interval: float | None = None


_TAKEN = ("self", "z", "u", "grid", "bandwidth", "amplitude")
"""What no shape parameter is called: the arguments of ``matrix`` and ``kernel``, and the parts of every θ."""


class Basis(ABC):
    """N functions ψ_i(z; z_i, ω_i) of one variable, which a transfer function φ(z) = Σ a_i ψ_i(z) weighs.

    The contract of :meth:`matrix`, on which every engine relies:

    - It is elementwise in ``z``: an entry of the result depends on one entry of ``z`` only.
    - ψ_i depends on its own ω_i, z_i and shape parameters: those of another function do not change it.
    - It is differentiable once in ``z``, ``grid``, ``bandwidth`` and the shape parameters, through autograd, almost
      everywhere.
    - It is a pure function: no random numbers, no state, no change to its arguments.
    - It keeps the dtype and the device of ``z``. Engines call it in float64.

    A constructor parameter called ``bound`` is filled with the adapter's ``grid_bound`` unless ``basis_kwargs`` sets
    it: this is how a basis that lives on an interval, and not at grid points, learns that interval. A basis that is a
    (frozen) dataclass can be passed to a config as an instance and still be saved as JSON.
    """

    uses_grid: ClassVar[bool] = True
    """Whether the grid points matter. Where they do not, a config refuses to train them."""

    shape_parameters: ClassVar[Mapping[str, float]] = {}
    """Learned numbers of each ψ_i besides a_i, ω_i and z_i: their names, and the value that each starts from.

    A basis that declares any receives them by name. They are any real numbers: the basis maps them to what its formula
    needs, as in ``nu = log_nu.exp()``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the declared shape parameters.

        Raises:
            TypeError: A name that is no identifier, or that an argument or another part of θ has.
            ValueError: A start that is no finite number.
        """
        super().__init_subclass__(**kwargs)
        declared = cls.__dict__.get("shape_parameters")
        for name, start in declared.items() if isinstance(declared, Mapping) else ():
            if not (isinstance(name, str) and name.isidentifier()) or keyword.iskeyword(name) or name in _TAKEN:
                raise TypeError(
                    f"shape parameter of {cls.__name__} must be an identifier other than {', '.join(_TAKEN)}, "
                    f"got {name!r}"
                )
            number(f"shape_parameters[{name!r}] of {cls.__name__}", start)

    # The catch-alls of matrix and kernel let a type checker accept both signatures, with shape parameters and without.

    @abstractmethod
    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, *args: Any, **shape: Any) -> Tensor:
        """Evaluate all N functions at every entry of ``z``.

        Args:
            z: Points, of any shape ``(...)``.
            grid: Grid points z_i, ``(N,)``.
            bandwidth: Bandwidths ω_i > 0, ``(N,)``.
            args: Nothing is passed here.
            shape: The declared shape parameters by name, each ``(N,)``. One that is not given is at its start.

        Returns:
            The values, ``(..., N)``.
        """

    def with_starts(self, shape: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """``shape`` with the start of every shape parameter that is not in it, shaped as ``like``, ``(N,)``."""
        return {**{name: torch.full_like(like, start) for name, start in self.shape_parameters.items()}, **shape}

    def properties(self) -> Properties:
        """What holds of the functions; nothing is claimed unless a basis says so."""
        return Properties()

    # Compositions are bases like any other, each in its own file; imported when first used, as they import this one.

    def __add__(self, other: Basis) -> Basis:
        """The basis of the sums ψ_i + ψ'_i: :class:`~lrlora.bases.sum.Sum`."""
        if not isinstance(other, Basis):
            return NotImplemented
        from lrlora.bases.sum import Sum

        return Sum(self, other)

    def __mul__(self, other: Basis | float) -> Basis:
        """The products ψ_i · ψ'_i, :class:`~lrlora.bases.product.Product`; or ψ_i times a number."""
        if isinstance(other, Basis):
            from lrlora.bases.product import Product

            return Product(self, other)
        return self.__rmul__(other)

    def __rmul__(self, factor: float) -> Basis:
        """The basis of the functions c · ψ_i: :class:`~lrlora.bases.scaled.Scaled`."""
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        from lrlora.bases.scaled import Scaled

        return Scaled(self, factor)


class ShiftedBasis(Basis):
    """A basis of one kernel, ψ_i(z) = ψ(ω_i (z − z_i)). A subclass writes :meth:`kernel` and nothing else."""

    @abstractmethod
    def kernel(self, u: Tensor, *args: Any, **shape: Any) -> Tensor:
        """ψ(u), elementwise, for ``u`` of any shape; ``u`` is zero at a grid point and one bandwidth away at 1/ω.

        The shape parameters that the basis declares are keyword arguments, each ``(N,)``; ``u`` is ``(..., N)`` then.
        """

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor, *args: Any, **shape: Any) -> Tensor:
        """See :meth:`Basis.matrix`."""
        return self.kernel(bandwidth * (z.unsqueeze(-1) - grid), **self.with_starts(shape, bandwidth))
