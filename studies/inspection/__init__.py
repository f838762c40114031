"""``lrlora inspect``: what training made of one saved adapter, whoever trained it."""

from lrlora.studies.inspection.inspecting import Inspection, inspect_adapter
from lrlora.studies.inspection.landscape import Landscape, loss_landscape
from lrlora.studies.inspection.reading import open_adapter

__all__ = ["Inspection", "Landscape", "inspect_adapter", "loss_landscape", "open_adapter"]
