"""Number formats of a run: which combinations are available, and the dtype of trained parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrlora.studies.errors import StudyError
from lrlora.studies.kinds import Kind
from lrlora.studies.models.backbones import is_gguf
from lrlora.studies.models.weights import Weights
from lrlora.studies.spec.study import Training

if TYPE_CHECKING:
    from torch import nn

QUANTIZABLE = ("lora", "rslora", "lrlora")
"""Methods that are trained on a quantized base."""


def weights_of(training: Training) -> Weights:
    """Returns the form in which a run loads the weights of its backbone."""
    return Weights(training.dtype, training.quantization)


def check_numerics(training: Training, method: str, kind: Kind, model: nn.Module, where: str) -> None:
    """Check that the number formats of a run are available on this machine, for its method and backbone.

    Args:
        training: The settings of the run.
        method: The name of the method.
        kind: The task on the backbone.
        model: The backbone; on the meta device suffices.
        where: The beginning of the message.

    Raises:
        StudyError: If they are not; one line.
    """
    problem = (
        _precision_problem(training)
        or _frozen_weights_problem(training, method)
        or _quantization_problem(training, method, kind)
    )
    if problem is None and training.gradient_checkpointing and not getattr(model, _SUPPORTS, False):
        problem = f"training.gradient_checkpointing=true: {type(model).__name__} does not support it"
    if problem is not None:
        raise StudyError(f"{where}: {problem}")


_SUPPORTS = "supports_gradient_checkpointing"


def _precision_problem(training: Training) -> str | None:
    import torch

    if training.precision == "fp16" and not torch.cuda.is_available():
        return "training.precision=fp16 needs a GPU; use bf16"
    if training.precision == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        return "training.precision=bf16 is not supported by this GPU; use fp16"
    return None


def _frozen_weights_problem(training: Training, method: str) -> str | None:
    if method == "full" and training.dtype != "float32":
        return f"training.dtype={training.dtype} has no effect on method full, which has no frozen weights"
    return None


def _quantization_problem(training: Training, method: str, kind: Kind) -> str | None:
    chosen = f"training.quantization={training.quantization}"
    if training.quantization == "none":
        return None
    if method not in QUANTIZABLE:
        return f"{chosen} is not available for method {method}; it is for {', '.join(QUANTIZABLE)}"
    if is_gguf(kind.backbone):
        return f"{chosen} is not available for backbone {kind.backbone!r}, which is read from a GGUF file"
    if (library := weights_of(training).missing_library) is not None:
        return f"{chosen} needs {library}, which is not installed; get it with: pip install {library}"
    return None


def train_in_float32(model: nn.Module) -> None:
    """Convert trained parameters to float32, and the inputs of the modules that hold them, adapters excepted.

    Adapters convert their inputs themselves. A model whose trained parameters are in float32 is left as it is.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    def convert(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in inputs)

    adapters = {id(part) for layer in model.modules() if isinstance(layer, BaseTunerLayer) for part in layer.modules()}
    for module in model.modules():
        narrow = [
            parameter
            for parameter in module.parameters(recurse=False)
            if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16)
        ]
        for parameter in narrow:
            parameter.data = parameter.data.float()
        if narrow and id(module) not in adapters:
            module.register_forward_pre_hook(convert)
