"""PiSSA (Meng et al. 2024): BA starts as the r largest singular components of W, and what is frozen is the rest."""

from __future__ import annotations

from typing import Any, ClassVar

from lrlora.studies.methods.low_rank import LowRank


class PiSSA(LowRank):
    """LoRA that trains the principal components of the weight. The model's function is unchanged at the start.

    A decomposition of every adapted weight is made when it is adapted, and made again when a saved adapter is loaded.
    """

    name = "pissa"
    fixed: ClassVar[dict[str, Any]] = {"init_lora_weights": "pissa"}
