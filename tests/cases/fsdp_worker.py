"""What test_fsdp.py starts in two processes: `torchrun --nproc-per-node 2 fsdp_worker.py FOLDER`.

Both processes run everything; the first writes what it found to FOLDER/found.json. Nothing is judged here.
"""

from __future__ import annotations

import copy
import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.other import fsdp_auto_wrap_policy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor

from lrlora import LRLoraConfig, parameter_groups
from lrlora.tuner.theta import Factor, Part

WIDTH, BATCH, STEPS = 8, 8, 4
VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "default": {},
    "direct": {"engine": "direct"},
    "gaussian, learned grid": {"basis": "gaussian", "grid": "learned"},
    "shared": {"sharing": "all", "grid": "learned"},
    "shared in blocks": {"sharing": "all", "sharing_scope": "layer"},
}


class Block(nn.Module):
    """What is sharded as one."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH)
        self.down = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(x)))


def adapted(name: str) -> PeftModel:
    """The same small model in every process, in float64, away from the start."""
    torch.manual_seed(0)
    base = nn.Sequential(Block(), Block())
    if name == "lora":
        config: Any = LoraConfig(r=2, target_modules=["up", "down"], init_lora_weights=False)
    else:
        settings = {"r": 2, "init_weights": False, "num_grid_points": 6, "input_scale": 20.0} | VARIANTS[name]
        config = LRLoraConfig(target_modules=["up", "down"], **settings)
    return get_peft_model(base, config).double().train()


def by_blocks(model: PeftModel) -> nn.Module:
    """FSDP2, a block at a time."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model.base_model.model:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def by_parts_and_blocks(model: PeftModel) -> nn.Module:
    """FSDP2, where each part of θ is a unit of its own."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in model.modules():
        if isinstance(module, Part) and not isinstance(module, Factor):
            fully_shard(module, mesh=mesh)
    return by_blocks(model)


def with_original_parameters(model: PeftModel) -> nn.Module:
    """FSDP1 on blocks."""
    return FullyShardedDataParallel(
        model, auto_wrap_policy=ModuleWrapPolicy({Block}), use_orig_params=True, device_id=torch.device("cpu")
    )


def by_pefts_policy(model: PeftModel) -> nn.Module:
    """FSDP1 as PEFT's documents have it: every module that holds a trained weight is a unit of its own."""
    model.base_model.model._no_split_modules = ["Block"]
    return FullyShardedDataParallel(
        model, auto_wrap_policy=fsdp_auto_wrap_policy(model), use_orig_params=False, device_id=torch.device("cpu")
    )


RUNS = [
    *((way, name) for way in ("FSDP2", "FSDP1", "FSDP1 by PEFT's policy") for name in list(VARIANTS)[:4]),
    *((way, "shared in blocks") for way in ("FSDP2", "FSDP1")),
    *((way, "shared") for way in ("FSDP2, parts first", "FSDP1", "FSDP1 by PEFT's policy")),
]
"""What is compared, as pairs of a way and a variant."""

WAYS: dict[str, Callable[[PeftModel], nn.Module]] = {
    "FSDP2": by_blocks,
    "FSDP2, parts first": by_parts_and_blocks,
    "FSDP1": with_original_parameters,
    "FSDP1 by PEFT's policy": by_pefts_policy,
}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, BATCH, WIDTH, generator=generator, dtype=torch.float64)
    return x, y


def trained(model: nn.Module, x: Tensor, y: Tensor, groups: bool) -> list[float]:
    """Losses of a few steps over the whole batch."""
    optimized = parameter_groups(model, lr=1e-2) if groups else [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(optimized, lr=1e-2)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        total = loss.detach().clone()
        if dist.get_world_size() > 1 and len(x) < BATCH:
            dist.all_reduce(total)
            total /= dist.get_world_size()
        losses.append(float(total))
    return losses


def gathered(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The whole state of the adapter, by the keys that are saved."""
    state = {
        key: value.full_tensor() if isinstance(value, DTensor) else value for key, value in model.state_dict().items()
    }
    if name == "lora":  # PEFT does not find the layers of LoRA inside of FSDP1's wrappers
        return {key.replace(".default", ""): value for key, value in state.items() if ".lora_" in key}
    return get_peft_model_state_dict(
        model.module if isinstance(model, FullyShardedDataParallel) else model, state_dict=state
    )


def compare(name: str, way: str) -> dict[str, Any]:
    """How far two processes with half of the batch each are from one with all of it."""
    alone = adapted(name)
    before = {key: value.clone() for key, value in get_peft_model_state_dict(alone).items()}
    together = WAYS[way](copy.deepcopy(alone))
    x, y = batch()
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    # FSDP1 without the original parameters has flat ones, whose groups cannot be told apart.
    groups = name != "lora" and way != "FSDP1 by PEFT's policy"
    losses = trained(alone, x, y, groups), trained(together, x[mine], y[mine], groups)
    expected, found = get_peft_model_state_dict(alone), gathered(together, name)
    with torch.no_grad():
        # In evaluation; every process has to take part.
        outputs = alone.eval()(x), together.eval()(x)
    return {
        "losses": max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)),
        "keys": sorted(expected.keys() ^ found.keys()),
        "weights": max(float((found[k] - v).norm() / v.norm()) for k, v in expected.items() if v.is_floating_point()),
        "outputs": float((outputs[0] - outputs[1]).norm() / outputs[0].norm()),
        "moved": float(
            max((expected[key] - value).norm() for key, value in before.items() if value.is_floating_point())
        ),
    }


def main(folder: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    found: dict[str, Any] = {}
    for way, name in RUNS:
        try:
            found[f"{way}, {name}"] = compare(name, way)
        except Exception as error:  # what failed is a finding
            found[f"{way}, {name}"] = {"error": "".join(traceback.format_exception(error))[-1500:]}
    if dist.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
