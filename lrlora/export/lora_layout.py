"""How PEFT stores LoRA: the factors of each kind of layer, and configurations that name modules, ranks and alphas.

ΔW is a matrix ``(out, in)`` for every kind of layer: ``(dim, tokens)`` for an embedding, ``(out, in · kernel)`` for a
convolution. LoRA stores its factors as two linear layers, two parameters (embeddings), or two convolutions.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from peft import LoraConfig
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from lrlora.analysis.layers import PREFIX
from lrlora.export.errors import ExportError
from lrlora.tuner import LRLoraLayer
from lrlora.tuner.convolution import CONVOLUTIONS

_FACTORS = re.compile(rf"{re.escape(PREFIX)}(.+)\.(lora_.+|lrlora_[AB](?:\.weight)?)")
# LR-LoRA's keys end in lrlora_A.weight; in files of 0.1.0 in lrlora_A.
_SIDES = {
    end: side
    for side in "AB"
    for end in (f"lora_{side}.weight", f"lora_embedding_{side}", f"lrlora_{side}", f"lrlora_{side}.weight")
}


class Pair(NamedTuple):
    """The factors of one module as matrices: ``B`` of shape ``(out, r)``, ``A`` of shape ``(r, in)``."""

    B: Tensor
    A: Tensor


class Rank(NamedTuple):
    """Rank and ``lora_alpha`` of one module; LoRA scales the product by ``alpha / r``."""

    r: int
    alpha: float


def check_expressible(name: str, layer: LRLoraLayer) -> None:
    """Raises :class:`ExportError` if LoRA cannot store the update of a layer at any rank."""
    base = layer.get_base_layer()
    if isinstance(base, nn.Embedding) and base.max_norm is not None:
        raise ExportError(f"{name}: PEFT's LoRA renormalises its factor of an embedding with max_norm; merge instead")
    if isinstance(base, CONVOLUTIONS):
        for field, plain in (("groups", 1), ("dilation", (1,) * len(base.kernel_size)), ("padding_mode", "zeros")):
            if getattr(base, field) != plain:
                raise ExportError(
                    f"{name}: PEFT's LoRA cannot express the update of a {type(base).__name__} with "
                    f"{field}={getattr(base, field)!r}; merge instead"
                )


def lora_tensors(layer: LRLoraLayer, B: Tensor, A: Tensor) -> dict[str, Tensor]:
    """Returns B, ``(out, r)``, and A, ``(r, in)``, as LoRA stores them for a layer, by the ends of their keys."""
    base = layer.get_base_layer()
    if isinstance(base, nn.Embedding):
        return {"lora_embedding_A": A, "lora_embedding_B": B}
    if isinstance(base, CONVOLUTIONS):
        kernel = base.weight.shape[2:]
        A, B = A.view(len(A), -1, *kernel), B.view(*B.shape, *(1 for _ in kernel))
    return {"lora_A.weight": A, "lora_B.weight": B}


def split_state(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Pair], dict[str, Tensor]]:
    """Returns the factors by module, and the other tensors by key, of the state of a LoRA or LR-LoRA adapter.

    Raises:
        ExportError: There are no factors, or they do not form products; ``where`` is the adapter in the message.
    """
    tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
    rest: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if found := _FACTORS.fullmatch(key):
            tensors[found[1]][found[2]] = tensor.detach()
        else:
            rest[key] = tensor.detach()
    if not tensors:
        raise ExportError(f"{where}: no factors under {PREFIX}… (the weights begin with {next(iter(state), 'none')})")
    return {name: _pair(f"{where}: {name}", tensors[name]) for name in sorted(tensors)}, rest


def _pair(where: str, tensors: Mapping[str, Tensor]) -> Pair:
    sides = {_SIDES.get(end, end): tensor for end, tensor in tensors.items()}
    if set(sides) != {"A", "B"}:
        raise ExportError(f"{where} has {', '.join(sorted(tensors))}, expected the two factors A and B")
    A, B = sides["A"], sides["B"]
    if A.ndim < 2 or B.ndim != A.ndim or B.shape[1] != A.shape[0] or any(size != 1 for size in B.shape[2:]):
        raise ExportError(
            f"{where}: B and A form no product, their shapes are {tuple(B.shape)} and {tuple(A.shape)}; "
            "LoRA in a convolution with groups cannot be converted"
        )
    return Pair(B.flatten(1), A.flatten(1))


def make_lora_config(ranks: Mapping[str, Rank], all_modules: Collection[str], **fields: Any) -> LoraConfig:
    """Returns a LoRA configuration that means exactly these modules with these ranks.

    The most frequent rank and alpha become the defaults and the others patterns. With ``alpha = r`` everywhere, a
    server that reads only the defaults scales correctly.

    Args:
        ranks: By full name of the module.
        all_modules: Names of all modules of the base model.
        fields: Further fields of ``LoraConfig``.
    """
    r, alpha = Counter(ranks.values()).most_common(1)[0][0]
    # PEFT matches names by their ends: a target "0" is also "block.0".
    ends = {name.split(".", start)[-1] for name in all_modules for start in range(1, name.count(".") + 1)}
    exact = "(?:" + "|".join(map(re.escape, sorted(ranks))) + ")"
    return LoraConfig(
        r=r,
        lora_alpha=_plain(alpha),
        target_modules=exact if ends & set(ranks) else sorted(ranks),
        rank_pattern=pattern_of({name: rank.r for name, rank in ranks.items()}, r),
        alpha_pattern=pattern_of({name: _plain(rank.alpha) for name, rank in ranks.items()}, _plain(alpha)),
        **fields,
    )


def pattern_of(values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Returns the ``rank_pattern`` or ``alpha_pattern`` for values by full module names, over a ``default``."""
    pattern = {name: value for name, value in values.items() if value != default}
    if all(pattern.get(get_pattern_key(list(pattern), name), default) == value for name, value in values.items()):
        return pattern
    return {f"^{re.escape(name)}": value for name, value in pattern.items()}


def _plain(alpha: float) -> Any:
    """A whole number as an int: some servers read no other."""
    return int(alpha) if float(alpha).is_integer() else float(alpha)
