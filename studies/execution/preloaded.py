"""What the server process imports before it forks the first worker; nothing here may start a thread or use a device."""

from __future__ import annotations

import peft
import sklearn.metrics
import torch
import transformers
from transformers import Trainer

import lrlora.analysis.layers
import lrlora.optimizer
import lrlora.studies.methods.common_start
import lrlora.studies.training.loop

__all__ = ["Trainer", "lrlora", "peft", "sklearn", "torch", "transformers"]
