"""The MLflow store of a study: made whole or not at all, and looked at before MLflow opens it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from lrlora.studies.errors import StudyError
from lrlora.studies.record.addresses import masked, public, sqlite_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, PLACE_FILE = "mlflow.db", "tracking.json"
_CONNECT_SECONDS = 10.0


class NothingRecordedError(StudyError):
    """A store has no runs of a study, and was opened to read them."""


@dataclass(frozen=True)
class Place:
    """Where the runs of a folder are: which store, which experiment, below which parent run.

    Attributes:
        address: Of the store, without secrets; None: the folder's own.
        experiment: MLflow's id.
        parent: MLflow's id of the parent run.
    """

    address: str | None
    experiment: str
    parent: str

    @classmethod
    def read(cls, out: Path) -> Place | None:
        """What a folder says, or None where no runs were recorded from it.

        Raises:
            StudyError: The file cannot be read.
        """
        path = out / PLACE_FILE
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            return cls(saved["address"], str(saved["experiment"]), str(saved["parent"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path}: cannot be read: {error!r}") from None

    def write(self, out: Path) -> None:
        """Write it, whole or not at all."""
        partial = out / f".{PLACE_FILE}.partial"
        partial.write_text(json.dumps(vars(self), indent=1), encoding="utf-8")
        partial.replace(out / PLACE_FILE)


def address_of(out: Path, wanted: str | None, place: Place | None) -> str | None:
    """The address of a folder's store: the one that its runs are in, or the wanted one for a new folder.

    A folder holds no password. Without a wanted address it is the shell's ``MLFLOW_TRACKING_URI``, if that is the same
    store, or MLflow's ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD`` that let a reader in.

    Raises:
        StudyError: The folder's runs are in another store than the wanted one.
    """
    if place is None:
        return wanted
    if wanted is None:
        of_shell = os.environ.get("MLFLOW_TRACKING_URI")
        return of_shell if of_shell and public(of_shell) == place.address else place.address
    if place.address is None or public(wanted) != place.address:
        there = "the folder itself" if place.address is None else place.address
        raise StudyError(f"--tracking-uri {masked(wanted)}: the runs of {out} are in {there}; give another --out")
    return wanted  # with the password that the folder does not hold


def open_client(out: Path, address: str | None = None, make: bool = True) -> MlflowClient:
    """A client of a study's store, whatever MLflow is set up to elsewhere.

    Two processes must not make the store at once: the caller holds the study's setup lock the first time.

    Args:
        out: The study's folder.
        address: Of a store outside of it; None: the folder's own.
        make: Make the folder's own store where no runs were recorded yet.

    Raises:
        StudyError: The store is missing, empty, corrupt, of another version of MLflow, or not reachable; one line.
    """
    quiet_mlflow()
    if address is None:
        database = out.resolve() / DATABASE
        _check_database(database, make and not (out / PLACE_FILE).exists())
        address = sqlite_address(database)
    elif address.startswith("sqlite:///") and "?" not in address:
        _check_database(Path(address.removeprefix("sqlite:///")).resolve(), make and not (out / PLACE_FILE).exists())
    else:
        _check_reachable(address)
    from mlflow import MlflowClient

    with one_line(address):
        return MlflowClient(tracking_uri=address, registry_uri=address)


def quiet_mlflow() -> None:
    """Keep MLflow from telling of the tables that it makes, and anyone of our runs or of passwords in addresses."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seconds; for longer there is Patience
    import mlflow  # noqa: F401  # importing it sets the levels

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each of MLflow's retries


@contextlib.contextmanager
def one_line(store: str) -> Iterator[None]:
    """Say what MLflow and the database below it raise in one line, without secrets.

    Args:
        store: How the store is called.

    Raises:
        StudyError: In place of their errors.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = "it was written by another version of MLflow" if "schema" in lines[0] else lines[0]
        raise StudyError(f"{masked(store)}: cannot be used: {masked(reason)}") from None


def _check_database(database: Path, fresh: bool) -> None:
    """See that a folder's store is whole; make it where there is none and none is expected.

    Raises:
        StudyError: It is missing, empty or corrupt.
    """
    again = "put it back, or give another --out"
    if not database.exists() or database.stat().st_size == 0:
        if not fresh:
            state = "is empty" if database.exists() else "is missing"
            raise StudyError(f"{database}: {state}, and with it the record of all runs of this folder; {again}")
        _make(database)
        return
    try:
        # Not read-only: SQLite has to roll back what a process that was killed had half written, to be able to read.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as opened:
            found = opened.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.DatabaseError as error:
        locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        if locked:
            return  # by another process, for which MLflow waits
        raise StudyError(f"{database}: is no store of MLflow, or is corrupt ({error}); {again}") from None
    if not found:
        raise StudyError(f"{database}: is no store of MLflow: it has no version; {again}")


def _make(database: Path) -> None:
    """A store without runs. MLflow takes seconds to make its tables, so that they are kept in the user's cache.

    Raises:
        StudyError: It cannot be written.
    """
    import mlflow

    from lrlora.studies.tasks.pypi_data import cache_folder

    partial = database.with_name(f".{database.name}.partial")
    kept = cache_folder() / "stores" / f"mlflow-{mlflow.__version__}.db"
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            shutil.copyfile(kept, partial)
        except OSError:
            _make_tables(partial)
            with contextlib.suppress(OSError):
                _keep(partial, kept)
        partial.replace(database)
    except OSError as error:
        raise StudyError(f"{database}: cannot be written: {error.strerror or error}") from None


def _make_tables(path: Path) -> None:
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    engine = sqlalchemy.create_engine(sqlite_address(path))
    try:
        with one_line(str(path)):
            _initialize_tables(engine)
    finally:
        engine.dispose()


def _keep(made: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=kept.parent)
    os.close(handle)
    shutil.copyfile(made, partial)
    os.replace(partial, kept)


def _check_reachable(address: str) -> None:
    """See that a server listens, as MLflow would try for minutes.

    Raises:
        StudyError: None does, or the address is none that MLflow knows.
    """
    parts: Any = urlsplit(address)
    if not parts.scheme:
        raise StudyError(
            f"--tracking-uri {masked(address)}: give an address, such as http://host:5000 or sqlite:///file"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise StudyError(f"{public(address)}: no MLflow server answers there: {error.strerror or error}") from None
