"""How the weights of a backbone are held: their dtype, and whether its linear layers are quantized."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

_HEADS = ["classifier", "pre_classifier", "score", "lm_head"]
"""Heads, which are not quantized: those of classifiers are trained, those of language models tied to embeddings."""

LIBRARIES = {"int8": "torchao", "nf4": "bitsandbytes"}
"""The library of each quantization."""


@dataclass(frozen=True)
class Weights:
    """The form in which ``from_pretrained`` loads a backbone.

    Attributes:
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        quantization: ``"none"``, ``"int8"`` (torchao, weights only) or ``"nf4"`` (bitsandbytes).
    """

    dtype: str = "float32"
    quantization: str = "none"

    @property
    def missing_library(self) -> str | None:
        """The library that the quantization needs and that is not installed; None if nothing is missing."""
        library = LIBRARIES.get(self.quantization)
        return library if library is not None and importlib.util.find_spec(library) is None else None

    def options(self) -> dict[str, Any]:
        """Returns the arguments of ``from_pretrained``."""
        import torch

        dtype = getattr(torch, self.dtype)
        if self.quantization == "int8":
            from transformers import TorchAoConfig

            int8 = importlib.import_module("torchao.quantization").Int8WeightOnlyConfig()
            config: Any = TorchAoConfig(int8, modules_to_not_convert=_HEADS)
        elif self.quantization == "nf4":
            from transformers import BitsAndBytesConfig

            config = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=dtype,
                llm_int8_skip_modules=_HEADS,
            )
        else:
            return {"dtype": dtype}
        return {"dtype": dtype, "quantization_config": config}


FLOAT32 = Weights()
"""The default: all weights in float32."""
