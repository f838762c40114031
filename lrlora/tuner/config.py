"""The configuration of an LR-LoRA adapter: plain data, checked when it is made."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from packaging.version import Version
from peft.config import PeftConfig
from peft.utils import PeftType

from lrlora import policies
from lrlora.bases import Basis
from lrlora.bases.options import integer, number, plain_numbers
from lrlora.bases.parts import create_basis, name_and_options, plain
from lrlora.engines import ENGINES
from lrlora.policies import KINDS
from lrlora.registry import UnknownNameError, format_spec
from lrlora.tuner.files import check_files, name_import_in_card
from lrlora.tuner.presets import PRESETS
from lrlora.version import __version__

_NUMBERS: dict[str, Callable[[str, Any], Any]] = {
    "r": partial(integer, least=1),
    "lora_alpha": partial(number, above=0),
    "lora_dropout": partial(number, least=0, below=1),
    "num_grid_points": partial(integer, least=1),
    "grid_bound": partial(number, above=0),
    "transfer_lr_scale": partial(number, least=0),
    "engine_tolerance": partial(number, above=0),
}
"""What checks each field that holds one number; None passes where it is the field's default."""

_NUMBERS_BY_MODULE: dict[str, Callable[[str, Any], Any]] = {
    "rank_pattern": partial(integer, least=0),
    "alpha_pattern": partial(number, above=0),
}
_FLAGS = ("init_weights", "learn_bandwidth", "learn_amplitude", "centered", "residual")


def _help(text: str) -> dict[str, str]:
    return {"help": text}


def _policy(name: str) -> Any:
    return field(default=KINDS[name].default, metadata=_help(KINDS[name].about))


