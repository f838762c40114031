"""A θ that layers in different FSDP units share, which FSDP cannot shard."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from lrlora.tuner.theta import THETA


def check_units(model: nn.Module) -> None:
    """Check that every part of θ belongs to one FSDP unit.

    A unit that is not computing has freed its parameters, so a layer in another unit would read nothing, or old values.

    Raises:
        ValueError: Layers in different units share a part.
    """
    found: dict[int, tuple[nn.Module, str]] = {}
    for name, part, unit in _parts(model, model, ""):
        first, where = found.setdefault(id(part), (unit, name))
        if first is not unit:
            raise ValueError(
                f"{where} and {name} are one part of θ in different FSDP units: configure the adapter with "
                'sharing="none", or shard these layers as one unit'
            )


def _parts(module: nn.Module, unit: nn.Module, name: str) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Yields the parts of θ below a module: a full name, the part, and the innermost unit that it is in."""
    if isinstance(module, FullyShardedDataParallel):
        unit = module
        module = module.module
    elif isinstance(module, FSDPModule):
        unit = module
    path = name.rsplit(".", 2)
    if len(path) == 3 and path[1] in THETA:
        yield name, module, unit
        return
    for child, inner in module.named_children():
        yield from _parts(inner, unit, f"{name}.{child}" if name else child)
