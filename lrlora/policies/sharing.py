"""Which parts of θ adapters share."""

from __future__ import annotations

from dataclasses import dataclass

from lrlora.policies.kind import PolicyKind

PARTS = ("grid", "bandwidth", "amplitude", "shape")


@dataclass(frozen=True)
class Sharing:
    """The parts of θ that adapters within one scope have in common.

    Args:
        parts: Names of parts joined by ``+``, such as ``"grid+bandwidth"``; the empty string for none.
    """

    parts: str = ""

    def __post_init__(self) -> None:
        unknown = self.names - set(PARTS)
        if unknown:
            raise ValueError(f"unknown part of θ {sorted(unknown)[0]!r} in sharing (known: {', '.join(PARTS)})")

    @property
    def names(self) -> frozenset[str]:
        """The shared parts."""
        return frozenset(part for part in self.parts.split("+") if part)


SHARINGS: PolicyKind[Sharing] = PolicyKind(
    Sharing,
    field="sharing",
    group="lrlora.sharing",
    check="check_sharing",
    default="none",
    about="The parts of θ that adapters share.",
)
SHARINGS.builtin("parts")(Sharing)


@SHARINGS.builtin("none")
def nothing() -> Sharing:
    """Every adapter has its own θ, as published."""
    return Sharing()


@SHARINGS.builtin("grid")
def grid() -> Sharing:
    """One grid."""
    return Sharing("grid")


@SHARINGS.builtin("bandwidth")
def bandwidth() -> Sharing:
    """One set of bandwidths."""
    return Sharing("bandwidth")


@SHARINGS.builtin("amplitude")
def amplitude() -> Sharing:
    """One set of amplitudes."""
    return Sharing("amplitude")


@SHARINGS.builtin("all")
def everything() -> Sharing:
    """One φ."""
    return Sharing("+".join(PARTS))
