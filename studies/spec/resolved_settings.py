"""The settings of a method with its defaults, without importing torch and PEFT where they were resolved before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from lrlora.studies.methods import METHODS, make_method
from lrlora.studies.spec.value_cache import CachedValue, cached_by_code


def resolve_settings(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns all settings of a method, defaults included, as plain data.

    Args:
        config: ``{"method": name, field: value, ...}``, as declared.
        where: What the configuration is called in messages.

    Raises:
        UnknownNameError, StudyError: As :func:`lrlora.studies.methods.make_method`. Errors are not cached.
    """
    cached = cache_of_method(config, "settings")
    if cached is not None and isinstance(known := cached.read(), dict):
        return known
    resolved = {"method": config["method"], **make_method(config, where).resolved()}
    if cached is not None and json.loads(json.dumps(resolved)) == resolved:
        cached.write(resolved)
    return resolved


def cache_of_method(config: Mapping[str, Any], *key: Any) -> CachedValue | None:
    """Returns the cache of a value that follows from a method's settings; None for the methods of plugins."""
    name = cast(str, config["method"])
    if name not in METHODS or METHODS.entry(name).origin != "built-in":
        return None
    return cached_by_code(dict(config), *key)
