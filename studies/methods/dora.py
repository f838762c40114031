"""DoRA (Liu et al. 2024): W + ΔW as a direction, of which LoRA learns the change, and a magnitude per output."""

from __future__ import annotations

from typing import Any, ClassVar

from lrlora.studies.methods.low_rank import LowRank


class DoRA(LowRank):
    """LoRA with a learned magnitude per output feature."""

    name = "dora"
    fixed: ClassVar[dict[str, Any]] = {"use_dora": True}
