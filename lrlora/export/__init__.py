"""Conversion of LR-LoRA adapters: to a merged model, to a LoRA adapter, and from a LoRA adapter.

What :func:`save_merged` and :func:`save_as_lora` write loads without this package. docs/export.md says what each
conversion keeps and loses.
"""

from lrlora.export.errors import ExportError
from lrlora.export.from_lora import from_lora, save_from_lora
from lrlora.export.loading import load_adapted
from lrlora.export.merged import save_merged
from lrlora.export.table import LayerTruncation, summarize
from lrlora.export.to_lora import LoraExport, save_as_lora, to_lora

__all__ = [
    "ExportError",
    "LayerTruncation",
    "LoraExport",
    "from_lora",
    "load_adapted",
    "save_as_lora",
    "save_from_lora",
    "save_merged",
    "summarize",
    "to_lora",
]
