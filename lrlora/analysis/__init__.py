"""What can be said of an adapter once it is there: its parameters, its spectrum, and whether its φ bends at all."""

from lrlora.analysis.accounting import ParameterCount, count_parameters
from lrlora.analysis.layers import LayerReport, layer_report
from lrlora.analysis.spectrum import effective_rank, nonlinear_fraction, stable_rank
from lrlora.analysis.updates import weight_update

__all__ = [
    "LayerReport",
    "ParameterCount",
    "count_parameters",
    "effective_rank",
    "layer_report",
    "nonlinear_fraction",
    "stable_rank",
    "weight_update",
]
