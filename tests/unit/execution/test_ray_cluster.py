"""Connecting to a Ray cluster, with what Ray does replaced; tests/services has the real one."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.ray_cluster import connect


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Ray, which was imported before, and refuses what it is asked."""

    def init(**arguments: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        raise ConnectionError(f"cannot reach {arguments['address']}\nTraceback")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("RAY_ADDRESS", None)
    found = SimpleNamespace(is_initialized=lambda: False, init=init)
    found.util = SimpleNamespace(get_node_ip_address=lambda: "192.0.2.7")
    found.exceptions = SimpleNamespace(RayError=RuntimeError)
    found._private = SimpleNamespace(utils=SimpleNamespace(get_entrypoint_name=None))
    monkeypatch.setitem(sys.modules, "ray", found)
    return found


def test_a_new_cluster_that_would_be_open_to_other_machines_is_refused(ray: SimpleNamespace) -> None:
    with pytest.raises(StudyError, match=r"--executor ray: Ray was imported before, .* give its --address"):
        connect(None)


@pytest.mark.usefixtures("ray")
def test_a_refusal_is_one_line_and_leaves_the_handling_of_sigterm_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StudyError, match=r"^--address there:6379: cannot reach there:6379$"):
        connect("there:6379")
    assert signal.getsignal(signal.SIGTERM) == before


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"pip install 'lrlora\[ray\]'"):
        connect("there:6379")


def test_a_process_that_is_connected_stays_so(ray: SimpleNamespace) -> None:
    ray.is_initialized = lambda: True
    assert connect(None) == (ray, False)
