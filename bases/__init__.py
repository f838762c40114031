"""One-dimensional bases: one file, one basis, one plugin each.

A new basis whose functions are one kernel, shifted over the grid and scaled by the bandwidth:

    >>> import torch
    >>> from lrlora.bases import ShiftedBasis, register
    >>> @register("mexican_hat")
    ... class MexicanHat(ShiftedBasis):
    ...     def kernel(self, u):
    ...         return (1 - u**2) * torch.exp(-(u**2) / 2)

From then on ``LRLoraConfig(basis="mexican_hat")`` works, with every engine. A basis that is no shifted kernel
implements :meth:`Basis.matrix`. Installed packages add bases through the entry-point group ``lrlora.bases``.
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
        "polynomial": "lrlora.bases.polynomial:Polynomial",
        "sinc": "lrlora.bases.sinc:Sinc",
    },
)
register = BASES.register

__all__ = ["BASES", "Basis", "Properties", "ShiftedBasis", "register"]
