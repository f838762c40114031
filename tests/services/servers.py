"""Servers of this machine, for tests: each listens on loopback, can be stopped, and started again as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

PASSWORD = "s3cret-of-the-tests"
_START_SECONDS = 300.0


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def listening(process: int) -> set[str]:
    """The addresses that a process, and what it has started, listens on."""
    own = psutil.Process(process)
    found = set()
    for one in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {end.laddr.ip for end in one.net_connections("inet") if end.status == psutil.CONN_LISTEN}
    return found


def is_loopback(address: str) -> bool:
    """Whether other machines cannot reach an address; Ray writes IPv4 addresses as IPv6 ones."""
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


class Server(ABC):
    """A server process with a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lrlora-server-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def options(self) -> dict[str, Any]:
        """Of :class:`subprocess.Popen`."""
        return {}

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **self.options()
            )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            if listens(self.port):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{type(self).__name__} does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop it and all that it started; connections are closed at once."""
        if self._process is not None:
            # PostgreSQL's fast shutdown; MLflow has worker processes, which the group reaches.
            os.killpg(self._process.pid, signal.SIGINT if isinstance(self, Postgres) else signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """PostgreSQL, from the system's packages."""

    def __init__(self) -> None:
        super().__init__()
        # It refuses to run as root.
        self._user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        (self.folder / "password").write_text(PASSWORD)
        if self._user:
            self.folder.chmod(0o755)
            shutil.chown(self.folder, "postgres", "postgres")
        make = [self.program("initdb"), "-D", "data", "-U", "lrlora", "--auth=scram-sha-256", "--pwfile=password"]
        subprocess.run([*make, "--no-sync"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL, **self._user)

    @staticmethod
    def program(name: str) -> str:
        """The path of one of its programs; Debian puts them outside of PATH."""
        found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
        if found is None:
            raise RuntimeError(f"{name} is not installed; get it with: apt-get install postgresql")
        return found

    def options(self) -> dict[str, Any]:
        return self._user

    def command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", "data", "-p", str(self.port), *given]

    @property
    def url(self) -> str:
        return f"postgresql://lrlora:{PASSWORD}@127.0.0.1:{self.port}/postgres"


class Mlflow(Server):
    """MLflow's server, which asks for a password and serves the artifacts.

    Args:
        store: An ``mlflow.db`` without a run, since making its tables takes seconds.
    """

    def __init__(self, store: Path) -> None:
        super().__init__()
        shutil.copy(store, self.folder / "mlflow.db")
        (self.folder / "auth.ini").write_text(
            "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///auth.db\nadmin_username = admin\n"
            f"admin_password = {PASSWORD}\nauthorization_function = "
            "mlflow.server.auth:authenticate_request_basic_auth\ngrant_default_workspace_access = false\n"
            "auth_cache_ttl_seconds = 3600\n"
        )

    def options(self) -> dict[str, Any]:
        of_server = {"MLFLOW_AUTH_CONFIG_PATH": "auth.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the tests"}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return {"env": os.environ | of_server | quiet | {"PYTHONWARNINGS": "ignore"}}

    def command(self) -> list[str]:
        store = ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "artifacts"]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", *store, *place, "--app-name", "basic-auth"]

    @property
    def url(self) -> str:
        return f"http://admin:{PASSWORD}@127.0.0.1:{self.port}"
