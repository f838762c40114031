"""Updates ΔW* of one linear layer that an adapter has to fit: matrices of known spectra and structures.

The frozen weight W is Gaussian with a variance of 1 / size. Random targets follow from the ``seed`` of the
task, and their entries have a root mean square of 0.005.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from lrlora.studies.tasks.option_checks import positive, whole
from lrlora.studies.tasks.task import Task, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]

ENTRY = 5e-3
"""Root mean square of the entries of a target."""

SIZE = 128


class MatrixTask(Task):
    """A frozen weight W and a target ΔW*. An example is a unit vector, and the output that W + ΔW* has for it.

    All splits are the same examples: the fit itself is measured, and all inputs are known.
    """

    kind = "matrix"
    one_split = True

    @property
    @abstractmethod
    def weight(self) -> Matrix:
        """W, ``(out, in)``, float64."""

    @property
    @abstractmethod
    def target(self) -> Matrix:
        """ΔW*, ``(out, in)``, float64."""

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Do nothing: there are no files to get."""

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def split(self, name: str) -> Vectors:
        """Returns the unit vectors and the columns of W + ΔW*."""
        return self._examples

    @cached_property
    def _examples(self) -> Vectors:
        import numpy as np

        outputs = (self.weight + self.target).T
        return Vectors(np.eye(len(outputs)).tolist(), outputs.astype("float32").tolist())


class DrawnMatrix(MatrixTask):
    """A random target.

    Args:
        size: Rows and columns.
        seed: Seed of weight and target.

    Raises:
        StudyError: If an option is out of its bounds; one line.
    """

    name: ClassVar[str]

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        self.size = whole(self.name, "size", size, 4, 4096)
        self.seed = whole(self.name, "seed", seed, 0)

    @cached_property
    def weight(self) -> Matrix:
        """See :attr:`MatrixTask.weight`."""
        return self._generator(0).standard_normal((self.size, self.size)) / math.sqrt(self.size)

    @cached_property
    def target(self) -> Matrix:
        """See :attr:`MatrixTask.target`."""
        import numpy as np

        drawn = self.draw(self._generator(1))
        return drawn * (ENTRY * self.size / np.linalg.norm(drawn))

    @abstractmethod
    def draw(self, generator: Generator) -> Matrix:
        """Returns the target up to a factor, ``(size, size)``."""

    def _generator(self, stream: int) -> Generator:
        import numpy as np

        return np.random.default_rng([self.seed, stream])


class Spectral(DrawnMatrix):
    """A target with random singular vectors and given singular values."""

    @abstractmethod
    def values(self) -> Matrix:
        """Returns the singular values up to a factor, ``(size,)``."""

    def draw(self, generator: Generator) -> Matrix:
        """See :meth:`DrawnMatrix.draw`."""
        return (orthogonal(generator, self.size) * self.values()) @ orthogonal(generator, self.size)


class Flat(Spectral):
    """All singular values are equal: an orthogonal matrix."""

    name = "matrix-flat"

    def values(self) -> Matrix:
        """See :meth:`Spectral.values`."""
        import numpy as np

        return np.ones(self.size)


class PowerLaw(Spectral):
    """The i-th singular value is i to the power of −``exponent``."""

    name = "matrix-power-law"

    def __init__(self, exponent: float = 1.0, size: int = SIZE, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.exponent = positive(self.name, "exponent", exponent, 20)

    def values(self) -> Matrix:
        """See :meth:`Spectral.values`."""
        import numpy as np

        return np.arange(1, self.size + 1) ** -self.exponent


class LowRank(Spectral):
    """The first ``rank`` singular values are equal and the others 0; by default an eighth of them."""

    name = "matrix-low-rank"

    def __init__(self, rank: int | None = None, size: int = SIZE, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.rank = max(1, self.size // 8) if rank is None else whole(self.name, "rank", rank, 1, self.size)

    def values(self) -> Matrix:
        """See :meth:`Spectral.values`."""
        import numpy as np

        return (np.arange(self.size) < self.rank).astype(float)


class BlockDiagonal(DrawnMatrix):
    """``blocks`` Gaussian blocks along the diagonal, and zeros elsewhere."""

    name = "matrix-block-diagonal"

    def __init__(self, blocks: int = 8, size: int = SIZE, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.blocks = whole(self.name, "blocks", blocks, 1, self.size)

    def draw(self, generator: Generator) -> Matrix:
        """See :meth:`DrawnMatrix.draw`."""
        import numpy as np

        block = np.arange(self.size) * self.blocks // self.size
        return generator.standard_normal((self.size, self.size)) * (block[:, None] == block)


class Sparse(DrawnMatrix):
    """Gaussian entries at a ``share`` of the places, chosen at random, and zeros elsewhere."""

    name = "matrix-sparse"

    def __init__(self, share: float = 0.02, size: int = SIZE, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.share = positive(self.name, "share", share, 1)

    def draw(self, generator: Generator) -> Matrix:
        """See :meth:`DrawnMatrix.draw`."""
        import numpy as np

        drawn = np.zeros(self.size * self.size)
        count = max(1, round(self.share * len(drawn)))
        drawn[generator.permutation(len(drawn))[:count]] = generator.standard_normal(count)
        return drawn.reshape(self.size, self.size)


class HighFrequency(DrawnMatrix):
    """A sine of a matrix of rank 1: the entry is sin(2π · ``frequency`` · x_j · y_k), x and y uniform on [−1, 1].

    Its numerical rank is about four times the frequency, and an elementwise function of a matrix of rank 1 gives it
    exactly: the best case for φ(BA).
    """

    name = "matrix-high-frequency"

    def __init__(self, frequency: float = 4.0, size: int = SIZE, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.frequency = positive(self.name, "frequency", frequency, 1000)

    def draw(self, generator: Generator) -> Matrix:
        """See :meth:`DrawnMatrix.draw`."""
        import numpy as np

        x, y = generator.uniform(-1, 1, (2, self.size))
        return np.sin(2 * math.pi * self.frequency * np.outer(x, y))


class Identity(DrawnMatrix):
    """A multiple of the identity: all singular values are equal, and the entries outside the diagonal are 0."""

    name = "matrix-identity"

    def draw(self, generator: Generator) -> Matrix:
        """See :meth:`DrawnMatrix.draw`."""
        import numpy as np

        return np.eye(self.size)


def orthogonal(generator: Generator, size: int, columns: int | None = None) -> Matrix:
    """Returns a random matrix with orthonormal columns, ``(size, columns)``; by default as many as rows."""
    import numpy as np

    q, r = np.linalg.qr(generator.standard_normal((size, columns or size)))
    return q * np.sign(np.diag(r))  # without the signs it is not uniformly distributed
