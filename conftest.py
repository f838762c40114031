"""Collection rules, and one setting of hypothesis. The folders below are collected as the subpackages that they are."""

import pytest
from hypothesis import HealthCheck, settings

collect_ignore = ["bases", "registry", "studies", "build"]

# A time limit, per example or for drawing them, measures the machine. All else stays as hypothesis chose it: random,
# but fixed under CI.
settings.register_profile("lrlora", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lrlora")


@pytest.fixture(autouse=True)
def _what_a_doctest_registers_is_gone_after_it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctest clears the names that an example was defined with, so its basis or policy would fail in later tests."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    from lrlora.bases import BASES
    from lrlora.policies import KINDS

    for registry in (BASES, *KINDS.values()):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
