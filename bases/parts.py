"""Bases made of bases: how a part is written down, and what all compositions have in common.

A part is an instance, a spec such as ``"bspline:2"``, or ``{"basis": "bspline", "degree": 2}``, which is what stands in
a saved adapter's JSON.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

from lrlora.bases import BASES
from lrlora.bases.basis import Basis, Properties
from lrlora.registry import parse_spec

Part: TypeAlias = "Basis | str | Mapping[str, Any]"


def create_basis(spec: str | Basis, options: Mapping[str, Any], bound: float | None) -> Basis:
    """A basis from its spec and options, as a config holds them; an instance as it is.

    Args:
        spec: As :meth:`Registry.create` takes it.
        options: Keyword arguments of its constructor.
        bound: Fills a constructor parameter called ``bound`` that neither the spec nor the options set; None: nothing.

    Raises:
        ValueError, TypeError, ImportError: As :meth:`Registry.create`.
    """
    options = dict(options)
    if isinstance(spec, str) and bound is not None:
        name, arguments = parse_spec(spec)
        parameters = list(inspect.signature(BASES.get(name)).parameters)
        if "bound" in parameters[len(arguments) :]:
            options.setdefault("bound", bound)
    return BASES.create(spec, **options)


def create_part(whole: str, field: str, part: Part, bound: float | None) -> Basis:
    """The basis that a part stands for.

    Args:
        whole: Name of the composition, for messages.
        field: What the part is called in it.
        part: The part.
        bound: As in :func:`create_basis`.

    Raises:
        ValueError, TypeError: As :meth:`Registry.create`, in one line that says which part it is about.
    """
    try:
        if not isinstance(part, Mapping):
            return create_basis(part, {}, bound)
        options = dict(part)
        name = options.pop("basis", None)
        if not isinstance(name, str):
            raise ValueError(f"it is a name, or {{'basis': name, option: value}}, not {part!r}")
        return create_basis(name, options, bound)
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{whole}, part {field!r}: {error}") from error


def name_and_options(basis: Basis) -> tuple[str, dict[str, Any]]:
    """What :func:`create_basis` makes the same basis of: plain data all the way down.

    Raises:
        TypeError: It has no name in the registry, or holds what plain data cannot carry.
    """
    name = BASES.name_of(basis)
    if name is None:
        raise TypeError(
            f"basis {basis!r} cannot be saved: {type(basis).__name__} has no name; "
            'decorate the class with @register("...")'
        )
    made: Any = basis  # a subclass may be a dataclass, which mypy does not believe
    if is_dataclass(made):
        return name, {f.name: plain(getattr(made, f.name)) for f in fields(made) if f.init}
    if vars(basis):
        raise TypeError(
            f"basis {basis!r} cannot be saved: make {type(basis).__name__} a dataclass, "
            "or pass its name with basis_kwargs"
        )
    return name, {}


def plain(option: Any) -> Any:
    """An option of a basis, with every basis in it, at any depth, written as a part.

    Raises:
        TypeError: As :func:`name_and_options`.
    """
    if isinstance(option, Basis):
        name, options = name_and_options(option)
        if "basis" in options:
            raise TypeError(f"basis {option!r} cannot be saved as a part: an option of its own is called 'basis'")
        return {"basis": name, **options} if options else name
    if isinstance(option, dict):
        return {key: plain(value) for key, value in option.items()}
    if isinstance(option, list):
        return [plain(value) for value in option]
    if is_dataclass(option) and not isinstance(option, type):
        return asdict(option)
    return copy.deepcopy(option)


def claims_within(part: Basis, whole: Basis) -> Properties:
    """What a part says of itself in terms of the u of the whole.

    A part that has no use for grid points speaks of u = ωz. Where the whole has, u = ω(z − z_i): what is said about the
    place of a function is lost, and what is said about its shape is not.
    """
    claims = part.properties()
    if part.uses_grid or not whole.uses_grid:
        return claims
    claims = replace(claims, parity=None, support=None)
    return claims if claims.interval is None else replace(claims, smoothness=None, polynomial=False, interval=None)


def common_period(first: float | None, second: float | None) -> float | None:
    """The least common multiple of two periods, or None where there is none that is certain.

    >>> common_period(6.0, 4.0), common_period(6.0, 6.0), common_period(1.0, 2**0.5), common_period(1.0, None)
    (12.0, 6.0, None, None)
    """
    if first is None or second is None:
        return None
    # Floating-point numbers are all commensurate in principle: only a ratio of small numbers is no accident.
    ratio = Fraction(first / second).limit_denominator(64)
    if ratio.numerator > 64 or not math.isclose(float(ratio), first / second, rel_tol=1e-14):
        return None
    return first * ratio.denominator


def shorter(first: float | None, second: float | None) -> float | None:
    """Returns the smaller of two intervals, where None is the whole line."""
    return min((each for each in (first, second) if each is not None), default=None)


def least_smooth(first: float | None, second: float | None) -> float | None:
    """The smoothness of a sum or product of two functions; None where one of them is not known."""
    return None if first is None or second is None else min(first, second)
