"""Plugins that are no installed package: a file, or a module, named on a command line."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from lrlora.registry.errors import on_one_line


def load_plugin(source: str | Path) -> ModuleType:
    """Import a plugin so that its ``@register`` lines run.

    Args:
        source: A path ending in ``.py``, or a dotted module name. A file that was loaded before is not run again.

    Raises:
        ImportError: It does not exist or does not import; one line that names it and the cause.
    """
    text = str(source)
    if not text.endswith(".py"):
        try:
            return import_module(text)
        except Exception as cause:
            raise ImportError(f"plugin module {text!r} does not import: {on_one_line(cause)}") from cause
    path = Path(text).expanduser().resolve()
    # One stable module name per path: classes keep their identity, and two files of one name do not collide.
    name = f"lrlora_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ImportError(f"plugin file {text!r} does not exist")
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"plugin file {text!r} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as cause:
        del sys.modules[name]
        if not isinstance(cause, Exception):
            raise
        raise ImportError(f"plugin file {text!r} does not import: {on_one_line(cause)}") from cause
    return module
