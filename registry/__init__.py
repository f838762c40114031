"""Names to things: the one place where everything pluggable is looked up.

Standard library only. See :class:`Registry` for the rules and :mod:`lrlora.registry.spec` for the
``"name:argument"`` notation in which a policy is written down.
"""

if __name__ != "lrlora.registry":
    raise ImportError(f"this folder is the package 'lrlora.registry', not {__name__!r}: import it under its full name")

from lrlora.registry.errors import BrokenPluginError, DuplicateNameError, UnknownNameError, closest
from lrlora.registry.plugin_files import load_plugin
from lrlora.registry.registry import Entry, Registry, required_arguments
from lrlora.registry.spec import format_spec, parse_spec

__all__ = [
    "BrokenPluginError",
    "DuplicateNameError",
    "Entry",
    "Registry",
    "UnknownNameError",
    "closest",
    "format_spec",
    "load_plugin",
    "parse_spec",
    "required_arguments",
]
