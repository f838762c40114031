"""Measures of an adapter: its parameters, the spectrum of its updates, and the curve of its φ.

Names load on first use, so that the tuner can import :mod:`lrlora.analysis.linalg` without what is built on the tuner.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrlora.analysis.accounting import ParameterCount, count_parameters
    from lrlora.analysis.curves import TransferCurve
    from lrlora.analysis.layers import LayerReport, layer_curves, layer_report, stable_ranks
    from lrlora.analysis.linalg import SPECTRUM_AT, effective_rank, nonlinear_fraction, stable_rank
    from lrlora.analysis.updates import weight_update

__all__ = [
    "SPECTRUM_AT", "LayerReport", "ParameterCount", "TransferCurve", "count_parameters", "effective_rank",
    "layer_curves", "layer_report", "nonlinear_fraction", "stable_rank", "stable_ranks", "weight_update",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for part in ("linalg", "accounting", "curves", "updates", "layers") if name in __all__ else ():
        if hasattr(module := import_module(f"{__name__}.{part}"), name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
