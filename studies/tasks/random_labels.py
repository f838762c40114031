"""Random labels: there is nothing to learn but the examples themselves, so that what is right was memorised."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.option_checks import whole
from lrlora.studies.tasks.task import Points, Task

if TYPE_CHECKING:
    from numpy.random import Generator

WIDTH = 64
"""Numbers of an input."""

MOST = {"gaussian": 1_000_000, "digits": 1797}
"""The largest number of examples by kind of input."""


class RandomLabels(Task):
    """Inputs of 64 numbers with random labels. All splits are the same examples.

    Fewer examples are the beginning of more of the same seed.

    Args:
        examples: Number of examples.
        inputs: ``gaussian``: vectors of Gaussian numbers. ``digits``: images of handwritten digits of scikit-learn,
            of which there are 1,797, each pixel with mean 0 and variance 1 over all of them.
        classes: Number of labels, all equally likely.
        seed: Seed of inputs and labels.

    Raises:
        StudyError: If an option is out of its bounds; one line.
    """

    kind = "capacity"
    one_split = True

    def __init__(self, examples: int = 1024, inputs: str = "gaussian", classes: int = 10, seed: int = 0) -> None:
        if inputs not in MOST:
            raise StudyError(f"task random-labels: inputs is gaussian or digits, not {inputs!r}")
        self.inputs = inputs
        self.examples = whole("random-labels", "examples", examples, 2, MOST[inputs])
        self.classes = whole("random-labels", "classes", classes, 2, 1000)
        self.seed = whole("random-labels", "seed", seed, 0)

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Do nothing: there are no files to get."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The numbers from 0 on."""
        return tuple(map(str, range(self.classes)))

    def split(self, name: str) -> Points:
        """Returns all examples, in an order that is the same everywhere."""
        return self._examples

    @cached_property
    def _examples(self) -> Points:
        import numpy as np

        if self.inputs == "digits":
            from sklearn.datasets import load_digits

            pixels = load_digits().data
            spread = pixels.std(axis=0)
            vectors = self._generator(0).permutation((pixels - pixels.mean(axis=0)) / np.where(spread > 0, spread, 1))
        else:
            vectors = self._generator(0).standard_normal((self.examples, WIDTH))
        labels = self._generator(1).integers(self.classes, size=self.examples)
        return Points(vectors[: self.examples].astype("float32").tolist(), labels.tolist())

    def _generator(self, stream: int) -> Generator:
        import numpy as np

        return np.random.default_rng([self.seed, stream])
