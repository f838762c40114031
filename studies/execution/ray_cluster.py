"""Connects to a Ray cluster, or makes one on this machine that other machines cannot reach."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any
from unittest import mock

from lrlora.studies.errors import StudyError

_LOOPBACK = "127.0.0.1"


def connect(address: str | None) -> tuple[Any, bool]:
    """Connect this process to a Ray cluster.

    Args:
        address: Of the cluster; None takes ``RAY_ADDRESS``, and where that is not set makes a cluster on this machine.
            It listens on loopback, has no dashboard, sends no usage statistics, and ends when this process disconnects.

    Returns:
        The module of Ray, and whether this call has connected it: it may have been connected before.

    Raises:
        StudyError: Ray is not installed, no cluster is at that address, or it refuses; one line.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {}
    if address is None:
        # Ray on Linux replaces 127.0.0.1 as the address of a node by that of the machine, and listens on all
        # interfaces, unless this says that there are no clusters of several machines. It is read on import.
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        own = {"_node_ip_address": _LOOPBACK, "include_dashboard": False}
    try:
        import ray
    except ImportError:
        raise StudyError("--executor ray: Ray is not installed; get it with: pip install 'lrlora[ray]'") from None
    if ray.is_initialized():
        return ray, False
    if own and ray.util.get_node_ip_address() != _LOOPBACK:
        raise StudyError(
            "--executor ray: Ray was imported before, so that a new cluster would listen on all interfaces; start a "
            "cluster and give its --address"
        )
    handler = signal.getsignal(signal.SIGTERM)
    try:
        # Ray shows the command of a driver to all users of the cluster, and it may hold passwords.
        with mock.patch.object(ray._private.utils, "get_entrypoint_name", return_value="lrlora"):
            ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        where = f"--address {address}" if address else "--executor ray"
        raise StudyError(f"{where}: {str(error).strip().splitlines()[0]}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's ends the process before running cells are given back
    return ray, True
