"""Every registered engine passes the checks of engines."""

from __future__ import annotations

from typing import Any

from lrlora.engines import ENGINES
from lrlora.testing import parametrize_with_checks


@parametrize_with_checks([ENGINES.create(name) for name in ENGINES.names()])
def test_an_engine_conforms(check: Any) -> None:
    check()
