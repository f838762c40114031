"""Named sets of defaults. A preset fills the fields that were not given; what is saved is what was filled in."""

from __future__ import annotations

from typing import Any


def theta_rate(num_grid_points: int) -> float:
    """The learning rate of θ as a fraction of that of A and B: 0.1 at N = 50, and as 1/N.

    A step of an optimizer such as Adam moves every amplitude by about its learning rate, and neighbours on the grid
    together: φ moves by that times N. With this rate it moves as fast on a fine grid as on a coarse one.
    """
    return 5.0 / num_grid_points


PRESETS: dict[str, dict[str, Any]] = {
    # Starts exactly as LoRA does, for every basis. The figures behind the input scale and the learning rate of θ are in
    # docs/defaults.md.
    "default": {
        "lora_alpha": 8,
        "amplitude_init": "zero",
        "centered": True,
        "residual": True,
        "input_scale": 200.0,
        "transfer_lr_scale": theta_rate,
    },
    # φ alone, fitted to φ(z) = z at the start.
    "identity": {
        "lora_alpha": 8,
        "amplitude_init": "identity",
        "centered": True,
        "residual": False,
        "input_scale": 100.0,
        "transfer_lr_scale": theta_rate,
    },
    # LR-LoRA as published: ΔW = φ(BA), a = 0, no scaling.
    "paper": {
        "lora_alpha": None,
        "amplitude_init": "zero",
        "centered": False,
        "residual": False,
        "input_scale": 1.0,
        "transfer_lr_scale": 1.0,
    },
}
