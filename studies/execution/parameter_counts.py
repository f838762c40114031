"""How many parameters variants train, without weights, and without torch where they were counted before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrlora.studies.errors import library_errors
from lrlora.studies.models.backbones import BACKBONES, locate
from lrlora.studies.spec.cells import Variant
from lrlora.studies.spec.resolved_settings import cache_of_method


def count_adapter(variant: Variant, backbone: str) -> int:
    """Returns how many scalars a variant trains in the backbone itself, its head left out.

    They are counted on a model on the meta device, and kept in the user's cache.
    """
    files = _state(backbone)
    cached = None if files is None else cache_of_method(variant.config, "parameters", backbone, files)
    if cached is not None and isinstance(known := cached.read(), int):
        return known
    from lrlora.analysis import count_parameters
    from lrlora.studies.methods import make_method
    from lrlora.studies.models.backbones import empty_model

    with library_errors(f"{variant.name} on {backbone}"):
        model = make_method(variant.config, variant.name).adapt(empty_model(backbone, classifier=True))
        count = count_parameters(model).adapter
    if cached is not None:
        cached.write(count)
    return count


def _state(backbone: str) -> list[Any] | None:
    """What tells whether the shapes of a backbone may have changed; None for one on the hub, of which nothing does."""
    folder = Path(locate(backbone))
    if not folder.is_dir():
        return [] if backbone in BACKBONES else None
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".gguf"))
    states = [(path.name, path.stat()) for path in files]
    return [str(folder.resolve()), *((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in states)]
