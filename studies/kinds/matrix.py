"""Fitting a given update ΔW* of one linear layer: what a method can express with its parameters.

The inputs are unit vectors, so that the outputs are the columns of the weight, for any method of PEFT, and the mean
squared error of a batch of all of them is ‖ΔW − ΔW*‖_F² without any sampling.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.errors import StudyError
from lrlora.studies.kinds.classification import rows_of
from lrlora.studies.kinds.kind import Metrics, Rows
from lrlora.studies.kinds.probe import Regression
from lrlora.studies.models.backbones import config_of
from lrlora.studies.models.weights import FLOAT32, Weights
from lrlora.studies.tasks.matrices import MatrixTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from lrlora.studies.models.probe_model import ProbeModel

MODULE = "layers.0.up"
"""The layer that is adapted."""

FLOOR = 1e-3
"""Relative error below which two errors count as equal: optimizers do not reach 0."""


class Matrix(Regression):
    """``relative_error`` is ‖ΔW − ΔW*‖_F / ‖ΔW*‖_F; ``svd_ratio`` is that over the best error of a rank (SVD bound).

    The rank is the one that has as many parameters as the method trains, see :func:`svd_bound`.
    """

    metrics: ClassVar[Metrics] = {"svd_ratio": "minimize", **Regression.metrics}
    task: MatrixTask

    def __init__(self, task: MatrixTask, backbone: str) -> None:
        super().__init__(task, backbone)
        if (depth := config_of(backbone).depth) != 1:
            raise StudyError(f"backbone {backbone!r} has {depth} layers, and matrix tasks fit one; take linear")

    def shape(self) -> dict[str, Any]:
        """See :meth:`ProbeKind.shape`."""
        return {"width": len(self.task.weight)}

    def load(self, weights: Weights = FLOAT32) -> ProbeModel:
        """See :meth:`Kind.load`. The weight is that of the task."""
        import torch

        model = super().load(weights)
        model.get_submodule(MODULE).weight.data.copy_(torch.from_numpy(self.task.weight))
        return model

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """See :meth:`Kind.encode`; ``max_length`` is ignored."""
        import numpy as np

        columns = {"inputs": examples.inputs, "labels": examples.outputs}
        return rows_of({name: np.asarray(values, "float32") for name, values in columns.items()})

    @property
    def error_scale(self) -> float:
        """See :attr:`Regression.error_scale`."""
        return float((self.singular_values**2).sum() / len(self.task.weight))

    @cached_property
    def singular_values(self) -> NDArray[np.floating]:
        """The singular values of ΔW*, the largest first."""
        import numpy as np

        return np.linalg.svd(self.task.target, compute_uv=False)

    def known_updates(self) -> dict[str, Tensor]:
        """See :meth:`Kind.known_updates`."""
        import torch

        return {MODULE: torch.from_numpy(self.task.target).float()}

    def model_metrics(self, model: nn.Module, metrics: dict[str, float]) -> dict[str, float]:
        """Returns ``svd_ratio``."""
        from lrlora.analysis import count_parameters

        count = count_parameters(model)
        bound = svd_bound(self.singular_values, count.adapter or count.trainable)
        return {"svd_ratio": svd_ratio(metrics["relative_error"], bound)}


def svd_bound(values: NDArray[np.floating], parameters: int) -> float:
    """Returns the least relative error of a matrix of the rank that has so many parameters.

    A matrix of rank r has r · 2n parameters as a product of two factors. Between whole ranks the squared error is
    interpolated linearly.

    Args:
        values: Singular values of a square matrix, ``(n,)``, the largest first.
        parameters: Number of trained parameters.

    >>> import numpy as np
    >>> svd_bound(np.array([1.0, 1.0, 1.0, 1.0]), 16)
    0.7071067811865476
    """
    rank = min(parameters / (2 * len(values)), len(values))
    whole = int(rank)
    energy = values**2
    left = energy[whole:].sum() - (energy[whole] * (rank - whole) if whole < len(values) else 0.0)
    return float((max(left, 0.0) / energy.sum()) ** 0.5)


def svd_ratio(error: float, bound: float) -> float:
    """Returns an error over a bound. If the bound is below :data:`FLOOR`, both count as that much at least.

    >>> svd_ratio(0.3, 0.6), svd_ratio(0.0, 0.0), svd_ratio(0.01, 0.0)
    (0.5, 1.0, 10.0)
    """
    return error / bound if bound >= FLOOR else max(error, FLOOR) / FLOOR