class UnknownFieldError(UnknownNameError, TypeError):
    """No field has this name; a ``TypeError`` too, as any dataclass raises.

    PEFT looks for the words "got an unexpected keyword argument" when it makes a config of a file, and then warns and
    leaves the field out.
    """

    def __init__(self, owner: str, name: str, known: Collection[str]) -> None:
        super().__init__("field", name, known)
        self.args = (f"{owner}() got an unexpected keyword argument: {self.args[0]}",)


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
    rank_allocation: str | policies.RankAllocation = _policy("rank_allocation")
    layers_to_transform: list[int] | int | None = field(default=None, metadata=_help("Layer indices, as in LoRA."))
    layers_pattern: list[str] | str | None = field(default=None, metadata=_help("Name of the layer list, as in LoRA."))
    init_weights: bool = field(
        default=True, metadata=_help("False: a random start that is not the identity, for debugging and tests.")
    )

    basis: str | Basis = field(default="sinc", metadata=_help("The functions ψ."))
    basis_kwargs: dict[str, Any] = field(default_factory=dict, metadata=_help("Options of the basis."))
    num_grid_points: int = field(default=50, metadata=_help("N, the number of functions."))
    grid: str | policies.Grid = _policy("grid")
    grid_bound: float = field(default=3.0, metadata=_help("g: the grid lies on [−g, g], in units of z."))
    sharing: str | policies.Sharing = _policy("sharing")
    sharing_scope: str | policies.Scope = _policy("sharing_scope")
    placement: str | policies.Placement = _policy("placement")
    layers: str | list[int] | policies.LayerChoice = _policy("layers")
    amplitude_init: str | policies.AmplitudeInit | None = _policy("amplitude_init")
    bandwidth_init: float | str | policies.BandwidthInit = _policy("bandwidth_init")
    learn_bandwidth: bool = field(default=True, metadata=_help("Whether ω is trained."))
    learn_amplitude: bool = field(default=True, metadata=_help("Whether a is trained."))
    bandwidth_parameterization: str | policies.PositiveMap = _policy("bandwidth_parameterization")
    centered: bool | None = field(default=None, metadata=_help("Subtract φ(0), so that B = 0 leaves W as it is."))
    residual: bool | None = field(default=None, metadata=_help("λ = 1: the linear path of LoRA beside φ."))
    input_scale: float | str | policies.InputScale | None = _policy("input_scale")
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
    lrlora_version: str | None = field(default=None, metadata=_help("Version of lrlora; filled in."))

    def __post_init__(self) -> None:
        """Fill in the preset and check every field."""
        super().__post_init__()
        self.peft_type = PeftType.LRLORA
        self.lrlora_version = __version__
        for f in fields(self):
            setattr(self, f.name, plain_numbers(getattr(self, f.name)))
        self._check_numbers()
        if self.preset not in PRESETS:
            raise UnknownNameError("preset", str(self.preset), PRESETS)
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                setattr(self, name, value(self.num_grid_points) if callable(value) else value)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("target_modules", "exclude_modules"):
            if isinstance(getattr(self, name), (list, tuple)):
                setattr(self, name, set(getattr(self, name)))  # as PEFT's own configs do
        self._check_targets()
        for kind in KINDS:
            self.policy(kind)
        self._check_transfer()
        self.make_engine()

    def __new__(cls, *args: Any, **kwargs: Any) -> LRLoraConfig:
        """Name the nearest field where one is unknown, and the version where a file of a newer lrlora has one."""
        known = [f.name for f in fields(cls)]
        for name in kwargs:
            if name not in known:
                writer = kwargs.get("lrlora_version")
                if writer is not None and Version(str(writer)) > Version(__version__):
                    raise ValueError(
                        f"this adapter was saved by lrlora {writer} with a field {name!r} that lrlora {__version__} "
                        "does not know: upgrade lrlora to load it"
                    )
                raise UnknownFieldError(cls.__name__, name, known)
        made: LRLoraConfig = super().__new__(cls)
        return made

    def policy(self, name: str) -> Any:
        """The instance that the policy field ``name`` stands for."""
        return KINDS[name].create(getattr(self, name))

    def make_basis(self) -> Basis:
        """The basis. ``grid_bound`` is the ``bound`` of its constructor, or of its parts', where none is given."""
        return create_basis(self.basis, self.basis_kwargs, self.grid_bound)

    def make_engine(self) -> Any:
        """The evaluation engine."""
        return ENGINES.create(self.engine, tolerance=self.engine_tolerance)

    def _check_numbers(self) -> None:
        for name, check in _NUMBERS.items():
            value = getattr(self, name)
            if value is not None or getattr(type(self), name) is not None:  # the default
                setattr(self, name, check(name, value))
        for name, check in _NUMBERS_BY_MODULE.items():
            given = getattr(self, name)
            if not isinstance(given, dict):
                raise ValueError(f"{name} must be a dict from module names to numbers, got {given!r}")
            setattr(self, name, {module: check(f"{name}[{module!r}]", value) for module, value in given.items()})
        wanted: Any = self.layers_to_transform
        if isinstance(wanted, (list, tuple)):
            self.layers_to_transform = [
                integer(f"layers_to_transform[{i}]", one, least=0) for i, one in enumerate(wanted)
            ]
        elif wanted is not None:
            self.layers_to_transform = integer("layers_to_transform", wanted, least=0)
        if isinstance(self.layers, (tuple, range)):
            self.layers = list(self.layers)

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
        starts_at_zero = self.policy("amplitude_init") == KINDS["amplitude_init"].create("zero")
        if starts_at_zero and self.centered and not self.residual:
            raise ValueError(
                "centered=True, residual=False and amplitude_init='zero' leave every gradient zero at the start "
                "(a = 0 and B = 0): set residual=True, or amplitude_init='identity' or 'small'"
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, subfolder: str | None = None, **kwargs: Any) -> Any:
        """See ``PeftConfig.from_pretrained``. PEFT loads an adapter through here, before it touches the model.

        Raises:
            ValueError: A field that a newer lrlora wrote and this one does not know; weights beside it that are
                damaged, or a pickle.
        """
        check_files(str(pretrained_model_name_or_path), subfolder, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """See ``PeftConfig.save_pretrained``. A model card beside it gets to say what to import."""
        super().save_pretrained(save_directory, **kwargs)
        name_import_in_card(Path(save_directory))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: policies as specs, the basis as its name and options.

        Raises:
            TypeError: An instance that has no name in its registry, or holds what a spec cannot carry.
        """
        # Not dataclasses.asdict, which would take a policy that is a dataclass apart.
        data = {f.name: plain_numbers(copy.deepcopy(getattr(self, f.name))) for f in fields(self)}
        for name, kind in KINDS.items():
            if isinstance(data[name], (str, int, float, list)):
                continue
            if (registered := kind.name_of(data[name])) is None:
                raise TypeError(
                    f"{name} {data[name]!r} cannot be saved: {type(data[name]).__name__} has no name; "
                    'decorate the class with @register("...")'
                )
            data[name] = format_spec(registered, data[name])
        if isinstance(data["basis"], str):
            data["basis_kwargs"] = plain(data["basis_kwargs"])
        else:
            data["basis"], data["basis_kwargs"] = name_and_options(data["basis"])
        for name in ("target_modules", "exclude_modules"):
            if isinstance(data[name], (set, frozenset)):
                data[name] = sorted(data[name])
        return data
