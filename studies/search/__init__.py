"""Tuning: the settings of each variant are searched for on the validation split, with the same budget for all."""

from __future__ import annotations

from lrlora.studies.search.declaration import Tune
from lrlora.studies.search.run import run_tune
from lrlora.studies.search.space import Dimension, read_space

__all__ = ["Dimension", "Tune", "read_space", "run_tune"]
