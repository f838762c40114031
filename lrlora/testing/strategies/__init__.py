"""Hypothesis strategies for low-rank pairs, grids, bases, transfer functions, models and whole variants.

They need hypothesis, which comes with ``pip install 'lrlora[testing]'``; of the checks, only those of engines do.
Counter-examples shrink to small round numbers and to names, and are printed as code that makes them again, given
``from torch import tensor``.
"""

try:
    import hypothesis  # noqa: F401  # so that a missing one is said in one line
except ImportError as error:
    raise ImportError("lrlora.testing.strategies needs hypothesis: pip install 'lrlora[testing]'") from error

from lrlora.testing.strategies.functions import (
    LowRankPair,
    PlacedGrid,
    Theta,
    bases,
    grids,
    low_rank_pairs,
    thetas,
    transfer_functions,
)
from lrlora.testing.strategies.variants import tiny_models, variants
from lrlora.testing.tiny_models import TinyModel

__all__ = [
    "LowRankPair",
    "PlacedGrid",
    "Theta",
    "TinyModel",
    "bases",
    "grids",
    "low_rank_pairs",
    "thetas",
    "tiny_models",
    "transfer_functions",
    "variants",
]
