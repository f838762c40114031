"""One-dimensional bases: one file, one basis, one plugin each.

A new basis whose functions are one kernel, shifted over the grid and scaled by the bandwidth:

    >>> import torch
    >>> from lrlora.bases import ShiftedBasis, register
    >>> @register("logistic_bump")
    ... class LogisticBump(ShiftedBasis):
    ...     def kernel(self, u):
    ...         return torch.sigmoid(u) * torch.sigmoid(-u)

From then on ``LRLoraConfig(basis="logistic_bump")`` works, with every engine. A basis that is no shifted kernel
implements :meth:`Basis.matrix`. Installed packages add bases through the entry-point group ``lrlora.bases``.

Bases compose: ``Sinc() + Gaussian()``, ``Sinc() * Gaussian()`` and ``0.5 * Morlet()`` are bases again, which a config
also makes of plain names (``basis="sum"``, ``basis_kwargs={"first": "sinc", "second": "gaussian"}``).
"""

if __name__ != "lrlora.bases":
    raise ImportError(f"this folder is the package 'lrlora.bases', not {__name__!r}: import it under its full name")

from lrlora.bases.basis import Basis, Properties, ShiftedBasis
from lrlora.registry import Registry

BASES: Registry[Basis] = Registry(
    "basis",
    group="lrlora.bases",
    base="lrlora.bases.basis:Basis",
    builtins={
        "bspline": "lrlora.bases.bspline:BSpline",
        "fourier": "lrlora.bases.fourier:Fourier",
        "gaussian": "lrlora.bases.gaussian:Gaussian",
        "legendre": "lrlora.bases.legendre:Legendre",
        "mexican_hat": "lrlora.bases.mexican_hat:MexicanHat",
        "morlet": "lrlora.bases.morlet:Morlet",
        "piecewise_linear": "lrlora.bases.piecewise_linear:PiecewiseLinear",
        "polynomial": "lrlora.bases.polynomial:Polynomial",
        "product": "lrlora.bases.product:Product",
        "rational": "lrlora.bases.rational:Rational",
        "ridge": "lrlora.bases.ridge:Ridge",
        "scaled": "lrlora.bases.scaled:Scaled",
        "sinc": "lrlora.bases.sinc:Sinc",
        "sine": "lrlora.bases.sine:Sine",
        "student": "lrlora.bases.student:Student",
        "sum": "lrlora.bases.sum:Sum",
    },
)
register = BASES.register

__all__ = ["BASES", "Basis", "Properties", "ShiftedBasis", "register"]
