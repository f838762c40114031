"""Learnable-Rank LoRA: ΔW = φ(BA), as a PEFT method, and the studies that ask what an adapter's rank should be.

    >>> import torch
    >>> from peft import get_peft_model
    >>> from lrlora import LRLoraConfig
    >>> base = torch.nn.Sequential(torch.nn.Linear(8, 8))
    >>> model = get_peft_model(base, LRLoraConfig(r=2, basis="sinc", target_modules=["0"]))

Importing this package makes the method known to PEFT, so that ``PeftModel.from_pretrained`` loads its adapters. What is
heavy loads on first use: ``import lrlora`` alone takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from lrlora.version import __version__

if TYPE_CHECKING:
    from lrlora.optimizer import parameter_groups, trainer_optimizer
    from lrlora.transfer import TransferFunction
    from lrlora.tuner import LRLoraConfig, LRLoraLayer, LRLoraModel

__all__ = [
    "LRLoraConfig",
    "LRLoraLayer",
    "LRLoraModel",
    "TransferFunction",
    "__version__",
    "parameter_groups",
    "trainer_optimizer",
]

_HOMES = {
    "LRLoraConfig": "lrlora.tuner",
    "LRLoraLayer": "lrlora.tuner",
    "LRLoraModel": "lrlora.tuner",
    "TransferFunction": "lrlora.transfer",
    "parameter_groups": "lrlora.optimizer",
    "trainer_optimizer": "lrlora.optimizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lrlora' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


@wrapt.when_imported("peft")
def _register_with_peft(_: Any) -> None:
    from lrlora.tuner.registration import register

    register()
