"""Checks of a method: its settings are plain data, and what it does to a model is what it says."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.registry import closest
from lrlora.studies.methods import METHODS, Method, make_method
from lrlora.testing.checks import Check, ConformanceError, Outcome, bind, checks_of, require
from lrlora.testing.tiny_models import TinyModel, seeded

TINY = TinyModel("bert", layers=2)
WIDTH = 8
_PICKLES = (b"\x80", b"PK\x03\x04")
"""What a pickle and PyTorch's archive of one begin with."""


def check_method(
    method: str | Mapping[str, Any] | Method, expected_failures: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run all checks of a method.

    Args:
        method: Its name, its configuration ``{"method": name, field: value}``, or itself.
        expected_failures: Names of checks that will fail, each with the reason.

    Raises:
        ConformanceError: With a line per failure.
        StudyError: The configuration cannot be.
    """
    if isinstance(method, str):
        method = {"method": method}
    made = make_method(method, "check_method") if isinstance(method, Mapping) else method
    return require(made, expected_failures)


def check_settings(method: Method) -> None:
    """The fields are names, each once, and the values of the settings are plain JSON."""
    fields, resolved = method.fields(), method.resolved()
    for field in fields:
        if not isinstance(field, str) or not field.isidentifier():
            raise ConformanceError(f"fields() holds {field!r}, which is no name")
    if len(set(fields)) != len(fields):
        raise ConformanceError("fields() holds a name twice")
    if odd := sorted(set(resolved) - set(fields)):
        raise ConformanceError(f"resolved() holds {odd[0]!r}, which is no field")
    for field, value in resolved.items():
        try:
            again = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConformanceError(f"resolved() holds {field}={value!r}, which JSON cannot hold: {error}") from error
        if again != value or type(again) is not type(value):
            raise ConformanceError(f"resolved() holds {field}={value!r}, which JSON reads back as {again!r}")


def check_every_setting_is_resolved(method: Method) -> None:
    """Every setting has a value, the defaults included, so that a changed default is another run."""
    if missing := sorted(set(method.fields()) - set(method.resolved())):
        raise ConformanceError(f"resolved() leaves out {missing[0]!r}")


def check_settings_make_it_again(method: Method) -> None:
    """A method that is made of its resolved settings has the same ones."""
    resolved = json.loads(json.dumps(method.resolved()))
    again = _again(method, resolved).resolved()
    for field, value in method.resolved().items():
        if field not in again or again[field] != value:
            raise ConformanceError(f"made of its own settings, {field} is {again.get(field)!r} and not {value!r}")


def check_unknown_settings(method: Method) -> None:
    """A setting that is none is refused in one line that names it, and the nearest one."""
    fields = method.fields()
    wrong = f"{fields[0]}x" if fields else "no_such_setting"
    nearest = closest(wrong, fields)
    try:
        _again(method, {wrong: 1})
    except (ValueError, TypeError) as error:
        said = str(error)
        if "\n" in said or wrong not in said:
            raise ConformanceError(f"the refusal of the unknown setting {wrong!r} is no line that names it") from error
        if _name(method) is not None and nearest is not None and nearest not in said:
            raise ConformanceError(f"the refusal of {wrong!r} does not name {nearest!r}, the nearest") from error
    else:
        raise ConformanceError(f"the unknown setting {wrong!r} is taken")


def check_adapts(method: Method) -> None:
    """Adapting gives a model that answers with finite numbers, and leaves something to train."""
    model = _adapted(method)
    trained = _trained(model)
    if not trained:
        raise ConformanceError(f"adapt leaves nothing to train on {TINY}")
    if not TINY.output(model.eval()).isfinite().all():
        raise ConformanceError(f"the output of the adapted {TINY} is not finite before any step")


def check_same_seed_same_start(method: Method) -> None:
    """The same seed gives the same start, also after another model was adapted."""
    first = dict(_adapted(method).state_dict())
    _adapted(method, seed=1)
    second = _adapted(method).state_dict()
    for name, value in first.items():
        if name not in second:
            raise ConformanceError(f"adapted again under the same seed, {name} is not there")
        if not torch.equal(value, second[name]):
            raise ConformanceError(f"adapted again under the same seed, {name} starts differently")


def check_groups_cover_what_trains(method: Method) -> None:
    """Every trainable parameter is in one group of the optimizer, once, and nothing else is."""
    model = _adapted(method)
    groups = method.parameter_groups(model, 1e-2, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen: set[int] = set()
    for group in groups:
        rate = group.get("lr", 1e-2)
        if not 0 <= rate < float("inf"):
            raise ConformanceError(f"a group has the learning rate {rate!r}")
        for parameter in group["params"]:
            name = names.get(id(parameter), "a tensor that is none of the model's")
            if id(parameter) in seen:
                raise ConformanceError(f"{name} is in the groups twice")
            if id(parameter) not in names or not parameter.requires_grad:
                raise ConformanceError(f"{name} is in a group and does not train")
            seen.add(id(parameter))
    for name, parameter in _trained(model).items():
        if id(parameter) not in seen:
            raise ConformanceError(f"{name} trains and is in no group")


def check_trains_what_it_says(method: Method) -> None:
    """Two steps change parameters that require gradients, and nothing else."""
    model = _adapted(method)
    trained = set(_trained(model))
    before = {name: value.clone() for name, value in _tensors(model).items()}
    optimizer = torch.optim.AdamW(method.parameter_groups(model, 1e-2, 0.01))
    with seeded(2):
        model.train()
        for _ in range(2):
            optimizer.zero_grad()
            loss = (TINY.output(model) - 1).square().mean()
            if not loss.isfinite():
                raise ConformanceError("the loss is not finite within two steps")
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    changed = {name for name, value in _tensors(model).items() if not torch.equal(value, before[name])}
    if kept := sorted(changed - trained):
        raise ConformanceError(f"{kept[0]} changes in two steps, though it is not trained")
    if not changed:
        raise ConformanceError("nothing changes in two steps")


def check_counts_without_weights(method: Method) -> None:
    """On the meta device the same parameters train, of the same shapes."""
    wanted = {name: tuple(parameter.shape) for name, parameter in _trained(_adapted(method)).items()}
    found = {name: tuple(parameter.shape) for name, parameter in _trained(_adapted(method, device="meta")).items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ConformanceError(
                f"{name} is {found.get(name, 'not trained')} on the meta device and "
                f"{wanted.get(name, 'not trained')} on the CPU"
            )


def check_saves_safetensors(method: Method) -> None:
    """It saves what was trained, in safetensors and nothing that holds a pickle, in its folder and nowhere else."""
    from safetensors.torch import load_file

    model = _adapted(method)
    with tempfile.TemporaryDirectory(prefix="lrlora-") as root:
        for name in ("saved/adapter", "working"):
            Path(root, name).mkdir(parents=True)
        folder = Path(root, "saved", "adapter")
        quiet = contextlib.redirect_stderr(io.StringIO())  # of progress bars
        with contextlib.chdir(Path(root, "working")), quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method.save(model, folder)
        files = [path for path in Path(root).rglob("*") if path.is_file()]
        for path in files:
            if not path.is_relative_to(folder):
                raise ConformanceError(f"save writes {path.relative_to(root)} outside of its folder")
            if path.suffix != ".safetensors" and path.read_bytes().startswith(_PICKLES):
                raise ConformanceError(f"save writes {path.name}, which holds a pickle")
        weights = [path for path in files if path.suffix == ".safetensors"]
        if not weights:
            raise ConformanceError("save writes no .safetensors file")
        saved = sum(value.numel() for path in weights for value in load_file(path).values())
    count = sum(parameter.numel() for parameter in _trained(model).values())
    if saved < count:
        raise ConformanceError(f"save writes {saved} numbers, and {count} were trained")


def _name(method: Method) -> str | None:
    return METHODS.name_of(method)


def _again(method: Method, fields: Mapping[str, Any]) -> Method:
    name = _name(method)
    return type(method)(**fields) if name is None else make_method({"method": name, **fields}, "check_method")


def _adapted(method: Method, seed: int = 0, device: str = "cpu") -> nn.Module:
    base = TINY.build()
    if device == "meta":
        base = base.to("meta")
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return method.adapt(base)
        except ValueError as error:
            why = " ".join(str(error).split())
            message = f"it refuses {TINY}, which is {WIDTH} wide: {why}; check it with settings that fit"
            raise ConformanceError(message) from error


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    # The buffers that are not saved as well: a method that moves one has changed the model too.
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@checks_of.register(Method)
def _(method: Method) -> Iterator[Check]:
    return bind(
        [
            check_settings,
            check_every_setting_is_resolved,
            check_settings_make_it_again,
            check_unknown_settings,
            check_adapts,
            check_same_seed_same_start,
            check_groups_cover_what_trains,
            check_trains_what_it_says,
            check_counts_without_weights,
            check_saves_safetensors,
        ],
        method,
    )
