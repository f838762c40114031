"""``lrlora inspect``: diagnostics of one saved adapter, whatever trained it."""

from lrlora.studies.inspection.inspecting import Inspection, inspect_adapter
from lrlora.studies.inspection.landscape import Landscape, loss_landscape
from lrlora.studies.inspection.reading import open_adapter

__all__ = ["Inspection", "Landscape", "inspect_adapter", "loss_landscape", "open_adapter"]
