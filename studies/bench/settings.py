"""What a benchmark is asked to do, read from what a user wrote."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lrlora.registry import Registry, UnknownNameError
from lrlora.studies.errors import StudyError

DTYPES = ("float32", "bfloat16")
COMPILE_MODES = ("always", "never", "auto")
COMPILE_VARIABLE = "LRLORA_COMPILE"
"""What engines read: whether they compile their kernels."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        steps: Pairs of steps that are counted, at most.
        seconds: After so long no further pair is begun; warming up has as long again.
        warm_up: Steps of each before the counted ones; None until the times are steady.
        memory: Whether peak memory is measured too.
    """

    steps: int = 15
    seconds: float = 60.0
    warm_up: int | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.steps < 1:
            raise StudyError(f"--steps is at least 1, not {self.steps}")
        if not self.seconds > 0:
            raise StudyError(f"--seconds is positive, not {self.seconds:g}")
        if self.warm_up is not None and self.warm_up < 0:
            raise StudyError(f"--warmup is not negative, unlike {self.warm_up}")


@dataclass(frozen=True)
class Variant:
    """An LR-LoRA to be measured, and by its rank the LoRA that it is measured against."""

    basis: str
    engine: str
    rank: int
    grid_points: int = 50
    tolerance: float = 2e-3

    @property
    def ours(self) -> dict[str, object]:
        """The configuration of LR-LoRA, as studies write one."""
        return {
            "method": "lrlora",
            "r": self.rank,
            "lora_alpha": float(self.rank),
            "basis": self.basis,
            "engine": self.engine,
            "num_grid_points": self.grid_points,
            "engine_tolerance": self.tolerance,
        }

    @property
    def theirs(self) -> dict[str, object]:
        """The configuration of LoRA: the same rank and scaling."""
        return {"method": "lora", "r": self.rank, "lora_alpha": float(self.rank)}

    def check(self) -> None:
        """See that every name and number in it exists, without a model.

        Raises:
            UnknownNameError: A basis or an engine that there is not.
            StudyError: A number that cannot be.
        """
        from lrlora.studies.methods import make_method

        make_method(self.ours, "bench")
        make_method(self.theirs, "bench")


def make_variants(
    bases: Sequence[str], engines: Sequence[str], ranks: Sequence[int], grid_points: Sequence[int], tolerance: float
) -> list[Variant]:
    """Every combination, by rank first; ``all`` stands for every built-in or plugged-in one that needs no argument.

    Raises:
        UnknownNameError, StudyError: As :meth:`Variant.check`.
    """
    from lrlora.bases import BASES
    from lrlora.engines import ENGINES

    def spelled_out(names: Sequence[str], registry: Registry[Any]) -> list[str]:
        chosen = (registry.complete_names() if name == "all" else [name] for name in names)
        return list(dict.fromkeys(name for found in chosen for name in found))

    variants = [
        Variant(basis, engine, rank, points, tolerance)
        for rank in ranks
        for points in grid_points
        for basis in spelled_out(bases, BASES)
        for engine in spelled_out(engines, ENGINES)
    ]
    for variant in variants:
        variant.check()
    return variants


def read_names(given: Sequence[str]) -> list[str]:
    """Names from an option that may be repeated and may hold several between commas.

    A value with a colon is one basis with its options, and is taken whole.

    >>> read_names(["sinc,gaussian", "bspline:2"])
    ['sinc', 'gaussian', 'bspline:2']
    """
    names = [name.strip() for text in given for name in ([text] if ":" in text else text.split(","))]
    return [name for name in names if name]


def read_numbers(given: Sequence[str], option: str) -> list[int]:
    """Whole numbers of at least 1, likewise.

    Raises:
        StudyError: Something that is not one.

    >>> read_numbers(["4,8", "16"], "--rank")
    [4, 8, 16]
    """
    names = read_names(given)
    for name in names:
        if not re.fullmatch(r"[0-9]+", name) or int(name) < 1:
            raise StudyError(f"{option} {name!r}: give whole numbers of at least 1, such as {option} 4,8")
    return [int(name) for name in names]


def read_batch(text: str) -> tuple[int, int]:
    """Batch and length.

    Raises:
        StudyError: It is not two whole numbers around an x.

    >>> read_batch("4x128")
    (4, 128)
    """
    match = re.fullmatch(r"([1-9][0-9]*)[x×]([1-9][0-9]*)", text.strip())
    if match is None:
        raise StudyError(f"--tokens {text!r}: give BATCHxLENGTH, such as --tokens 4x128")
    return int(match.group(1)), int(match.group(2))


def choice(option: str, given: str, known: Sequence[str]) -> str:
    """``given``, which must be one of ``known``.

    Raises:
        UnknownNameError: It is not; with the nearest that is.
    """
    if given not in known:
        raise UnknownNameError(f"value of {option}", given, known)
    return given


@contextlib.contextmanager
def compile_mode(mode: str | None) -> Iterator[str]:
    """Set for the engines, and for processes started meanwhile, whether kernels are compiled.

    Args:
        mode: ``always``, ``never`` or ``auto``; None for what the environment says, and ``always`` where it says
            nothing: a benchmark is about the long run, and ``auto`` would compile somewhere in the middle of it.
    """
    before = os.environ.get(COMPILE_VARIABLE)
    chosen = choice("--compile", mode, COMPILE_MODES) if mode is not None else before or "always"
    os.environ[COMPILE_VARIABLE] = chosen
    try:
        yield chosen
    finally:
        if before is None:
            del os.environ[COMPILE_VARIABLE]
        else:
            os.environ[COMPILE_VARIABLE] = before
