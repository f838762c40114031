"""The registries of the policies, one per axis. Third parties add to them through the entry-point groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrlora.registry import Registry

if TYPE_CHECKING:
    from lrlora.policies.amplitudes import AmplitudeInit
    from lrlora.policies.bandwidths import BandwidthInit, PositiveMap
    from lrlora.policies.grids import Grid
    from lrlora.policies.layer_choices import LayerChoice
    from lrlora.policies.placements import Placement
    from lrlora.policies.ranks import RankAllocation
    from lrlora.policies.scales import InputScale
    from lrlora.policies.sharing import Scope, Sharing


def _table(module: str, **names: str) -> dict[str, str]:
    return {name: f"lrlora.policies.{module}:{attribute}" for name, attribute in names.items()}


GRIDS: Registry[Grid] = Registry(
    "grid",
    group="lrlora.grids",
    base="lrlora.policies.grids:Grid",
    builtins=_table(
        "grids", uniform="Uniform", chebyshev="Chebyshev", random="Random", jittered="Jittered", learned="Learned"
    ),
)
AMPLITUDES: Registry[AmplitudeInit] = Registry(
    "amplitude_init",
    group="lrlora.amplitudes",
    base="lrlora.policies.amplitudes:AmplitudeInit",
    builtins=_table(
        "amplitudes",
        zero="Zero",
        small="Small",
        unit="Unit",
        random="Random",
        identity="Identity",
        by_depth="ByDepth",
    ),
)
BANDWIDTHS: Registry[BandwidthInit] = Registry(
    "bandwidth_init",
    group="lrlora.bandwidths",
    base="lrlora.policies.bandwidths:BandwidthInit",
    builtins=_table("bandwidths", constant="Constant", by_depth="ByDepth"),
)
POSITIVE_MAPS: Registry[PositiveMap] = Registry(
    "bandwidth_parameterization",
    group="lrlora.positive_maps",
    base="lrlora.policies.bandwidths:PositiveMap",
    builtins=_table("bandwidths", exp="Exp", softplus="Softplus"),
)
INPUT_SCALES: Registry[InputScale] = Registry(
    "input_scale",
    group="lrlora.input_scales",
    base="lrlora.policies.scales:InputScale",
    builtins=_table("scales", constant="Constant", width="Width"),
)
SHARINGS: Registry[Sharing] = Registry(
    "sharing",
    group="lrlora.sharing",
    base="lrlora.policies.sharing:Sharing",
    builtins=_table(
        "sharing",
        none="nothing",
        grid="grid",
        bandwidth="bandwidth",
        amplitude="amplitude",
        all="everything",
        parts="Sharing",
    ),
)
SCOPES: Registry[Scope] = Registry(
    "sharing_scope",
    group="lrlora.sharing_scopes",
    base="lrlora.policies.sharing:Scope",
    builtins=_table("sharing", all="AllAdapters", projection="PerProjection", layer="PerLayer"),
)
PLACEMENTS: Registry[Placement] = Registry(
    "placement",
    group="lrlora.placements",
    base="lrlora.policies.placements:Placement",
    builtins=_table(
        "placements",
        all="everywhere",
        attention="attention",
        mlp="mlp",
        qkv="qkv",
        gate_up="gate_up",
        roles="Placement",
    ),
)
LAYER_CHOICES: Registry[LayerChoice] = Registry(
    "layers",
    group="lrlora.layers",
    base="lrlora.policies.layer_choices:LayerChoice",
    builtins=_table("layer_choices", all="All", odd="Odd", even="Even", first_last="FirstLast", indices="Indices"),
)
RANKS: Registry[RankAllocation] = Registry(
    "rank_allocation",
    group="lrlora.ranks",
    base="lrlora.policies.ranks:RankAllocation",
    builtins=_table(
        "ranks",
        uniform="Uniform",
        linear_decay="LinearDecay",
        attention_heavy="AttentionHeavy",
        empirical="Empirical",
    ),
)
