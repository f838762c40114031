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
SHARINGS.short("none", "parts", "Every adapter has its own θ, as published.")
SHARINGS.short("grid", "parts:grid", "One grid.")
SHARINGS.short("bandwidth", "parts:bandwidth", "One set of bandwidths.")
SHARINGS.short("amplitude", "parts:amplitude", "One set of amplitudes.")
SHARINGS.short("all", f"parts:{'+'.join(PARTS)}", "One φ.")
