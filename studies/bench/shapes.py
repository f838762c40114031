"""The linear layers of models that people adapt, by name: their shapes are all that a benchmark of a layer needs."""

from __future__ import annotations

from lrlora.registry import UnknownNameError


def _block(hidden: int, wide: int, kv: int | None = None) -> dict[str, tuple[int, int]]:
    """The distinct shapes of one block: ``q`` is also ``o``, ``up`` also ``gate``, and ``kv`` is k or v."""
    shapes = {"q": (hidden, hidden), "up": (wide, hidden), "down": (hidden, wide)}
    return shapes if kv is None else shapes | {"kv": (kv, hidden)}


SHAPES = {
    f"{model}/{layer}": shape
    for model, block in {
        "minilm": _block(384, 1536),
        "roberta-base": _block(768, 3072),
        "smollm2": _block(576, 1536, kv=192),
        "qwen2-0.5b": _block(896, 4864, kv=128),
        "llama3-8b": _block(4096, 14336, kv=1024),
    }.items()
    for layer, shape in block.items()
}
"""``(out, in)`` by name."""


def shape_named(name: str) -> tuple[int, int]:
    """The shape ``(out, in)`` of a layer.

    Raises:
        UnknownNameError: No layer has this name; with the nearest that there is.

    >>> shape_named("qwen2-0.5b/down")
    (896, 4864)
    """
    if name not in SHAPES:
        raise UnknownNameError("layer", name, SHAPES, "or give any shape with --shape OUT IN")
    return SHAPES[name]
