"""What a sum and a product of two bases have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass
from typing import cast

from torch import Tensor

from lrlora.bases.basis import Basis
from lrlora.bases.parts import Part, create_part


@dataclass(frozen=True)
class Pair(Basis):
    """Two bases taken together, function by function: the same z_i and ω_i for both."""

    first: Part
    second: Part
    bound: InitVar[float | None] = None

    def __post_init__(self, bound: float | None) -> None:
        whole = type(self).__name__.lower()
        for field in ("first", "second"):
            object.__setattr__(self, field, create_part(whole, field, getattr(self, field), bound))

    @property
    def parts(self) -> tuple[Basis, Basis]:
        """Both parts, made."""
        return cast("Basis", self.first), cast("Basis", self.second)

    @property
    def uses_grid(self) -> bool:  # type: ignore[override]  # of the parts, and so of the instance
        """Whether the grid points matter to either part."""
        return any(part.uses_grid for part in self.parts)

    @property
    def shape_parameters(self) -> Mapping[str, float]:  # type: ignore[override]  # of the parts, and so of the instance
        """Those of both parts, as ``first_NAME`` and ``second_NAME``."""
        return {
            f"{which}_{name}": start
            for which, part in zip(("first", "second"), self.parts, strict=True)
            for name, start in part.shape_parameters.items()
        }

    def matrices(self, z: Tensor, grid: Tensor, bandwidth: Tensor, shape: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """The values of the first part and of the second, ``(..., N)`` each."""
        given = self.with_starts(shape, bandwidth)
        for which, part in zip(("first", "second"), self.parts, strict=True):
            own = {name: given[f"{which}_{name}"] for name in part.shape_parameters}
            yield part.matrix(z, grid, bandwidth, **own)
