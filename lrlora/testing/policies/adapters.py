"""What a policy does to a real adapter: one on a tiny model, trained a little, saved, loaded and cast."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.testing.checks import ConformanceError
from lrlora.testing.policies.tiny_models import TinyModel

PLAIN = TinyModel("linear", layers=2)
BLOCKS = TinyModel("llama", layers=2)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed PyTorch's generator, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def adapter_config(tiny: TinyModel, **fields: Any) -> Any:
    """A small adapter's configuration, of those fields and else cheap ones."""
    from lrlora import LRLoraConfig

    return LRLoraConfig(**{"r": 2, "basis": "gaussian", "num_grid_points": 4, "target_modules": tiny.targets, **fields})


def adapted(tiny: TinyModel, config: Any, seed: int = 0) -> Any:
    """The tiny model with an adapter."""
    from peft import get_peft_model

    import lrlora  # noqa: F401  # makes the method known to PEFT

    base = tiny.build()
    with seeded(seed), warnings.catch_warnings():
        # An initialisation or a placement may warn of what the tiny model makes of it: that is another check's matter.
        warnings.simplefilter("ignore")
        return get_peft_model(base, config).eval()


def train(tiny: TinyModel, model: nn.Module, steps: int = 2) -> None:
    """Train an adapter for a few large steps toward an output of ones.

    Raises:
        ConformanceError: The loss or a gradient is not finite.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam([parameter for _, parameter in trained], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (tiny.output(model) - 1).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in trained:
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise ConformanceError(f"the gradient of {name} is not finite in step {step} on {tiny}")
        if not loss.isfinite():
            raise ConformanceError(f"the loss is {loss.item()} in step {step} on {tiny}")
        optimizer.step()


def saved_and_loaded(tiny: TinyModel, model: Any) -> Any:
    """What is loaded from the files of an adapter, under another seed than it was made with."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder, seeded(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        strange = [path.name for path in Path(folder).rglob("*") if path.suffix not in (".safetensors", ".json", ".md")]
        if strange:
            raise ConformanceError(f"an adapter is saved as safetensors and JSON, and here as {', '.join(strange)} too")
        return PeftModel.from_pretrained(tiny.build(), folder).eval()


def check_adapter_survives_saving(tiny: TinyModel, **fields: Any) -> None:
    """See that an adapter trains, and says the same after it was saved and loaded under another seed.

    Raises:
        ConformanceError: It does not.
    """
    model = adapted(tiny, adapter_config(tiny, **fields))
    with seeded(2):
        train(tiny, model)
    before = tiny.output(model).detach()
    loaded = saved_and_loaded(tiny, model)
    after = tiny.output(loaded).detach()
    if not before.isfinite().all():
        raise ConformanceError(f"the output of {tiny} is not finite after two steps")
    if not torch.allclose(before, after, rtol=1e-5, atol=1e-6):
        apart = float((before - after).abs().max())
        raise ConformanceError(f"{tiny} answers {apart:.2g} apart after its adapter was saved and loaded")


def largest(values: Tensor) -> float:
    """The largest magnitude; 0 of none."""
    return float(values.abs().max()) if values.numel() else 0.0
