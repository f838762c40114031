"""Makes LR-LoRA one of PEFT's methods.

PEFT looks methods up by a closed enumeration, which is extended here by one member: everything in PEFT that takes a
``PeftType`` then takes this one too, ``register_peft_method`` included.
"""

from __future__ import annotations

from peft.utils.peft_types import PeftType, register_peft_method
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming

NAME = "lrlora"


def register() -> None:
    """Register the method with PEFT. Doing so again changes nothing."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if NAME.upper() not in PeftType.__members__:
        _extend_enum(NAME.upper())
    # The classes are imported after the member exists, since the config names it.
    from lrlora.tuner.config import LRLoraConfig
    from lrlora.tuner.model import LRLoraModel

    if PeftType[NAME.upper()] not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=NAME, config_cls=LRLoraConfig, model_cls=LRLoraModel, prefix=f"{NAME}_")
        _take_old_keys()


def _take_old_keys() -> None:
    """Let transformers' own ``load_adapter`` rename A and B in files of version 0.1.0.

    They lack the ``.weight`` there. transformers renames keys by lists; the one called "legacy" goes for all models.
    """
    renaming = WeightRenaming(rf"(\.{NAME}_[AB]\.[^.]+)$", r"\1.weight")  # the adapter's name is in the key by then
    names = [*get_checkpoint_conversion_mapping("legacy"), renaming]
    register_checkpoint_conversion_mapping("legacy", names, overwrite=True)


def _extend_enum(name: str) -> None:
    # The steps of EnumType.__new__ for one member of an enumeration of strings.
    member = str.__new__(PeftType, name)
    member._name_ = name
    member._value_ = name
    member.__objclass__ = PeftType
    member._sort_order_ = len(PeftType.__members__)
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)
