"""LR-LoRA as a method of PEFT: its configuration, its layer, its tuner, and the entry in PEFT's tables."""

# First of all: when PEFT has been imported the method registers itself, which imports the modules of this package. Were
# one of them to import PEFT, it would meet itself half-made.
import peft  # noqa: F401

from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.layer import LRLoraLayer
from lrlora.tuner.model import LRLoraModel

__all__ = ["LRLoraConfig", "LRLoraLayer", "LRLoraModel"]
