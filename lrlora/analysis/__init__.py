"""What can be said of an adapter once it is there: its parameters, its spectrum, and whether its φ bends at all."""

from lrlora.analysis.accounting import ParameterCount, count_parameters
from lrlora.analysis.bending import STRAIGHT_LINE, bending_scale
from lrlora.analysis.curves import TransferCurve, active_share, transfer_curve
from lrlora.analysis.layers import LayerReport, layer_curves, layer_report, stable_ranks
from lrlora.analysis.spectrum import (
    SPECTRUM_AT,
    effective_rank,
    nonlinear_fraction,
    relative_spectrum,
    sampled_spectrum,
    stable_rank,
)
from lrlora.analysis.updates import weight_update

__all__ = [
    "SPECTRUM_AT",
    "STRAIGHT_LINE",
    "LayerReport",
    "ParameterCount",
    "TransferCurve",
    "active_share",
    "bending_scale",
    "count_parameters",
    "effective_rank",
    "layer_curves",
    "layer_report",
    "nonlinear_fraction",
    "relative_spectrum",
    "sampled_spectrum",
    "stable_rank",
    "stable_ranks",
    "transfer_curve",
    "weight_update",
]
