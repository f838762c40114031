"""The comparisons and the claims that a study declares before it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from lrlora.studies.spec.schema import Strict


class Comparison(Strict):
    """One variant against another, over the seeds and tasks that they share.

    ``*`` in both names stands for the same text, so that ``lrlora,r=*`` against ``lora,r=*`` compares at each rank.
    """

    of: str
    against: str

    @model_validator(mode="after")
    def _check_stars(self) -> Self:
        if self.of.count("*") > 1 or self.against.count("*") > 1:
            raise ValueError(f"a name has one * at most: {self.of!r} against {self.against!r}")
        if "*" in self.against and "*" not in self.of:
            raise ValueError(f"{self.against!r} has a *, so {self.of!r} needs one too")
        return self


NOTHING = "nothing"
"""The partner of a claim that is about a metric itself."""


class Claim(Strict):
    """A statement that the study tests, with the published value.

    Attributes:
        says: The statement, in words.
        kind: ``difference``: ``of`` is above or below ``against``. ``trend``: the difference grows or shrinks with the
            number that ``*`` stands for. ``equivalence``: the two are within ``margin``. ``at_most``: ``of`` is above
            ``against`` by less than ``margin``, or below it. ``contrast``: a weighted sum over variants is above or
            below zero.
        of: A variant, or several, see :class:`Comparison`. Of no use in a contrast.
        weights: Of a contrast, by variant.
        against: What it is compared with; by default the study's reference. ``nothing``: the metric itself is
            tested, not a difference.
        metric: What is compared; by default the study's metric. It may be another measure of a run, such as
            ``step_seconds`` or ``stable_rank``.
        relative: Whether a difference is divided by the size of the value of ``against``: 0.02 is two per cent more.
            If that is 0 in any pair, the claim is not tested.
        sign: Which sign the difference, the trend or the contrast is claimed to have.
        margin: Of an equivalence or of ``at_most``, in the unit of the metric, or relative.
        smallest_effect: The smallest difference that is of interest, in the unit of the metric, or relative; of a
            trend, per unit of its number. By default half a point of accuracy, and for other metrics what
            ``lrlora.studies.stats.measures.SMALLEST_EFFECTS`` says.
        scale: Of the number in a trend.
        paper: The published difference, or the differences at each of the numbers.
        source: Where that stands.
    """

    says: str
    kind: Literal["difference", "trend", "equivalence", "at_most", "contrast"] = "difference"
    of: str = ""
    weights: dict[str, float] = Field(default_factory=dict)
    against: str | None = None
    metric: str | None = None
    relative: bool = False
    sign: Literal["positive", "negative"] = "positive"
    margin: float | None = Field(None, gt=0)
    smallest_effect: float | None = Field(None, gt=0)
    scale: Literal["linear", "log2"] = "log2"
    paper: float | list[float] | None = None
    source: str = ""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.kind == "contrast") != bool(self.weights) or (self.kind == "contrast") == bool(self.of):
            raise ValueError(f"{self.says!r}: a contrast has weights, every other kind has 'of', and none has both")
        if (self.kind in ("equivalence", "at_most")) != (self.margin is not None):
            raise ValueError(f"{self.says!r}: equivalence and at_most need a margin, and no other kind has one")
        if self.kind == "trend" and "*" not in self.of:
            raise ValueError(f"{self.says!r}: a trend needs a * in 'of', for the number that it goes along")
        if self.margin is not None and self.smallest_effect is not None:
            raise ValueError(f"{self.says!r}: its margin is the smallest effect of interest; give one of them")
        Comparison(of=self.of, against=self.against or "")
        return self

    def pairs(self, names: Iterable[str], reference: str | None) -> list[tuple[str, str, str]]:
        """What :func:`pairs` gives for this claim; the partner is empty where it stands against nothing."""
        if self.against == NOTHING:
            return [(star, name, "") for star, name in matching(self.of, names).items()]
        return pairs(self.of, self.against or reference or "", names)

    def variants(self, names: Iterable[str], reference: str | None) -> set[str]:
        """The variants that this claim is decided on."""
        return {*self.weights, *(name for _, *pair in self.pairs(names, reference) for name in pair if name)}

    def is_about(self, names: Iterable[str], reference: str | None) -> bool:
        """Whether there are variants to decide it on."""
        names = list(names)
        return set(self.weights) <= set(names) if self.weights else bool(self.pairs(names, reference))


def claims_about(claims: Iterable[Claim], names: Iterable[str], reference: str | None) -> list[Claim]:
    """Returns the claims that can be decided on variants with these names."""
    names = list(names)
    return [claim for claim in claims if claim.is_about(names, reference)]


def matching(pattern: str, names: Iterable[str]) -> dict[str, str]:
    """Returns the names that fit a pattern, by what its ``*`` stands for; by the empty text where it has none.

    >>> matching("lora,r=*", ["lora,r=4", "lora,r=8", "sinc"])
    {'4': 'lora,r=4', '8': 'lora,r=8'}
    """
    # A name may hold any character, a * among them, and what is written literally comes first.
    names = list(names)
    if pattern in names:
        return {"": pattern}
    expression = re.compile(re.escape(pattern).replace(r"\*", "(.*)"))
    found = ((expression.fullmatch(name), name) for name in names)
    return {match.group(1): name for match, name in found if match is not None and match.groups()}


def pairs(of: str, against: str, names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Returns the pairs of variants that two patterns match: what ``*`` stands for, the variant, and its partner.

    A fixed partner serves every variant; a variant is not compared with itself.

    >>> pairs("*", "lora", ["lora", "sinc"])
    [('sinc', 'sinc', 'lora')]
    """
    names = list(names)
    variants, partners = matching(of, names), matching(against, names)
    if "*" not in against or "" in partners:
        only = partners.get("")
        return [] if only is None else [(star, name, only) for star, name in variants.items() if name != only]
    return [(star, name, partners[star]) for star, name in variants.items() if star in partners]
