"""LoRA to LR-LoRA: an adapter that computes what the LoRA adapter computes, and can bend from there.

With λ = 1 and all amplitudes zero, ΔW = s_out · s_in · BA, and s_out · s_in is ``lora_alpha / r``: LoRA's update, with
LoRA's own factors. The amplitudes have a gradient from the first step on, since the entries of BA are not zero.
"""

from __future__ import annotations

import copy
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor

from lrlora.export.errors import ExportError, one_line
from lrlora.export.folders import check_free, whole_folder
from lrlora.export.layouts import LoraFactors, empty_layers, read_factors
from lrlora.export.loading import read_adapter
from lrlora.export.lora_config import pattern_of
from lrlora.export.to_lora import PREFIX, adapted_layers, write_adapter
from lrlora.registry import closest
from lrlora.tuner import LRLoraConfig
from lrlora.tuner.theta import THETA

_TAKEN_OVER = (
    "task_type", "base_model_name_or_path", "revision", "auto_mapping", "r", "lora_alpha", "lora_dropout",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "modules_to_save",
)  # fmt: skip
_HANDLED = {*_TAKEN_OVER, "use_rslora", "init_lora_weights", "peft_type", "inference_mode", "peft_version"}
# These say how an adapter started or where it runs, and not what it computes.
_WITHOUT_EFFECT = {"eva_config", "fan_in_fan_out", "runtime_config", "loftq_config"}
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_CHOSEN_BY_LORA = {
    *_TAKEN_OVER, "placement", "layers", "rank_allocation", "residual", "amplitude_init", "init_weights", "peft_type",
    "inference_mode", "peft_version",
} - {"lora_dropout"}  # fmt: skip


def from_lora(
    source: str | Path | PeftModel, *, adapter_name: str = "default", **fields: Any
) -> tuple[LRLoraConfig, dict[str, Tensor]]:
    """Make an LR-LoRA adapter of a LoRA adapter.

    ``peft.get_peft_model(base, config)`` and ``peft.set_peft_model_state_dict(model, state_dict)`` put it on a model;
    :func:`save_from_lora` writes it to be loaded.

    Args:
        source: Folder of a PEFT LoRA adapter, or a model with one.
        adapter_name: Which adapter of a model.
        fields: Fields of ``LRLoraConfig`` that LoRA does not decide: ``basis``, ``num_grid_points``, ``sharing``, ….

    Returns:
        The configuration, and the state as ``adapter_model.safetensors`` holds it, ``modules_to_save`` included.

    Raises:
        ExportError: It is no LoRA adapter, or one of a kind whose update is not (alpha / r) BA; one line.
    """
    _check_fields(fields)
    lora, where = _read(source, adapter_name)
    _check_plain(lora, where)
    state = (
        get_peft_model_state_dict(source, adapter_name=adapter_name)
        if isinstance(source, PeftModel)
        else load_file(Path(source) / SAFETENSORS_WEIGHTS_NAME)
    )
    factors, rest = _split(state, where)
    alphas = _alphas(lora, factors, where)
    config = _config(lora, factors, alphas, fields, where)
    return config, {**_lrlora_state(config, factors, alphas), **rest}


def save_from_lora(
    source: str | Path | PeftModel, folder: str | Path, *, force: bool = False, **options: Any
) -> LRLoraConfig:
    """Write an LR-LoRA adapter made of a LoRA adapter, for ``PeftModel.from_pretrained(..., is_trainable=True)``.

    Args:
        source: As for :func:`from_lora`.
        folder: Where to. It appears when it is whole, or not at all.
        force: Replace an earlier export there.
        options: Of :func:`from_lora`.

    Raises:
        ExportError: It cannot be done, or the folder is in use; one line. Nothing was written.
    """
    model = source if isinstance(source, PeftModel) else None
    check_free(Path(folder), force, () if model is not None else (Path(source),))
    config, state = from_lora(source, **options)
    with whole_folder(folder, force) as directory:
        write_adapter(directory, config, state, model)
    return config


def _read(source: str | Path | PeftModel, adapter_name: str) -> tuple[LoraConfig, str]:
    """The configuration of LoRA, and how error messages call the adapter."""
    if isinstance(source, (str, Path)):
        return read_adapter(source, "LORA"), str(source)
    if not isinstance(source, PeftModel):
        raise ExportError(f"a folder or a PeftModel is taken over, not a {type(source).__name__}")
    if adapter_name not in source.peft_config:
        raise ExportError(f"there is no adapter {adapter_name!r} (there are: {', '.join(source.peft_config)})")
    config = source.peft_config[adapter_name]
    if type(config) is not LoraConfig:
        raise ExportError(f"adapter {adapter_name!r} is {config.peft_type.value}, and only LoRA can be taken over")
    return config, f"adapter {adapter_name!r}"


