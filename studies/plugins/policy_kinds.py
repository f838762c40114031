"""The kinds of policies, by the field of a config that takes one, and how a user names one."""

from __future__ import annotations

from typing import Any

from lrlora.policies import tables
from lrlora.registry import Registry, UnknownNameError
from lrlora.studies.errors import said_in_one_line

_TABLES: dict[str, str] = {
    name: table.kind for name, table in sorted(vars(tables).items()) if isinstance(table, Registry)
}
KINDS: dict[str, Registry[Any]] = {kind: getattr(tables, name) for name, kind in _TABLES.items()}
"""Registries by the field of ``LRLoraConfig``: ``grid``, ``rank_allocation``, …"""

TABLE_NAMES: dict[str, str] = {kind: name for name, kind in _TABLES.items()}
"""What each is called in ``lrlora.policies``."""


def registry_of(kind: str) -> Registry[Any]:
    """The registry of a kind.

    Raises:
        UnknownNameError: There is no such kind; with the nearest.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of policy", kind, KINDS)
    return KINDS[kind]


def make_policy(kind: str, spec: str) -> Any:
    """A policy from its spec; of bandwidths and scales a bare number is one, as in a config.

    Raises:
        UnknownNameError: No such kind, or no such policy.
        StudyError: Its options do not fit.
    """
    registry = registry_of(kind)
    try:
        float(spec)
    except ValueError:
        pass
    else:
        if "constant" in registry:
            spec = f"constant:{spec}"
    with said_in_one_line():
        return registry.create(spec)
