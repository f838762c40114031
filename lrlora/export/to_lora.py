"""LR-LoRA to LoRA: the adapter's own factors where φ is linear, and truncated updates elsewhere.

PEFT converts any additive method itself (``peft.tuners.lora.conversion``), LR-LoRA included, and the files written here
have its layout. It is not used because it reports no error, thresholds an energy in float32 instead of an error,
decomposes updates that have exact factors, refuses ranks above a small module's size, knows only linear layers, drops
the task type, and saves the tensors of a head with several layers under one name.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lrlora.analysis.layers import PREFIX, factors_of
from lrlora.analysis.linalg import SMALLEST_ERROR, Factors, Truncation, randomized_factors
from lrlora.export.errors import ExportError
from lrlora.export.folders import check_free, whole_folder
from lrlora.export.lora_layout import Rank, check_expressible, lora_tensors, make_lora_config
from lrlora.export.table import LayerTruncation, write_tables
from lrlora.tuner import LRLoraConfig, LRLoraLayer
from lrlora.tuner.layer import layers_with

OnLayer = Callable[[LayerTruncation, int, int], None]
"""Called after each layer with its figures, the number of layers done, and the number of layers."""


@dataclass(frozen=True)
class LoraExport:
    """A LoRA adapter in memory.

    Attributes:
        config: For ``peft.get_peft_model``.
        state_dict: For ``peft.set_peft_model_state_dict``, and as ``adapter_model.safetensors`` holds it.
        rows: The figures of every layer.
    """

    config: LoraConfig
    state_dict: dict[str, Tensor]
    rows: list[LayerTruncation]


@torch.no_grad()
def to_lora(
    model: PeftModel,
    *,
    rank: int | None = None,
    error: float | None = None,
    max_rank: int | None = None,
    equal_ranks: bool = False,
    randomized: bool = False,
    adapter_name: str = "default",
    on_layer: OnLayer | None = None,
) -> LoraExport:
    """Converts an LR-LoRA adapter to a LoRA adapter.

    With neither ``rank`` nor ``error`` the result is exact, and φ must be linear in every layer.

    Args:
        model: With the adapter; left as it is.
        rank: Of every layer, or less where a layer is smaller.
        error: Each layer gets the smallest rank with a relative error ‖ΔW − B'A'‖ / ‖ΔW‖ of at most this.
        max_rank: Cap on the ranks that ``error`` asks for; a capped layer misses its error.
        equal_ranks: Pad the factors with zeros to the largest rank, for servers that take one rank only.
        randomized: Use a random subspace, for weights of many thousand rows and columns; see
            :func:`lrlora.analysis.linalg.randomized_factors`. Needs ``rank``.
        adapter_name: The adapter.
        on_layer: Reports progress.

    Raises:
        ExportError: The conversion is not possible.
    """
    _check_options(rank, error, max_rank, randomized)
    config = config_of(model, adapter_name, LRLoraConfig)
    layers = adapted_layers(model, adapter_name)
    if not layers:
        raise ExportError(f"adapter {adapter_name!r} adapts no layer (its ranks are 0)")
    for name, layer in layers.items():
        check_expressible(name, layer)
    bent = [name for name, layer in layers.items() if not _is_linear(layer, adapter_name)]
    if bent and rank is None and error is None:
        raise ExportError(
            f"φ bends in {len(bent)} of {len(layers)} layers, {bent[0]} among them, so no LoRA adapter is exact: "
            "give a rank or an error"
        )
    largest = max(layer.r[adapter_name] for layer in layers.values())
    exact = not bent and error is None and (rank is None or rank >= largest)

    pairs: dict[str, tuple[Factors, Rank]] = {}
    rows: list[LayerTruncation] = []
    for name, layer in layers.items():
        needed: tuple[int | None, int | None] = (None, None)
        if exact:
            factors, alpha = _own_factors(layer, adapter_name)
        else:
            delta = layer.delta_matrix(adapter_name).detach()
            if not delta.isfinite().all():
                raise ExportError(f"{name}: the update is not finite")
            if randomized and rank is not None:
                factors = randomized_factors(delta, rank)
            else:
                found = Truncation(delta)
                needed = (found.rank_within(0.1), found.rank_within(0.01))
                factors = found.factors(rank or min(found.rank_within(error or 0.0), max_rank or len(found.errors)))
            alpha = factors.rank
        pairs[name] = (factors, Rank(factors.rank, alpha))
        shape = (len(factors.B), factors.A.shape[1])
        rows.append(LayerTruncation(name, *shape, factors.rank, factors.norm, factors.error, *needed, exact=exact))
        if on_layer is not None:
            on_layer(rows[-1], len(rows), len(layers))
    if equal_ranks:
        pairs = _equalized(pairs)

    state = {
        f"{PREFIX}{name}.{end}": tensor.cpu().contiguous()
        for name, (factors, _) in pairs.items()
        for end, tensor in lora_tensors(layers[name], factors.B, factors.A).items()
    }
    ranks = {name: chosen for name, (_, chosen) in pairs.items()}
    return LoraExport(_config(model, config, ranks, layers), {**state, **_saved_modules(model, adapter_name)}, rows)


def save_as_lora(model: PeftModel, folder: str | Path, *, force: bool = False, **options: Any) -> LoraExport:
    """Writes an LR-LoRA adapter as a LoRA adapter, which loads without this package, with a table of the losses.

    Args:
        model: With the adapter; left as it is.
        folder: The output folder. It is written as a whole or not at all.
        force: Replace an earlier export there.
        options: Of :func:`to_lora`.

    Raises:
        ExportError: The export is not possible, or the folder is in use. Nothing is written.
    """
    check_free(Path(folder), force)
    export = to_lora(model, **options)
    with whole_folder(folder, force) as directory:
        write_adapter(directory, export.config, export.state_dict, model)
        write_tables(export.rows, directory)
    return export


def write_adapter(directory: Path, config: Any, state_dict: dict[str, Tensor], model: PeftModel | None = None) -> None:
    """Writes the two files of a PEFT adapter; without a task type, with the base model's class, as PEFT does."""
    save_file(state_dict, directory / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    mapping = getattr(config, "auto_mapping", None)
    if model is not None and config.task_type is None:
        kind = type(model.get_base_model())
        mapping = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    config.save_pretrained(str(directory), auto_mapping_dict=mapping)


def config_of(model: Any, adapter_name: str, kind: type[PeftConfig]) -> Any:
    """Returns the configuration of an adapter of a model.

    Raises:
        ExportError: There is no such adapter, or its configuration is of another class than ``kind``.
    """
    if not isinstance(model, PeftModel):
        raise ExportError(f"expected a PeftModel, got {type(model).__name__}")
    if adapter_name not in model.peft_config:
        raise ExportError(
            f"there is no adapter {adapter_name!r} (there are: {', '.join(map(repr, model.peft_config))})"
        )
    config = model.peft_config[adapter_name]
    if type(config) is not kind:
        raise ExportError(f"adapter {adapter_name!r} is {config.peft_type.value}, expected {kind.__name__}")
    return config


def adapted_layers(model: PeftModel, adapter_name: str) -> dict[str, LRLoraLayer]:
    """Returns the layers that an adapter is in with a rank above 0, by the name of the module in the base model."""
    return {
        name.removeprefix(PREFIX): layer
        for name, layer in layers_with(model, adapter_name).items()
        if layer.r[adapter_name] > 0
    }


def _check_options(rank: int | None, error: float | None, max_rank: int | None, randomized: bool) -> None:
    for name, value in (("rank", rank), ("max_rank", max_rank)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ExportError(f"{name} must be an integer >= 1, got {value!r}")
    if error is not None and not SMALLEST_ERROR <= error < 1:
        raise ExportError(f"error must be relative, >= {SMALLEST_ERROR:g} and < 1, got {error!r}")
    if rank is not None and error is not None:
        raise ExportError("give rank or error, not both: one follows from the other")
    if max_rank is not None and error is None:
        raise ExportError("max_rank caps the ranks that error asks for; for a fixed rank give rank alone")
    if randomized and rank is None:
        raise ExportError("randomized needs a rank: an error needs all singular values")


def _is_linear(layer: LRLoraLayer, adapter_name: str) -> bool:
    """Whether ΔW is exactly a multiple of BA: λ = 1 and no amplitude."""
    transfer = layer.transfer(adapter_name)
    return transfer.residual and not bool(transfer.amplitude.any())


def _own_factors(layer: LRLoraLayer, adapter_name: str) -> tuple[Factors, float]:
    """The adapter's own factors, and its ``lora_alpha``."""
    A, B = factors_of(layer, adapter_name)
    # ‖BA‖² is the trace of BᵀB AAᵀ, which needs no m × n matrix.
    squared = float(((B.double().T @ B.double()) * (A.double() @ A.double().T)).sum())
    norm = abs(layer.scaling[adapter_name]) * max(squared, 0.0) ** 0.5
    alpha = layer.lora_alpha[adapter_name]
    return Factors(B.clone(), A.clone(), norm, 0.0), len(A) if alpha is None else alpha


def _equalized(pairs: dict[str, tuple[Factors, Rank]]) -> dict[str, tuple[Factors, Rank]]:
    """The same products with one rank and one alpha."""
    if len({rank for _, rank in pairs.values()}) == 1:
        return pairs
    largest = max(rank.r for _, rank in pairs.values())
    padded = {}
    for name, (factors, rank) in pairs.items():
        B = torch.nn.functional.pad(factors.B * (rank.alpha / rank.r), (0, largest - rank.r))
        A = torch.nn.functional.pad(factors.A, (0, 0, 0, largest - rank.r))
        padded[name] = (Factors(B, A, factors.norm, factors.error), Rank(largest, largest))
    return padded


def _saved_modules(model: PeftModel, adapter_name: str) -> dict[str, Tensor]:
    """The tensors that an adapter saves beside its own: ``modules_to_save``, and embeddings that grew."""
    with warnings.catch_warnings():
        # PEFT checks whether the vocabulary grew and warns if it cannot, as for a base in a GGUF file. It also warns
        # that it saves the base weights of adapted embeddings, which docs/export.md says.
        warnings.filterwarnings("ignore", message="Could not find a config file|Setting `save_embedding_layers`")
        state = get_peft_model_state_dict(model, adapter_name=adapter_name)
    return {key: tensor.detach().cpu().clone() for key, tensor in state.items() if ".lrlora_" not in key}


def _config(
    model: PeftModel, config: LRLoraConfig, ranks: dict[str, Rank], layers: dict[str, LRLoraLayer]
) -> LoraConfig:
    names = [name for name, _ in model.get_base_model().named_modules()]
    return make_lora_config(
        ranks,
        [name for name in names if "base_layer" not in name and "lrlora_" not in name],
        task_type=config.task_type,
        base_model_name_or_path=config.base_model_name_or_path,
        revision=config.revision,
        modules_to_save=copy.copy(config.modules_to_save),
        lora_dropout=config.lora_dropout,
        # PEFT corrects this itself where it is wrong, and warns.
        fan_in_fan_out=all(isinstance(layer.get_base_layer(), Conv1D) for layer in layers.values()),
        inference_mode=True,
    )
