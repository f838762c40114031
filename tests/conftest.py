"""What tests of several folders need."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from lrlora.bases import BASES
from lrlora.policies import KINDS


@pytest.fixture
def forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers as a basis or a policy is gone after it: other tests go through all that there are."""
    for registry in (BASES, *KINDS.values()):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


class HostReads(TorchDispatchMode):
    """Counts operations that make the host wait for a device."""

    OF_VALUES = ("_local_scalar_dense", "equal", "nonzero", "is_nonzero", "unique", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.lstrip("_") in [known.lstrip("_") for known in self.OF_VALUES]:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host_reads() -> HostReads:
    """What lists, in ``found``, the operations within its ``with`` block that read values on the host."""
    return HostReads()
