"""Every registered engine passes the checks of engines; those that may not refuse a layer refuse none."""

from __future__ import annotations

from typing import Any

import pytest

from lrlora.engines import ENGINES
from lrlora.testing import check_engine, parametrize_with_checks

NEVER_REFUSE = ("auto", "direct")


@parametrize_with_checks([ENGINES.create(name) for name in ENGINES.names() if name not in NEVER_REFUSE])
def test_an_engine_conforms(check: Any) -> None:
    check()


@pytest.mark.parametrize("name", NEVER_REFUSE)
def test_an_engine_conforms_and_refuses_no_layer(name: str) -> None:
    for outcome in check_engine(name):
        assert "refuse" not in outcome.message, outcome
