"""Rank-stabilised LoRA (Kalajdzievski 2023): α/√r in place of α/r, so that a large rank still learns."""

from __future__ import annotations

from typing import Any, ClassVar

from lrlora.studies.methods.low_rank import LowRank


class RSLoRA(LowRank):
    """LoRA with rank-stabilised scaling."""

    name = "rslora"
    fixed: ClassVar[dict[str, Any]] = {"use_rslora": True}
