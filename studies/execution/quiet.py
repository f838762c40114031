"""Keeping what third parties say about their own future out of the user's terminal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence deprecations, which speak to us, who run the tests with warnings as errors, and not to the user.

    And what PEFT says when it saves an adapter of a backbone that is no checkpoint in its own format.
    """
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=category)
        warnings.filterwarnings("ignore", message="Could not find a config file", module="peft")
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in figures, in any script
        yield
