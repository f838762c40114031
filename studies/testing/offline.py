"""No network and no other process, for as long as a check runs: either would be a download."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


class WouldDownloadError(Exception):
    """Something asked for the network, or started a process that may."""


@contextmanager
def offline() -> Iterator[list[str]]:
    """Refuse connections and processes, and list what was refused, also where the error was caught on the way."""
    refused: list[str] = []

    def refuse(what: str) -> Any:
        def refusing(*arguments: Any, **named: Any) -> Any:
            refused.append(what)
            raise WouldDownloadError(what)

        return refusing

    with (
        mock.patch.object(socket.socket, "connect", refuse("a network connection")),
        mock.patch.object(socket, "getaddrinfo", refuse("the address of a host")),
        mock.patch.object(subprocess.Popen, "__init__", refuse("another process")),
    ):
        yield refused
