"""LoRA to LR-LoRA: an adapter that computes what the LoRA adapter computes, and whose φ can bend from there.

With λ = 1 and all amplitudes zero, ΔW = s_out · s_in · BA, and s_out · s_in is ``lora_alpha / r``: LoRA's update with
LoRA's own factors. The amplitudes have a gradient from the first step on, since BA is not zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor

from lrlora.analysis.updates import moves_the_weight
from lrlora.export.empty_layers import on_empty_layers
from lrlora.export.errors import ExportError, one_line
from lrlora.export.folders import check_free, whole_folder
from lrlora.export.loading import read_adapter
from lrlora.export.lora_layout import Pair, pattern_of, split_state
from lrlora.export.to_lora import adapted_layers, config_of, write_adapter
from lrlora.registry import UnknownNameError
from lrlora.tuner import LRLoraConfig

_TAKEN_OVER = (
    "task_type", "base_model_name_or_path", "revision", "auto_mapping", "r", "lora_alpha", "lora_dropout",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "modules_to_save",
)  # fmt: skip
_HANDLED = {
    *_TAKEN_OVER, "use_rslora", "init_lora_weights", "peft_type", "inference_mode", "peft_version",
    # These say how an adapter started or where it runs, and not what it computes.
    "eva_config", "fan_in_fan_out", "runtime_config", "loftq_config",
}  # fmt: skip
_CHOSEN_BY_LORA = {
    *_TAKEN_OVER, "placement", "layers", "rank_allocation", "residual", "amplitude_init", "init_weights", "peft_type",
    "inference_mode", "peft_version",
} - {"lora_dropout"}  # fmt: skip


def from_lora(
    source: str | Path | PeftModel, *, adapter_name: str = "default", **fields: Any
) -> tuple[LRLoraConfig, dict[str, Tensor]]:
    """Converts a LoRA adapter to an LR-LoRA adapter.

    ``peft.get_peft_model(base, config)`` and ``peft.set_peft_model_state_dict(model, state_dict)`` put it on a model;
    :func:`save_from_lora` writes it to a folder.

    Args:
        source: Folder of a PEFT LoRA adapter, or a model with one.
        adapter_name: The adapter of the model.
        fields: Fields of ``LRLoraConfig`` that LoRA does not decide: ``basis``, ``num_grid_points``, ``sharing``, ….

    Returns:
        The configuration, and the state as ``adapter_model.safetensors`` holds it, ``modules_to_save`` included.

    Raises:
        ExportError: It is no LoRA adapter, its update is not (alpha / r) BA, or a field is wrong.
    """
    _check_fields(fields)
    if isinstance(source, str | Path):
        where, lora = str(source), read_adapter(source, "LORA")
    else:
        where, lora = f"adapter {adapter_name!r}", config_of(source, adapter_name, LoraConfig)
    _check_plain(lora, where)
    if isinstance(source, str | Path):
        state = load_file(Path(source) / SAFETENSORS_WEIGHTS_NAME)
    else:
        state = get_peft_model_state_dict(source, adapter_name=adapter_name)
    pairs, rest = split_state(state, where)
    config = _config(lora, _alphas(lora, pairs, where), fields, where)
    return config, {**_lrlora_state(config, pairs), **{key: tensor.cpu().clone() for key, tensor in rest.items()}}


def save_from_lora(
    source: str | Path | PeftModel, folder: str | Path, *, force: bool = False, **options: Any
) -> LRLoraConfig:
    """Writes a LoRA adapter as an LR-LoRA adapter, for ``PeftModel.from_pretrained(..., is_trainable=True)``.

    Args:
        source: As for :func:`from_lora`.
        folder: The output folder. It is written as a whole or not at all.
        force: Replace an earlier export there.
        options: Of :func:`from_lora`.

    Raises:
        ExportError: The conversion is not possible, or the folder is in use. Nothing is written.
    """
    model = source if isinstance(source, PeftModel) else None
    check_free(Path(folder), force, () if model is not None else (Path(source),))
    config, state = from_lora(source, **options)
    with whole_folder(folder, force) as directory:
        write_adapter(directory, config, state, model)
    return config


def _check_fields(fields: Mapping[str, Any]) -> None:
    free = sorted({field.name for field in fields_of(LRLoraConfig)} - _CHOSEN_BY_LORA)
    for name in fields:
        if name in _CHOSEN_BY_LORA:
            raise ExportError(f"{name} follows from the LoRA adapter and cannot be given (free: {', '.join(free)})")
        if name not in free:
            raise ExportError(str(UnknownNameError("field of LRLoraConfig", name, free)))
    if fields.get("learn_amplitude") is False:
        raise ExportError("learn_amplitude=False would keep φ at zero, and the adapter would stay LoRA")


def _check_plain(lora: LoraConfig, where: str) -> None:
    """Checks that the adapter computes W + scaling · BA and nothing else."""
    if lora.use_dora:
        raise ExportError(f"{where} is DoRA, which also rescales the base weight: it cannot be converted")
    if moves_the_weight(lora):
        raise ExportError(
            f"{where} started with init_lora_weights={lora.init_lora_weights!r}, which changes the base weight; save "
            "it with path_initial_model_for_weight_conversion first"
        )
    plain = LoraConfig()
    for name in {field.name for field in fields_of(LoraConfig)} - _HANDLED:
        value, default = getattr(lora, name), getattr(plain, name)
        if value != default and (value or default):
            raise ExportError(f"{where} has {name}={value!r}; only plain LoRA can be converted")


def _alphas(lora: LoraConfig, pairs: Mapping[str, Pair], where: str) -> dict[str, float]:
    """The ``lora_alpha`` by module for which alpha / r is LoRA's scaling."""
    ranks, given = lora.rank_pattern or {}, lora.alpha_pattern or {}
    alphas = {}
    for name, pair in pairs.items():
        r = ranks.get(get_pattern_key(list(ranks), name), lora.r)
        if r != len(pair.A):
            raise ExportError(f"{where}: {name} has factors of rank {len(pair.A)}, and {r} in the configuration")
        alpha = given.get(get_pattern_key(list(given), name), lora.lora_alpha)
        alphas[name] = float(alpha * math.sqrt(r) if lora.use_rslora else alpha)
    return alphas


def _config(lora: LoraConfig, alphas: Mapping[str, float], fields: Mapping[str, Any], where: str) -> LRLoraConfig:
    same = {name: copy.deepcopy(getattr(lora, name)) for name in _TAKEN_OVER}
    same["rank_pattern"], same["alpha_pattern"] = same["rank_pattern"] or {}, same["alpha_pattern"] or {}
    if lora.use_rslora:
        same["lora_alpha"] = float(lora.lora_alpha * math.sqrt(lora.r))
        same["alpha_pattern"] = pattern_of(alphas, same["lora_alpha"])
    if same["target_modules"] is None:
        same["target_modules"] = list(alphas)
    try:
        return LRLoraConfig(**{**same, **fields}, residual=True, amplitude_init="zero", inference_mode=False)
    except (ValueError, TypeError, LookupError) as error:
        raise ExportError(f"{where}: {one_line(error)}") from None


@torch.no_grad()
def _lrlora_state(config: LRLoraConfig, pairs: Mapping[str, Pair]) -> dict[str, Tensor]:
    """Returns the state of an adapter with LoRA's factors, and with θ as the tuner initialises it."""
    model = on_empty_layers(config, pairs)
    for name, layer in adapted_layers(model, "default").items():
        for held, given in zip(layer.held_factors("default"), (pairs[name].A, pairs[name].B), strict=True):
            held.copy_(given)
    return {key: tensor.cpu() for key, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
