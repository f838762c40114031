"""Recovering updates of known rank from outputs: does the learned rank of each layer follow the one that is needed?"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.errors import StudyError
from lrlora.studies.kinds.classification import rows_of
from lrlora.studies.kinds.kind import Metrics, Rows
from lrlora.studies.kinds.probe import Regression
from lrlora.studies.models.probe import load_probe
from lrlora.studies.tasks.planted import Planted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lrlora.studies.models.probe_model import ProbeModel


class PlantedRanks(Regression):
    """``relative_error`` on inputs that were not trained on, and ``rank_correlation``.

    The latter is Spearman's correlation over layers between the stable rank of ΔW and that of the planted update.
    """

    metrics: ClassVar[Metrics] = {"rank_correlation": "maximize", **Regression.metrics}
    task: Planted

    def __init__(self, task: Planted, backbone: str) -> None:
        super().__init__(task, backbone)
        config = self.empty().config
        if (len(task.ranks), task.width) != (config.depth, config.width):
            raise StudyError(
                f"backbone {backbone!r} has {config.depth} layers of width {config.width}, and task planted has "
                f"{len(task.ranks)} ranks for width {task.width}"
            )

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """Returns inputs with the outputs of the model that has the planted updates; ``max_length`` is ignored."""
        import torch

        inputs = torch.tensor(examples.inputs)
        with torch.no_grad():
            outputs = self._teacher(inputs).logits
        return rows_of({"inputs": inputs.numpy(), "labels": outputs.numpy()})

    def known_updates(self) -> dict[str, Tensor]:
        """See :meth:`Kind.known_updates`."""
        import torch

        return {f"layers.{i}.up": torch.from_numpy(update).float() for i, update in enumerate(self.task.updates)}

    @cached_property
    def error_scale(self) -> float:
        """See :attr:`Regression.error_scale`."""
        import torch

        inputs = torch.tensor(self.task.split("train").inputs)
        with torch.no_grad():
            difference = load_probe(self.backbone)(inputs).logits - self._teacher(inputs).logits
        return float(difference.double().square().sum(-1).mean())

    @cached_property
    def _teacher(self) -> ProbeModel:
        model = load_probe(self.backbone)
        for module, update in self.known_updates().items():
            model.get_submodule(module).weight.data += update
        return model.eval()

    def model_metrics(self, model: nn.Module, metrics: dict[str, float]) -> dict[str, float]:
        """Returns ``rank_correlation``; 0 if all layers have the same stable rank."""
        from lrlora.analysis import layer_report, stable_rank

        planted = {module: stable_rank(update) for module, update in self.known_updates().items()}
        found = {line.module: line.stable_rank for line in layer_report(model, pretrained=self.load)}
        pairs = [(rank, planted[module]) for module, rank in found.items() if rank is not None]
        return {"rank_correlation": rank_correlation(pairs)}


def rank_correlation(pairs: list[tuple[float, float]]) -> float:
    """Returns Spearman's correlation of pairs; 0 where one side is constant or there are fewer than two.

    >>> rank_correlation([(1.0, 5.0), (2.0, 7.0), (9.0, 8.0)]), rank_correlation([(1.0, 5.0), (1.0, 7.0)])
    (1.0, 0.0)
    """
    from scipy.stats import spearmanr

    if len(pairs) < 2 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return 0.0
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
