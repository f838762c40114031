"""FSDP2 by blocks on one device: it computes what the model computes without it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from peft import get_peft_model
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lrlora import LRLoraConfig, parameter_groups


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(32, 48)
        self.down = nn.Linear(48, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(x)))


@pytest.fixture
def mesh(device: str, tmp_path: Path) -> Iterator[Any]:
    """A process group of this process alone."""
    cuda = device == "cuda"
    store = dist.FileStore(str(tmp_path / "store"), 1)
    own = {"device_id": torch.device("cuda", 0)} if cuda else {}
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=0, world_size=1, **own)
    yield init_device_mesh(device, (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("fields", [{"engine": "direct"}, {"engine": "auto"}, {"engine": "polynomial"}], ids=str)
def test_a_sharded_model_trains_as_a_whole_one(fields: dict[str, str], mesh: Any, device: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"r": 2, "init_weights": False, "num_grid_points": 6, "input_scale": 20.0}
    config = LRLoraConfig(target_modules=["up", "down"], **settings, **fields)
    whole: Any = get_peft_model(nn.Sequential(Block(), Block()), config).to(device).train()
    sharded = copy.deepcopy(whole)
    for block in sharded.base_model.model:
        fully_shard(block, mesh=mesh)
    sharded = fully_shard(sharded, mesh=mesh)
    found = []
    for model in (whole, sharded):
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2), lr=1e-2)
        x, y = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(1)).to(device)
        losses = []
        for _ in range(4):
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            losses.append(float(model.eval()(x).norm()))
        found.append(losses)
    assert found[0][3] < found[0][0]
    assert found[1] == pytest.approx(found[0], rel=1e-4)
