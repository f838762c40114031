"""The policies that an adapter is composed of, one file for each kind.

A policy is a spec, ``"name"`` or ``"name:argument,…"``, or an instance. Pairs that do not work together are refused
when the config is made.
"""

from typing import Any

from lrlora.policies.amplitudes import AMPLITUDES, AmplitudeInit, Start
from lrlora.policies.bandwidths import BANDWIDTHS, BandwidthInit
from lrlora.policies.grids import GRIDS, Grid
from lrlora.policies.kind import PolicyKind
from lrlora.policies.layer_choices import LAYER_CHOICES, LayerChoice
from lrlora.policies.placements import PLACEMENTS, Placement, resolve_target_modules
from lrlora.policies.positive_maps import POSITIVE_MAPS, PositiveMap
from lrlora.policies.ranks import RANKS, RankAllocation, allocate_ranks
from lrlora.policies.roles import depth_of, register_family, role_of
from lrlora.policies.scales import INPUT_SCALES, InputScale
from lrlora.policies.scopes import SCOPES, Scope
from lrlora.policies.sharing import SHARINGS, Sharing

KINDS: dict[str, PolicyKind[Any]] = {
    kind.field: kind for kind in list(globals().values()) if isinstance(kind, PolicyKind)
}
"""The kinds of policies imported above, by the field of :class:`lrlora.LRLoraConfig` that takes one."""

__all__ = [
    "AMPLITUDES",
    "BANDWIDTHS",
    "GRIDS",
    "INPUT_SCALES",
    "KINDS",
    "LAYER_CHOICES",
    "PLACEMENTS",
    "POSITIVE_MAPS",
    "RANKS",
    "SCOPES",
    "SHARINGS",
    "AmplitudeInit",
    "BandwidthInit",
    "Grid",
    "InputScale",
    "LayerChoice",
    "Placement",
    "PolicyKind",
    "PositiveMap",
    "RankAllocation",
    "Scope",
    "Sharing",
    "Start",
    "allocate_ranks",
    "depth_of",
    "register_family",
    "resolve_target_modules",
    "role_of",
]
