"""Ways out of LR-LoRA and into it: a merged model, a LoRA adapter that any server takes, and an adapter made of LoRA's.

An adapter of this package needs this package wherever it is loaded. What :func:`save_merged` and :func:`save_as_lora`
write does not. docs/export.md says what each of them keeps and loses.
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
