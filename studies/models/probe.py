"""Small models for the probes, whose weights follow from a seed: a single linear layer, and a residual MLP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrlora.studies.models.probe_model import ProbeConfig, ProbeModel


class Probe:
    """A model with random weights from a seed. Its folder in the package has its configuration."""

    gguf: str | None = None

    def directory(self, name: str) -> Path:
        """Returns the folder of its configuration, from which its weights follow."""
        return Path(__file__).with_name("probes") / name

    def config(self, name: str, **changes: Any) -> ProbeConfig:
        """Returns its configuration.

        Args:
            name: Name of the backbone.
            changes: Values that replace those of the file.
        """
        from lrlora.studies.models.probe_model import ProbeConfig

        given = json.loads((self.directory(name) / "config.json").read_text(encoding="utf-8"))
        del given["model_type"]
        return ProbeConfig(**given | changes)


def empty_probe(name: str, **changes: Any) -> ProbeModel:
    """Returns a probe on the meta device; arguments as of :func:`load_probe`."""
    from accelerate import init_empty_weights

    from lrlora.studies.models.probe_model import ProbeModel

    with init_empty_weights(include_buffers=True):
        return ProbeModel(Probe().config(name, **changes))


def load_probe(name: str, **changes: Any) -> ProbeModel:
    """Returns a probe with the weights of its seed, in float32.

    Args:
        name: Of a backbone that takes vectors.
        changes: Values of the configuration that a task sets, such as ``classes``.
    """
    from lrlora.studies.models.probe_model import ProbeModel

    return ProbeModel(Probe().config(name, **changes)).draw_weights()
