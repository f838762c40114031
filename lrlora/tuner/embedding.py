"""Adapted embeddings: φ is evaluated on the columns of the tokens that occur, and not on the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrlora.tuner.compilation import outside_compiled_graphs
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.layer import LRLoraLayer


class Embedding(nn.Module, LRLoraLayer):
    """LR-LoRA on an ``nn.Embedding``: the weight, ``(tokens, dim)``, is laid out as the transpose of ΔW.

    As in LoRA, it is A that starts at zero, and B at random: a token's column of A is only trained when the token
    occurs, and would be drowned in the other tokens' steps if B were what has to grow. There is no dropout.
    """

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: LRLoraConfig, **kwargs: Any) -> None:
        nn.Module.__init__(self)
        LRLoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, **kwargs)

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        assert isinstance(base, nn.Embedding)
        return base.num_embeddings, base.embedding_dim, True

    @torch.no_grad()
    def reset_lrlora_parameters(self, adapter_name: str, init_weights: bool) -> None:
        """See :meth:`LRLoraLayer.reset_lrlora_parameters`, with A and B the other way round."""
        if self.r[adapter_name] == 0:
            return
        nn.init.normal_(self.lrlora_B[adapter_name])
        if init_weights:
            nn.init.zeros_(self.lrlora_A[adapter_name])
        else:
            nn.init.normal_(self.lrlora_A[adapter_name], std=0.1)
            amplitude: Any = self.lrlora_amplitude[adapter_name]
            nn.init.normal_(amplitude.weight, std=0.1)

    @outside_compiled_graphs
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The embeddings of the tokens ``x`` of any shape, ``(..., dim)``."""
        active = self.adapters_at_work()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if not active:
            return result
        base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
        tokens, place = torch.unique(x, return_inverse=True)
        scale = self._get_embed_scale()  # type: ignore[operator]
        for name in active:
            A, B = self.wide_factors(name)
            # The column of the padding token takes no gradient, as in the base layer.
            columns = F.embedding(tokens, A.T, padding_idx=base.padding_idx).T
            fitted = self.lrlora_fits[name].fitted(self)
            with torch.autocast(x.device.type, enabled=False):
                delta = self.lrlora_engine[name].delta(columns, B, self.transfer(name), fitted)
            update = F.embedding(place, delta.T)
            if scale is not None:
                update = update * scale.to(update.dtype)
            result = result + update.to(result.dtype)
        return result

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """False: PEFT writes such adapters for linear layers only."""
        return False

    def __repr__(self) -> str:
        return "lrlora." + super().__repr__()
