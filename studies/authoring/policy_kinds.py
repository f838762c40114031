"""A kind of policy, and a policy, as a user names them on the command line."""

from __future__ import annotations

from typing import Any

from lrlora.policies import KINDS, PolicyKind
from lrlora.registry import UnknownNameError
from lrlora.studies.errors import said_in_one_line


def registry_of(kind: str) -> PolicyKind[Any]:
    """Returns the registry of a kind, by the field of ``LRLoraConfig``: ``grid``, ``rank_allocation``, …

    Raises:
        UnknownNameError: There is no such kind; with the nearest.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of policy", kind, KINDS)
    return KINDS[kind]


def make_policy(kind: str, spec: str) -> Any:
    """Returns a policy from its spec; of bandwidths and scales a bare number is one, as in a config.

    Raises:
        UnknownNameError: No such kind, or no such policy.
        StudyError: Its options do not fit.
    """
    registry = registry_of(kind)
    try:
        number = float(spec)
    except ValueError:
        number = None
    with said_in_one_line():
        return registry.create(spec if number is None else number)