def _check_fields(fields: Mapping[str, Any]) -> None:
    free = sorted({field.name for field in fields_of(LRLoraConfig)} - _CHOSEN_BY_LORA)
    for name in fields:
        if name in _CHOSEN_BY_LORA:
            raise ExportError(f"{name} follows from the LoRA adapter and cannot be chosen (free: {', '.join(free)})")
        if name not in free:
            near = closest(name, free)
            hint = f"; did you mean {near!r}?" if near is not None else ""
            raise ExportError(f"unknown field of LRLoraConfig {name!r}{hint} (free: {', '.join(free)})")
    if fields.get("learn_amplitude") is False:
        raise ExportError("learn_amplitude=False would keep φ at zero for good: that is LoRA")


def _check_plain(lora: LoraConfig, where: str) -> None:
    """Check that the adapter computes W + scaling · BA and nothing else.

    Raises:
        ExportError: It does not.
    """
    if lora.use_dora:
        raise ExportError(f"{where} is DoRA, which also rescales the base weight: it cannot be taken over")
    if lora.init_lora_weights not in _PLAIN_STARTS:
        raise ExportError(
            f"{where} started with init_lora_weights={lora.init_lora_weights!r}, which changes the base weight; save "
            "it with path_initial_model_for_weight_conversion first"
        )
    plain = LoraConfig()
    for field in fields_of(LoraConfig):
        if field.name in _HANDLED or field.name in _WITHOUT_EFFECT:
            continue
        value, default = getattr(lora, field.name), getattr(plain, field.name)
        if value != default and (value or default):
            raise ExportError(f"{where} has {field.name}={value!r}; only plain LoRA can be taken over")


def _split(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, LoraFactors], dict[str, Tensor]]:
    """The factors by module, and what is saved besides."""
    tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
    rest: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.(lora_.+)", key)
        if found is None:
            rest[key] = tensor.detach().cpu().clone()
        else:
            tensors[found[1]][found[2]] = tensor.detach()
    if not tensors:
        raise ExportError(
            f"{where} has no LoRA factors under {PREFIX}…; its weights begin with {next(iter(state), 'none')}"
        )
    return {name: read_factors(name, tensors[name]) for name in sorted(tensors)}, rest


def _alphas(lora: LoraConfig, factors: Mapping[str, LoraFactors], where: str) -> dict[str, float]:
    """By module, the ``lora_alpha`` with which alpha / r is LoRA's scaling."""
    ranks, given = lora.rank_pattern or {}, lora.alpha_pattern or {}
    alphas = {}
    for name, found in factors.items():
        r = ranks.get(get_pattern_key(list(ranks), name), lora.r)
        if r != len(found.A):
            raise ExportError(f"{where}: {name} has factors of rank {len(found.A)}, and {r} in the configuration")
        alpha = given.get(get_pattern_key(list(given), name), lora.lora_alpha)
        alphas[name] = float(alpha * math.sqrt(r) if lora.use_rslora else alpha)
    return alphas


def _config(
    lora: LoraConfig,
    factors: Mapping[str, LoraFactors],
    alphas: Mapping[str, float],
    fields: Mapping[str, Any],
    where: str,
) -> LRLoraConfig:
    same = {name: copy.deepcopy(getattr(lora, name)) for name in _TAKEN_OVER}
    same["rank_pattern"], same["alpha_pattern"] = same["rank_pattern"] or {}, same["alpha_pattern"] or {}
    if lora.use_rslora:
        same["lora_alpha"] = float(lora.lora_alpha * math.sqrt(lora.r))
        same["alpha_pattern"] = pattern_of(alphas, same["lora_alpha"])
    if same["target_modules"] is None:
        same["target_modules"] = list(factors)
    try:
        return LRLoraConfig(**{**same, **fields}, residual=True, amplitude_init="zero", inference_mode=False)
    except (ValueError, TypeError, LookupError) as error:
        raise ExportError(f"{where}: {one_line(error)}") from None


@torch.no_grad()
def _lrlora_state(
    config: LRLoraConfig, factors: Mapping[str, LoraFactors], alphas: Mapping[str, float]
) -> dict[str, Tensor]:
    """LoRA's factors under their new names, and θ as the tuner makes it, on layers whose weights take no memory."""
    skeleton = empty_layers(factors)
    exact = replace(
        config,
        task_type=None,  # type: ignore[call-arg]  # a field of PEFT's, which is untyped here
        base_model_name_or_path=None,
        revision=None,
        modules_to_save=None,
        target_modules=list(factors),
        exclude_modules=None,
        layers_to_transform=None,
        layers_pattern=None,
        rank_pattern={f"^{re.escape(name)}": len(found.A) for name, found in factors.items()},
        alpha_pattern={f"^{re.escape(name)}": alpha for name, alpha in alphas.items()},
    )
    layers = adapted_layers(get_peft_model(skeleton, exact), "default")
    state = {}
    for name, found in factors.items():
        state[f"{PREFIX}{name}.lrlora_A"] = found.A.float().cpu().contiguous().clone()
        state[f"{PREFIX}{name}.lrlora_B"] = found.B.float().cpu().contiguous().clone()
        for part in THETA:
            weight = getattr(layers[name], part)["default"].weight
            state[f"{PREFIX}{name}.{part}.weight"] = weight.detach().cpu().clone()
    return state
