"""The merged model as a checkpoint of transformers: W + ΔW in place of W, without PEFT and without this package."""

from __future__ import annotations

import copy
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from peft import PeftModel
from transformers import PreTrainedModel

from lrlora.analysis.layers import PREFIX
from lrlora.export.errors import ExportError, one_line
from lrlora.export.folders import check_free, whole_folder
from lrlora.export.to_lora import adapted_layers, config_of
from lrlora.tuner import LRLoraConfig

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip


def save_merged(
    model: PeftModel,
    folder: str | Path,
    *,
    force: bool = False,
    adapter_name: str = "default",
    keep_model: bool = True,
    tokenizer: Any = None,
) -> list[str]:
    """Writes a model with its adapter merged, which ``AutoModel.from_pretrained`` loads with transformers alone.

    Tokenizer and processor files are copied from the base model's folder, or from the cache of the hub.

    Args:
        model: With the adapter, on a model of transformers.
        folder: The output folder. It is written as a whole or not at all.
        force: Replace an earlier export there.
        adapter_name: The adapter to merge; others are left out.
        keep_model: Merge in a copy. If False, ``model`` is used up and half of the memory is enough.
        tokenizer: Saved in place of the base model's tokenizer files.

    Returns:
        Names of the tokenizer and processor files.

    Raises:
        ExportError: The export is not possible, or the folder is in use. Nothing is written.
    """
    config = config_of(model, adapter_name, LRLoraConfig)
    base = model.get_base_model()
    if not isinstance(base, PreTrainedModel):
        raise ExportError(
            f"the base is a {type(base).__name__} and no model of transformers; use model.merge_and_unload() and save "
            "its state_dict"
        )
    _check_untied(model, adapter_name)
    check_free(Path(folder), force)
    source = base.name_or_path or config.base_model_name_or_path
    own = copy.deepcopy(model) if keep_model else model
    own.set_adapter(adapter_name)  # the active adapter decides which classifier is kept
    with whole_folder(folder, force) as directory:
        try:
            merged: Any = own.merge_and_unload(safe_merge=True, adapter_names=[adapter_name])
            _forget_format(merged)
            merged.save_pretrained(str(directory))
        except (ValueError, NotImplementedError) as error:  # not finite, or quantised in a way that cannot be merged
            raise ExportError(one_line(error)) from None
        if tokenizer is not None:
            return sorted(Path(file).name for file in tokenizer.save_pretrained(str(directory)))
        return _copy_tokenizer(source, config.revision, directory)


def _forget_format(model: Any) -> None:
    """Lets a model that was dequantised on loading from a GGUF file be saved as the plain model it is."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    method = getattr(getattr(quantizer, "quantization_config", None), "quant_method", None)
    if method == "gguf" and all(parameter.is_floating_point() for parameter in model.parameters()):
        quantizer.remove_quantization_config(model)


def _check_untied(model: PeftModel, adapter_name: str) -> None:
    """Checks that no adapted weight is used elsewhere too, where a merge would change it and the adapter does not."""
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name.removeprefix(PREFIX).replace(".base_layer", ""))
    for name, layer in adapted_layers(model, adapter_name).items():
        if others := owners[id(layer.get_base_layer().weight)] - {f"{name}.weight"}:
            raise ExportError(
                f"the weight of {name} is also {', '.join(sorted(others))}, which a merge would change and the adapter "
                "does not; load the base model with tie_word_embeddings=False, or export as LoRA"
            )


def _copy_tokenizer(name: str | None, revision: str | None, directory: Path) -> list[str]:
    copied = []
    for file in TOKENIZER_FILES if name else ():
        found: Any = Path(str(name), file)
        if not found.parent.is_dir():
            with suppress(ValueError):  # not a possible name of a repository
                found = try_to_load_from_cache(str(name), file, revision=revision)
        if isinstance(found, str | Path) and Path(found).is_file() and not (directory / file).exists():
            shutil.copyfile(found, directory / file)
            copied.append(file)
    return copied
