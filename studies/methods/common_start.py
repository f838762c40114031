"""One start for all methods that have a matrix A: differences between variants are then not those between two draws."""

from __future__ import annotations

import hashlib
import math
import re

import torch
from torch import nn


@torch.no_grad()
def draw_common_start(model: nn.Module) -> None:
    """Draw every A anew, as LoRA does, from the seed of the run and the name of the adapted module alone.

    A LoRA and an LR-LoRA adapter of one run then start from the same A; and of two ranks, the larger one's A begins
    with the smaller one's. Call it where A is at LoRA's usual start and B at zero.
    """
    for name, parameter in model.named_parameters():
        match = re.fullmatch(r"(.*)\.(?:lr)?lora_A\..*", name)
        if match is None or parameter.is_meta:
            continue
        digest = hashlib.sha256(f"{torch.initial_seed()} {match.group(1)}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        drawn = torch.empty(parameter.shape)
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        parameter.copy_(drawn)
