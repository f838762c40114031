"""Handwritten digits as images of 8 × 8 pixels, as packaged in scikit-learn (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from lrlora.studies.tasks.task import Images, Task, split_groups

_SPLIT_SEED = 2019
_HELD_OUT = 180


class Digits(Task):
    """Which of the digits 5 to 9 is it? 536 images to train on, 180 each to validate and to test.

    The digits 0 to 4 are what the backbone ``digits-vit`` is pretrained on, so that there is something to adapt. Small
    in every respect: it shows that a vision transformer is adapted rightly, and ranks no methods.
    """

    kind = "images"

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Nothing: scikit-learn has them."""

    @property
    def labels(self) -> tuple[str, ...]:
        """``("5", "6", "7", "8", "9")``."""
        return ("5", "6", "7", "8", "9")

    def split(self, name: str) -> Images:
        """The images of a split, in an order that is the same everywhere."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Images]:
        images = digits(5, 10)
        splits = split_groups([[i] for i in range(len(images))], _HELD_OUT, _SPLIT_SEED)
        return {name: images.take(chosen) for name, chosen in splits.items()}


def digits(start: int, stop: int) -> Images:
    """The images of the digits from ``start`` to ``stop`` - 1, of one channel; the first of them is class 0."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    chosen = (loaded.target >= start) & (loaded.target < stop)
    pixels = loaded.images[chosen][:, None] / 8 - 1  # they come as whole numbers from 0 to 16
    return Images(pixels.tolist(), (loaded.target[chosen] - start).tolist())
