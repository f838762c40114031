"""What tests of several folders need."""

from __future__ import annotations

import pytest

from lrlora.bases import BASES
from lrlora.policies import KINDS


@pytest.fixture
def forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers as a basis or a policy is gone after it: other tests go through all that there are."""
    for registry in (BASES, *KINDS.values()):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
