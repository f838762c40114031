"""A saved adapter without the model that it was trained on.

ΔW of LR-LoRA and of LoRA is made of what the adapter saves, and of nothing else. So the adapter is put on layers of the
right sizes that are empty. What other methods add depends on the weights they were trained on, as DoRA's does, or is
told by PEFT's merge; those are loaded on their base model.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor

from lrlora.analysis.updates import moves_the_weight
from lrlora.export.errors import ExportError, one_line
from lrlora.export.layouts import LoraFactors, empty_layers, read_factors
from lrlora.export.loading import load_adapted, read_adapter
from lrlora.export.to_lora import PREFIX
from lrlora.policies.roles import known_families, role_of
from lrlora.tuner import LRLoraConfig

_LRLORA, _LORA = "LRLORA", "LORA"


def read_config(folder: str | Path) -> PeftConfig:
    """The configuration of a saved adapter of whatever method, after a look at its files.

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
    """A saved adapter on its base model, or, where its updates can be told without that, on empty layers.

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
    if isinstance(config, LRLoraConfig):
        return _on_empty_layers(folder, _factors(folder, state), config, _exact_lrlora, state)
    return _on_empty_layers(folder, _lora_factors(folder, state), config, _exact_lora, state)


def needs_base(config: PeftConfig) -> str | None:
    """Why the updates of an adapter cannot be told without its base model; None where they can."""
    if isinstance(config, LRLoraConfig):
        return None
    if type(config) is not LoraConfig:
        return f"what {getattr(config.peft_type, 'value', config.peft_type)} adds is told by a merge"
    if config.use_dora:
        return "DoRA rescales the base weights"
    return None


def family_of(modules: list[str]) -> str | None:
    """The family of models whose naming gives roles to most of these modules; None where none does to any."""
    found = {family: sum(role_of(name, family) is not None for name in modules) for family in known_families()}
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and found[best] > 0 else None


def _factors(folder: str | Path, state: dict[str, Tensor]) -> dict[str, LoraFactors]:
    """A and B of LR-LoRA by module."""
    factors = {}
    for key, A in state.items():
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lrlora_A", key)
        if found is None:
            continue
        B = state.get(f"{PREFIX}{found[1]}.lrlora_B")
        if B is None or A.ndim != 2 or B.ndim != 2 or B.shape[1] != A.shape[0]:
            shapes = f"{tuple(A.shape)} and {tuple(B.shape) if B is not None else 'nothing'}"
            raise ExportError(f"{folder}: {found[1]}: A and B are no product: shapes {shapes}")
        factors[found[1]] = LoraFactors(B, A)
    return _some(folder, factors, state)


def _lora_factors(folder: str | Path, state: dict[str, Tensor]) -> dict[str, LoraFactors]:
    """Those of LoRA, whose layers keep them in several ways."""
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        found = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.(lora_(?:embedding_)?[AB](?:\.weight)?)", key)
        if found is not None:
            tensors.setdefault(found[1], {})[found[2]] = tensor
    read = {name: read_factors(name, parts) for name, parts in tensors.items()}
    return _some(folder, {name: LoraFactors(found.B, found.A) for name, found in read.items()}, state)


def _some(folder: str | Path, factors: dict[str, LoraFactors], state: dict[str, Tensor]) -> dict[str, LoraFactors]:
    if not factors:
        raise ExportError(f"{folder}: no factors under {PREFIX}… (the weights begin with {next(iter(state), 'none')})")
    return factors


def _on_empty_layers(
    folder: str | Path, factors: dict[str, LoraFactors], config: Any, exact: Any, state: dict[str, Tensor]
) -> PeftModel:
    """The adapter on linear layers of the sizes of its factors, whose weights take no memory."""
    skeleton = empty_layers(factors)
    try:
        model = get_peft_model(skeleton, exact(config, factors))
        set_peft_model_state_dict(model, _own(state, factors))
    except (ValueError, RuntimeError, KeyError, LookupError) as error:
        raise ExportError(f"{folder}: weights and configuration do not fit: {one_line(error)}") from None
    # By its type the roles of the modules are known.
    skeleton.config = model.config = _Config(family_of(list(factors)))  # type: ignore[assignment]
    return model.eval()  # type: ignore[no-any-return]


class _Config:
    def __init__(self, model_type: str | None) -> None:
        self.model_type = model_type


def _own(state: dict[str, Tensor], factors: dict[str, LoraFactors]) -> dict[str, Tensor]:
    """The state that goes into the empty layers: no heads, and LoRA's factors as those of linear layers."""
    own = {key: tensor for key, tensor in state.items() if ".lrlora_" in key}
    if own:
        return own
    for name, found in factors.items():
        own[f"{PREFIX}{name}.lora_A.weight"], own[f"{PREFIX}{name}.lora_B.weight"] = found.A, found.B
    return own


def _exact_lrlora(config: LRLoraConfig, factors: dict[str, LoraFactors]) -> LRLoraConfig:
    return replace(
        config,
        task_type=None,  # type: ignore[call-arg]  # a field of PEFT's, which is untyped here
        base_model_name_or_path=None,
        revision=None,
        modules_to_save=None,
        target_modules=list(factors),
        exclude_modules=None,
        layers_to_transform=None,
        layers_pattern=None,
        placement="all",
        layers="all",
        rank_allocation="uniform",
        rank_pattern=_ranks(factors),
    )


def _exact_lora(config: LoraConfig, factors: dict[str, LoraFactors]) -> LoraConfig:
    """A plain one of the same factors: what scales their product changes none of what is said of it."""
    return LoraConfig(
        r=config.r, lora_alpha=config.lora_alpha, target_modules=list(factors), rank_pattern=_ranks(factors)
    )


def _ranks(factors: dict[str, LoraFactors]) -> dict[str, int]:
    return {f"^{re.escape(name)}": len(found.A) for name, found in factors.items()}


def _adapters_below(folder: Path) -> list[Path]:
    """Folders with an adapter, as deep as a study keeps them."""
    patterns = ["*", "*/*", "*/*/*", "*/*/*/*"]
    return sorted(path.parent for pattern in patterns for path in folder.glob(f"{pattern}/{CONFIG_NAME}"))
