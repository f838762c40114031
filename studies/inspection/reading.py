"""Loads a saved adapter without the model that it was trained on.

ΔW of LR-LoRA and of LoRA is made of what the adapter saves, and of nothing else. So the adapter is put on layers of the
right sizes that are empty. What other methods add depends on the weights they were trained on, as DoRA's does, or is
told by PEFT's merge; those are loaded on their base model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, set_peft_model_state_dict
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file

from lrlora.analysis.layers import PREFIX
from lrlora.analysis.updates import moves_the_weight
from lrlora.export.empty_layers import on_empty_layers
from lrlora.export.errors import ExportError, one_line
from lrlora.export.loading import load_adapted, read_adapter
from lrlora.export.lora_layout import split_state
from lrlora.policies.roles import known_families, role_of
from lrlora.tuner import LRLoraConfig

_LRLORA = "LRLORA"


def read_config(folder: str | Path) -> PeftConfig:
    """Returns the configuration of a saved adapter of any method, and checks its files.

    Raises:
        ExportError: There is none, it is damaged, or its weights are a pickle; one line, with an adapter near by.
    """
    folder = Path(folder)
    method = _LRLORA
    try:
        method = str(json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["peft_type"])
    except FileNotFoundError:
        if folder.is_dir() and (near := _adapters_below(folder)):
            more = f" and {len(near) - 1} more" if len(near) > 1 else ""
            raise ExportError(
                f"{folder} holds no adapter itself (no {CONFIG_NAME}); below it: {near[0]}{more}"
            ) from None
    except (OSError, ValueError, KeyError, TypeError):
        pass  # which is told in the next line
    try:
        return read_adapter(folder, method)
    except KeyError as error:
        raise ExportError(f"{folder / CONFIG_NAME}: PEFT knows no method {one_line(error)}") from None


def open_adapter(folder: str | Path, base: str | Path | None = None, **options: Any) -> PeftModel:
    """Returns a saved adapter on empty layers if its updates need no base weights, else on its base model.

    Args:
        folder: Of the adapter.
        base: Folder or name of the base model. It is loaded only where the method needs it, and then by default the one
            is taken that the adapter's configuration names.
        options: Of the base model's ``from_pretrained``.

    Raises:
        ExportError: It cannot be read, or its base model is needed and not to be had; one line.
    """
    config = read_config(folder)
    if moves_the_weight(config):
        raise ExportError(
            f"{folder} started with init_lora_weights={config.init_lora_weights!r}, which takes its start out of the "
            "base weights; save it with path_initial_model_for_weight_conversion first"
        )
    if needs_base(config) is not None:
        return load_adapted(folder, base, method=str(getattr(config.peft_type, "value", config.peft_type)), **options)
    state = load_file(Path(folder) / SAFETENSORS_WEIGHTS_NAME)
    pairs, _ = split_state(state, str(folder))
    if isinstance(config, LRLoraConfig):
        own = {key: tensor for key, tensor in state.items() if ".lrlora_" in key}  # without heads
    else:
        own = {
            f"{PREFIX}{name}.lora_{side}.weight": getattr(pair, side) for name, pair in pairs.items() for side in "AB"
        }
    try:
        model = on_empty_layers(config, pairs)
        set_peft_model_state_dict(model, own)
    except Exception as error:  # PEFT checks few values of a configuration, and trips over the others
        raise ExportError(f"{folder}: weights and configuration do not fit: {one_line(error)}") from None
    model.config = _Config(family_of(list(pairs)))  # the roles of the modules are known by its type
    return model.eval()


def needs_base(config: PeftConfig) -> str | None:
    """Returns the reason why the updates of an adapter need its base model; None if they do not."""
    if isinstance(config, LRLoraConfig):
        return None
    if type(config) is not LoraConfig:
        return f"what {getattr(config.peft_type, 'value', config.peft_type)} adds is told by a merge"
    if config.use_dora:
        return "DoRA rescales the base weights"
    return None


def family_of(modules: list[str]) -> str | None:
    """Returns the family of models whose names give roles to most of these modules; None if there is none."""
    found = {family: sum(role_of(name, family) is not None for name in modules) for family in known_families()}
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and found[best] > 0 else None


class _Config:
    def __init__(self, model_type: str | None) -> None:
        self.model_type = model_type


def _adapters_below(folder: Path) -> list[Path]:
    """Returns folders with an adapter, as deep as a study keeps them."""
    patterns = ["*", "*/*", "*/*/*", "*/*/*/*"]
    return sorted(path.parent for pattern in patterns for path in folder.glob(f"{pattern}/{CONFIG_NAME}"))
