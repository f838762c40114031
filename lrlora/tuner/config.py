"""The configuration of an LR-LoRA adapter: plain data, checked when it is made."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from peft.config import PeftConfig
from peft.utils import PeftType

from lrlora.bases import Basis
from lrlora.bases.parts import create_basis, name_and_options, plain
from lrlora.engines import ENGINES
from lrlora.policies import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    INPUT_SCALES,
    LAYER_CHOICES,
    PLACEMENTS,
    POSITIVE_MAPS,
    RANKS,
    SCOPES,
    SHARINGS,
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    LayerChoice,
    Placement,
    PositiveMap,
    RankAllocation,
    Scope,
    Sharing,
)
from lrlora.policies.placements import as_layer_choice
from lrlora.registry import Registry, UnknownNameError, format_spec
from lrlora.tuner.files import check_files, name_import_in_card
from lrlora.tuner.presets import PRESETS

_POLICIES: dict[str, Registry[Any]] = {
    "grid": GRIDS,
    "sharing": SHARINGS,
    "sharing_scope": SCOPES,
    "placement": PLACEMENTS,
    "layers": LAYER_CHOICES,
    "rank_allocation": RANKS,
    "amplitude_init": AMPLITUDES,
    "bandwidth_init": BANDWIDTHS,
    "bandwidth_parameterization": POSITIVE_MAPS,
    "input_scale": INPUT_SCALES,
}
"""Fields that hold a policy, and the registry each is looked up in."""


def _help(text: str) -> dict[str, str]:
    return {"help": text}


class UnknownFieldError(UnknownNameError, TypeError):
    """No field has this name; a ``TypeError`` too, as any dataclass raises."""


@dataclass
class LRLoraConfig(PeftConfig):
    """Configuration of an adapter ΔW = s_out · [λz + φ(z) − φ(0)] with z = s_in · BA.

    Use it as any PEFT config: ``peft.get_peft_model(model, LRLoraConfig(r=4, basis="sinc"))``. Policies are names,
    specs such as ``"small:0.02"``, or instances. Fields that a preset governs are None until the config is made, and
    hold the preset's value after. ``save_pretrained`` writes plain JSON.

    Raises:
        ValueError: A value that cannot be, or an unknown name, with the nearest one.
        TypeError: A policy's arguments do not fit it.
    """

    r: int = field(default=8, metadata=_help("Rank of BA."))
    lora_alpha: float | None = field(
        default=None,
        metadata=_help("s_in · s_out is lora_alpha / r, as LoRA's scaling; with preset 'paper' None, which means 1."),
    )
    lora_dropout: float = field(default=0.0, metadata=_help("Dropout on the input of the adapter's path."))
    target_modules: list[str] | str | None = field(
        default=None,
        metadata=_help(
            "Names, name endings, a regular expression, or 'all-linear', as in LoRA. None: the placement decides. "
            "Given together with a placement or layers, what satisfies both is adapted."
        ),
    )
    exclude_modules: list[str] | str | None = field(default=None, metadata=_help("Modules to leave out, as in LoRA."))
    modules_to_save: list[str] | None = field(default=None, metadata=_help("Other modules to train and save."))
    rank_pattern: dict[str, int] = field(default_factory=dict, metadata=_help("Ranks by module, as in LoRA."))
    alpha_pattern: dict[str, float] = field(default_factory=dict, metadata=_help("lora_alpha by module, as in LoRA."))
    rank_allocation: str | RankAllocation = field(
        default="uniform", metadata=_help("How r is spread over the modules; rank_pattern goes first.")
    )
    layers_to_transform: list[int] | int | None = field(default=None, metadata=_help("Layer indices, as in LoRA."))
    layers_pattern: list[str] | str | None = field(default=None, metadata=_help("Name of the layer list, as in LoRA."))
    init_weights: bool = field(
        default=True, metadata=_help("False: a random start that is not the identity, for debugging and tests.")
    )

    basis: str | Basis = field(default="sinc", metadata=_help("The functions ψ."))
    basis_kwargs: dict[str, Any] = field(default_factory=dict, metadata=_help("Options of the basis."))
    num_grid_points: int = field(default=50, metadata=_help("N, the number of functions."))
    grid: str | Grid = field(default="uniform", metadata=_help("Where the grid points lie."))
    grid_bound: float = field(default=3.0, metadata=_help("g: the grid lies on [−g, g], in units of z."))
    sharing: str | Sharing = field(default="none", metadata=_help("Parts of θ that adapters share."))
    sharing_scope: str | Scope = field(default="all", metadata=_help("How widely they are shared."))
    placement: str | Placement = field(default="all", metadata=_help("Which modules are adapted, by role."))
    layers: str | list[int] | LayerChoice = field(default="all", metadata=_help("Which layers are adapted."))
    amplitude_init: str | AmplitudeInit | None = field(default=None, metadata=_help("What a starts from."))
    bandwidth_init: float | str | BandwidthInit = field(default=1.0, metadata=_help("What ω starts from."))
    learn_bandwidth: bool = field(default=True, metadata=_help("Whether ω is trained."))
    learn_amplitude: bool = field(default=True, metadata=_help("Whether a is trained."))
    bandwidth_parameterization: str | PositiveMap = field(
        default="exp", metadata=_help("The map that keeps ω positive: 'exp' or 'softplus'.")
    )
    centered: bool | None = field(default=None, metadata=_help("Subtract φ(0), so that B = 0 leaves W as it is."))
    residual: bool | None = field(default=None, metadata=_help("λ = 1: the linear path of LoRA beside φ."))
    input_scale: float | str | InputScale | None = field(default=None, metadata=_help("s_in."))
    transfer_lr_scale: float | None = field(
        default=None,
        metadata=_help(
            "Learning rate of θ as a fraction of that of A and B, in lrlora.parameter_groups. From the preset: by N, "
            "or 1 for 'paper'."
        ),
    )
    engine: str = field(default="auto", metadata=_help("How φ is evaluated; the result is the same to the tolerance."))
    engine_tolerance: float = field(default=2e-3, metadata=_help("Relative error that evaluation may make."))
    preset: str = field(default="default", metadata=_help("'default', 'identity' or 'paper'."))

    def __post_init__(self) -> None:
        """Fill in the preset and check every field."""
        super().__post_init__()
        self.peft_type = PeftType.LRLORA
        self._check_numbers()
        if self.preset not in PRESETS:
            raise UnknownNameError("preset", str(self.preset), PRESETS)
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                setattr(self, name, value(self.num_grid_points) if callable(value) else value)
        if isinstance(self.target_modules, (list, tuple)):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]  # as PEFT's own configs do
        if isinstance(self.exclude_modules, (list, tuple)):
            self.exclude_modules = set(self.exclude_modules)  # type: ignore[assignment]
        self._check_targets()
        for name in _POLICIES:
            self.policy(name)
        self._check_transfer()
        self.make_engine()

    def __new__(cls, *args: Any, **kwargs: Any) -> LRLoraConfig:
        """Refuse what is no field; PEFT would drop it with a warning, and compute something else."""
        known = [f.name for f in fields(cls)]
        for name in kwargs:
            if name not in known:
                raise UnknownFieldError(
                    f"field of {cls.__name__}",
                    name,
                    known,
                    "in a saved adapter: made by a newer version of lrlora or PEFT",
                )
        made: LRLoraConfig = super().__new__(cls)
        return made

    # -- what the fields stand for --------------------------------------------------------------------------

    def policy(self, name: str) -> Any:
        """The instance that the policy field ``name`` stands for."""
        value = getattr(self, name)
        if name == "layers":
            return as_layer_choice(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = f"constant:{value!r}"
        return _POLICIES[name].create(value)

    def make_basis(self) -> Basis:
        """The basis. ``grid_bound`` is the ``bound`` of its constructor, or of its parts', where none is given."""
        return create_basis(self.basis, self.basis_kwargs, self.grid_bound)

    def make_engine(self) -> Any:
        """The evaluation engine."""
        return ENGINES.create(self.engine, tolerance=self.engine_tolerance)

    # -- checks ---------------------------------------------------------------------------------------------

    def _check_numbers(self) -> None:
        if not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1:
            raise ValueError(f"r is a whole number of at least 1, not {self.r!r}")
        bad = {name: r for name, r in self.rank_pattern.items() if not isinstance(r, int) or r < 0}
        if bad:
            raise ValueError(f"ranks in rank_pattern are whole numbers that are not negative, not {bad}")
        if not isinstance(self.num_grid_points, int) or self.num_grid_points < 1:
            raise ValueError(f"num_grid_points is a whole number of at least 1, not {self.num_grid_points!r}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout is in [0, 1), not {self.lora_dropout!r}")
        for name in ("grid_bound", "engine_tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, not {getattr(self, name)!r}")
        if self.transfer_lr_scale is not None and not self.transfer_lr_scale >= 0:
            raise ValueError(f"transfer_lr_scale is not negative, unlike {self.transfer_lr_scale!r}")

    def _check_targets(self) -> None:
        for name in ("layers_to_transform", "layers_pattern"):
            if isinstance(self.target_modules, str) and getattr(self, name) is not None:
                raise ValueError(f"{name} works with a list of target_modules, not with a string; use layers= instead")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("layers_pattern says where layers_to_transform counts: give that as well")

    def _check_transfer(self) -> None:
        basis = self.make_basis()
        if self.policy("grid").learned and not basis.uses_grid:
            raise ValueError(
                f"grid={self.grid!r} would train grid points that basis {self.basis!r} does not use; "
                "choose another grid or a shifted basis"
            )
        starts_at_zero = self.policy("amplitude_init") == AMPLITUDES.create("zero")
        if starts_at_zero and self.centered and not self.residual:
            raise ValueError(
                "centered=True, residual=False and amplitude_init='zero' leave every gradient zero at the start "
                "(a = 0 and B = 0): set residual=True, or amplitude_init='identity' or 'small'"
            )

    # -- files ----------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, subfolder: str | None = None, **kwargs: Any) -> Any:
        """See ``PeftConfig.from_pretrained``. PEFT loads an adapter through here, before it touches the model.

        Raises:
            ValueError: An unknown field; weights beside it that are damaged, or a pickle.
        """
        check_files(str(pretrained_model_name_or_path), subfolder, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)

    @classmethod
    def check_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        """PEFT passes what a file holds through here."""
        if "peft_type" not in kwargs:
            raise TypeError(
                f"The {cls.__name__} config that is trying to be loaded is missing required keys: {{'peft_type'}}."
            )
        return kwargs

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """See ``PeftConfig.save_pretrained``. A model card beside it gets to say what to import."""
        super().save_pretrained(save_directory, **kwargs)
        name_import_in_card(Path(save_directory))

    # -- plain data -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data: policies as specs, the basis as its name and options.

        Raises:
            TypeError: An instance that has no name in its registry, or holds what a spec cannot carry.
        """
        # Not dataclasses.asdict, which would take a policy that is a dataclass apart.
        data = {f.name: copy.deepcopy(getattr(self, f.name)) for f in fields(self)}
        for name, registry in _POLICIES.items():
            if not isinstance(data[name], (str, int, float, list)):
                data[name] = format_spec(_registered_name(registry, data[name]), data[name])
        if isinstance(data["basis"], str):
            data["basis_kwargs"] = plain(data["basis_kwargs"])
        else:
            data["basis"], data["basis_kwargs"] = name_and_options(data["basis"])
        for name in ("target_modules", "exclude_modules"):
            if isinstance(data[name], (set, frozenset)):
                data[name] = sorted(data[name])
        return data


def _registered_name(registry: Registry[Any], instance: object) -> str:
    name = registry.name_of(instance)
    if name is None:
        raise TypeError(
            f"{registry.kind} {instance!r} cannot be saved: {type(instance).__name__} has no name; "
            'decorate the class with @register("...")'
        )
    return name
