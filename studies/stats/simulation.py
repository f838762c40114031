"""Error rates of verdicts and coverage of intervals, by simulation of whole studies::

    python -m lrlora.studies.stats.simulation
    python -m lrlora.studies.stats.simulation --studies 1000 --until-decided

A study has a reference and a few variants, trained with the same seeds and evaluated on the same examples. An example
is answered rightly if a sum exceeds 0: its easiness, what the variant is better by, and normal deviations of the
variant on this example, of the run, and of the run on this example. Each deviation may be large or absent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lrlora.studies.stats.crossed import mean_difference
from lrlora.studies.stats.outcomes import Outcome, Question
from lrlora.studies.stats.paired import ALPHA, PairedDifference
from lrlora.studies.stats.projection import Seen
from lrlora.studies.stats.sequential import HARDLY, LOOKS, MOST_SEEDS

SMALLEST = 0.005
PUBLISHED = 0.03
EASINESS = (1.5, 1.5)
"""Mean and standard deviation over examples: 80 % of the answers are right."""


@dataclass(frozen=True)
class Design:
    """A study that is simulated.

    Attributes:
        seeds: Number of seeds.
        examples: Number of test examples.
        claims: Number of variants, each claimed to be better than the reference.
        effect: True difference in accuracy of each.
        of_run: Standard deviation of a run.
        of_variant: Standard deviation of a variant on an example.
        of_answer: Standard deviation of a run on an example.
    """

    seeds: int
    examples: int
    claims: int = 4
    effect: float = 0.0
    of_run: float = 0.1
    of_variant: float = 0.3
    of_answer: float = 0.5

    @property
    def shift(self) -> float:
        """What a variant is better by on the scale of easiness, so that its accuracy is so by ``effect``."""
        mean, spread = EASINESS
        total = float(np.sqrt(spread**2 + self.of_run**2 + self.of_variant**2 + self.of_answer**2))
        return total * float(stats.norm.ppf(stats.norm.cdf(mean / total) + self.effect)) - mean


@dataclass(frozen=True)
class Rates:
    """What was found in simulated studies, as shares.

    Attributes:
        false: Of the studies in which anything false was said of any claim.
        covered: Of the differences that their 95 % interval covered.
        settled: Of the claims that were settled.
    """

    false: float
    covered: float
    settled: float


def simulate(design: Design, studies: int, seed: int = 0) -> Rates:
    """Returns the rates of ``studies`` simulated studies."""
    random = np.random.default_rng(seed)
    question = Question("sign", smallest=SMALLEST, published=PUBLISHED)
    false, covered, settled = 0, 0, 0
    for _ in range(studies):
        wrong = False
        for differences in _study(design, random):
            found = mean_difference(differences)
            assert found is not None
            low, high = found.interval(ALPHA) or (found.mean, found.mean)
            covered += low <= design.effect <= high
            if found.uncertainty is None:
                continue
            holds = question.holds(found.mean, found.uncertainty, ALPHA / design.claims)
            settled += any(holds.values())
            wrong |= _is_wrong(holds, design.effect)
        false += wrong
    count = studies * design.claims
    return Rates(false / studies, covered / count, settled / count)


@dataclass(frozen=True)
class SequentialRates:
    """What was found in simulated studies that go on until their claims are decided.

    Attributes:
        false: The share of the studies in which anything false was said of any claim at any look.
        settled: The share of the claims that were settled.
        futile: The share of the claims that were given up.
        seeds: The mean number of seeds of a claim until either.
    """

    false: float
    settled: float
    futile: float
    seeds: float


def simulate_sequential(
    design: Design, studies: int, seed: int = 0, looks: Mapping[int, float] = LOOKS, give_up: bool = True
) -> SequentialRates:
    """Returns the rates of ``studies`` simulated studies that are looked at whenever a look is due.

    Args:
        design: With as many seeds as there may be.
        studies: How many.
        seed: Of the simulation.
        looks: The share of a claim's level by the number of seeds.
        give_up: Whether futile claims are given up. Otherwise all looks are taken, also at claims that are settled:
            the share of false studies is then that of someone who may stop at any look.
    """
    random = np.random.default_rng(seed)
    question = Question("sign", smallest=SMALLEST, published=PUBLISHED)
    false, settled, futile, seeds = 0, 0, 0, 0
    last, level = max(looks), ALPHA / design.claims
    for _ in range(studies):
        wrong = False
        for differences in _study(design, random):
            ended = last
            for after, share in looks.items():
                found = mean_difference(differences[:after])
                if found is None or found.uncertainty is None:
                    continue
                holds = question.holds(found.mean, found.uncertainty, level * share)
                wrong |= _is_wrong(holds, design.effect)
                if any(holds.values()):
                    settled += ended == last
                    ended = min(ended, after)
                    if give_up:
                        break
                elif give_up and after < last and _is_futile(question, found, after, last, level * looks[last]):
                    futile += 1
                    ended = after
                    break
            seeds += ended
        false += wrong
    count = studies * design.claims
    return SequentialRates(false / studies, settled / count, futile / count, seeds / count)


def _is_futile(question: Question, found: PairedDifference, seeds: int, last: int, alpha: float) -> bool:
    assert found.uncertainty is not None
    chance = Seen(question, found.mean, found.uncertainty, found.n, "seed", seeds).chance(last, alpha)
    return chance is not None and chance < HARDLY


def _study(design: Design, random: np.random.Generator) -> Iterator[np.ndarray]:
    mean, spread = EASINESS
    easiness = mean + spread * random.standard_normal((1, design.examples), dtype=np.float32)
    reference = _answers(design, easiness, 0.0, random)
    for _ in range(design.claims):
        yield _answers(design, easiness, design.shift, random) - reference


def _answers(design: Design, easiness: np.ndarray, shift: float, random: np.random.Generator) -> np.ndarray:
    shape = design.seeds, design.examples
    of_run = design.of_run * random.standard_normal((design.seeds, 1), dtype=np.float32)
    of_variant = design.of_variant * random.standard_normal((1, design.examples), dtype=np.float32)
    of_answer = design.of_answer * random.standard_normal(shape, dtype=np.float32)
    return np.asarray(easiness + shift + of_run + of_variant + of_answer > 0, dtype=np.float64)


def _is_wrong(holds: Mapping[Outcome, bool], effect: float) -> bool:
    """Whether an outcome that holds is false of a true effect."""
    true: dict[Outcome, bool] = {
        "supported": effect > 0,
        "contradicted": effect < 0,
        "no effect of that size": abs(effect) < SMALLEST,
        "smaller than published": effect < PUBLISHED,
    }
    return any(said and not true[outcome] for outcome, said in holds.items())


DESIGNS = tuple(
    Design(seeds, examples, effect=effect, of_run=of_run)
    for seeds in (3, 5, 10, 20)
    for examples, of_run in ((200, 0.0), (200, 0.3), (1000, 0.05), (4000, 0.0), (4000, 0.1))
    for effect in (0.0, SMALLEST, PUBLISHED)
)
"""No effect, and effects at the two margins, where errors are most frequent."""


SEQUENTIAL_DESIGNS = tuple(
    Design(MOST_SEEDS, examples=1000, effect=effect, of_run=of_run)
    for effect in (0.0, SMALLEST, 0.015, PUBLISHED)
    for of_run in (0.0, 0.05, 0.3)
)
"""The same, and an effect between the margins, which says how many seeds a plain one needs."""


def table(designs: Sequence[Design], studies: int) -> Iterator[str]:
    """Yields the lines of a Markdown table of the rates, each when it is known."""
    yield "| seeds | examples | true effect | spread of runs | false, at most 5 % | covered, at least 94 % | settled |"
    yield "| ---: " * 7 + "|"
    for design in designs:
        rates = simulate(design, studies)
        shares = (f"{100 * share:.1f} %" for share in (rates.false, rates.covered, rates.settled))
        setting = f"{design.seeds} | {design.examples} | {100 * design.effect:g} points | {design.of_run:g}"
        yield f"| {setting} | {' | '.join(shares)} |"


def sequential_table(studies: int) -> Iterator[str]:
    """Yields the lines of a Markdown table of the rates of studies that go on until their claims are decided."""
    yield "| true effect | spread of runs | false, at most 5 % | settled | given up | seeds |"
    yield "| ---: " * 6 + "|"
    for design in SEQUENTIAL_DESIGNS:
        rates = simulate_sequential(design, studies)
        shares = (f"{100 * share:.1f} %" for share in (rates.false, rates.settled, rates.futile))
        yield f"| {100 * design.effect:g} points | {design.of_run:g} | {' | '.join(shares)} | {rates.seeds:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Error rates of verdicts and coverage of intervals, by simulation.")
    parser.add_argument("--studies", type=int, default=2_000, help="simulated studies for each line (2,000)")
    parser.add_argument(
        "--until-decided", action="store_true", help="of studies to which seeds are added until claims are decided"
    )
    chosen = parser.parse_args()
    lines = sequential_table(chosen.studies) if chosen.until_decided else table(DESIGNS, chosen.studies)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
