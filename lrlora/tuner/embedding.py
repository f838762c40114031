"""Adapted embeddings: φ is evaluated on the columns of the tokens that occur, and not on the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrlora.tuner.compilation import outside_compiled_graphs
from lrlora.tuner.layer import AdaptedModule


class Embedding(AdaptedModule):
    """LR-LoRA on an ``nn.Embedding``, whose weight, ``(tokens, dim)``, is laid out as the transpose of ΔW.

    As in LoRA, A starts at zero and B at random, since a token's column of A is trained only when the token occurs.
    There is no dropout.
    """

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        assert isinstance(base, nn.Embedding)
        return base.num_embeddings, base.embedding_dim, True

    def _init_factors(self, adapter_name: str) -> Tensor:
        A, B = self.held_factors(adapter_name)
        nn.init.normal_(B)
        return A

    @outside_compiled_graphs
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The embeddings of the tokens ``x`` of any shape, ``(..., dim)``."""
        active = self.unmerged_adapters()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if not active:
            return result
        base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
        tokens, place = torch.unique(x, return_inverse=True)
        scale = self._get_embed_scale()  # type: ignore[operator]
        for name in active:
            A, B = self.factors(name)
            transfer = self.transfer(name)
            plan = self.plan(name, A, B, transfer)
            # The column of the padding token takes no gradient, as in the base layer.
            columns = F.embedding(tokens, A.T, padding_idx=base.padding_idx).T
            with torch.autocast(A.device.type, enabled=False):
                delta = self.lrlora_engine[name].delta(columns, B, transfer, plan)
            update = F.embedding(place, delta.T)
            if scale is not None:
                update = update * scale.to(update.dtype)
            result = result + update.to(result.dtype)
            self.lrlora_plan[name].watch(result)  # type: ignore[operator]
        return result

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """False: PEFT writes such adapters for linear layers only."""
        return False
