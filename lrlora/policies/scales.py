"""The scale s_in of what goes into φ: whether there is any nonlinearity at all.

In training at LoRA's learning rates the entries of BA stay near 0.01, where every smooth φ is nearly linear. The output
scale is the inverse times lora_alpha / r, so that the linear part of the update is LoRA's, whatever s_in is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from lrlora.bases.options import number
from lrlora.policies.kind import PolicyKind


class InputScale(ABC):
    """Gives s_in for one adapted weight."""

    @abstractmethod
    def value(self, in_features: int, out_features: int, r: int) -> float:
        """s_in > 0."""


INPUT_SCALES: PolicyKind[InputScale] = PolicyKind(
    InputScale,
    field="input_scale",
    group="lrlora.input_scales",
    check="check_input_scale",
    default=None,
    about="s_in: the scale of BA inside φ; a number is one s_in for every weight.",
    shorthand=lambda value: Constant(value) if isinstance(value, (int, float)) else None,
)


@INPUT_SCALES.builtin("constant")
@dataclass(frozen=True)
class Constant(InputScale):
    """One s_in for every weight. A plain number in the config means this one.

    Args:
        kappa: s_in, positive.
    """

    kappa: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", number("input_scale", self.kappa, above=0))

    def value(self, in_features: int, out_features: int, r: int) -> float:
        return float(self.kappa)


@INPUT_SCALES.builtin("width")
@dataclass(frozen=True)
class Width(InputScale):
    """s_in = κ · sqrt(3 · in / r): entries of B of size b make entries of z of size about κ·b, at every width and rank.

    A starts uniform on ±1/sqrt(in), as in LoRA, so its columns have the norm sqrt(r / (3 · in)).

    Args:
        kappa: κ, positive.
    """

    kappa: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kappa", number("kappa of input_scale 'width'", self.kappa, above=0))

    def value(self, in_features: int, out_features: int, r: int) -> float:
        return float(self.kappa * (3 * in_features / r) ** 0.5)
