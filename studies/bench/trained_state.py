"""Adapters as training leaves them: at B = 0, where they start, every engine is cheap."""

from __future__ import annotations

import torch
from torch import nn

B_STD = 0.03
AMPLITUDE_STD = 0.02


@torch.no_grad()
def draw_trained_state(model: nn.Module, seed: int = 0) -> None:
    """Draw every B, of LoRA and of LR-LoRA alike, and the amplitudes of LR-LoRA.

    The n-th adapted module gets the same B whichever of the two methods it is adapted with.
    """
    for part, std, offset in (("B", B_STD, 0), ("amplitude", AMPLITUDE_STD, 1)):
        generator = torch.Generator().manual_seed(2 * seed + offset)
        for name, parameter in model.named_parameters():
            if f"lora_{part}." in name:  # "lora_B.default.weight", "lrlora_B.default": the one ends as the other
                parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
