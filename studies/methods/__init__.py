"""Ways to adapt a frozen backbone. One file, one method; all are trained and judged alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrlora.registry import Registry
from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.methods.method import Method

METHODS: Registry[Method] = Registry(
    "method",
    group="lrlora.methods",
    builtins={
        "lora": "lrlora.studies.methods.lora:LoRA",
        "lrlora": "lrlora.studies.methods.lrlora:LRLoRA",
        "rslora": "lrlora.studies.methods.rslora:RSLoRA",
        "dora": "lrlora.studies.methods.dora:DoRA",
        "pissa": "lrlora.studies.methods.pissa:PiSSA",
        "adalora": "lrlora.studies.methods.adalora:AdaLoRA",
        "vera": "lrlora.studies.methods.vera:VeRA",
        "randlora": "lrlora.studies.methods.randlora:RandLoRA",
        "loha": "lrlora.studies.methods.loha:LoHa",
        "hira": "lrlora.studies.methods.hira:HiRA",
        "lokr": "lrlora.studies.methods.lokr:LoKr",
        "miss": "lrlora.studies.methods.miss:MiSS",
        "c3a": "lrlora.studies.methods.c3a:C3A",
        "oft": "lrlora.studies.methods.oft:OFT",
        "hra": "lrlora.studies.methods.hra:HRA",
        "ia3": "lrlora.studies.methods.ia3:IA3",
        "frozen": "lrlora.studies.methods.frozen:Frozen",
        "full": "lrlora.studies.methods.full:FullFineTuning",
    },
    base="lrlora.studies.methods.method:Method",
)

__all__ = ["METHODS", "Method", "make_method"]


def make_method(config: Mapping[str, Any], where: str) -> Method:
    """The method that a variant's configuration describes, checked without a model.

    Args:
        config: ``{"method": name, field: value, ...}``.
        where: What the configuration is called in messages.

    Raises:
        UnknownNameError: No such method, or a name within its fields is unknown.
        StudyError: A field is unknown, or its value cannot be.
    """
    fields = {key: value for key, value in config.items() if key != "method"}
    factory = METHODS.get(config["method"])
    known = getattr(factory, "fields", None)
    if known is not None:
        for key in fields:
            if key not in known():
                raise unknown_key(key, [*known(), "training"], where)
    try:
        return METHODS.create(config["method"], **fields)
    except StudyError:
        raise
    except (TypeError, ValueError) as error:
        raise StudyError(f"{where}: {error}") from None
