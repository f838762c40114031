"""Tries calls to a store again while its server is away, so that a restart costs a study no cell."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lrlora.studies.errors import StudyError
from lrlora.studies.record.addresses import masked

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a store may be away."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 10.0


class Patience:
    """Calls what uses one store, and again, with growing waits, as long as the store cannot be reached.

    What is called has to have the same effect if it is called twice: a server can go away between doing something and
    saying so.

    Args:
        store: Its address; passwords are left out of what is said.
        seconds: How long the store may be away. After that it counts as lost, and is not waited for again.
    """

    def __init__(self, store: str, seconds: float = PATIENCE_SECONDS) -> None:
        self._store, self._seconds = masked(store), seconds

    def __call__(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Returns what ``call(*arguments, **named)`` returns.

        Raises:
            StudyError: The store was away for too long; one line.
        """
        until: float | None = None
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                return call(*arguments, **named)
            except Exception as error:  # MLflow, Optuna, SQLAlchemy, its drivers and requests each raise their own
                if not is_away(error):
                    raise
                if until is None:
                    until = time.monotonic() + self._seconds
                    if self._seconds:
                        said = "%s: does not answer; trying again for %g s"
                        logging.getLogger(__name__).warning(said, self._store, self._seconds)
                if time.monotonic() + wait > until:
                    reason = masked(" ".join(str(error.__cause__ or error).split("\n", 1)[0].split()))
                    away, self._seconds = self._seconds, 0.0  # closing what is open must not wait as long again
                    raise StudyError(
                        f"{self._store}: did not answer for {away:g} s, run the same command again to go on: {reason}"
                    ) from None
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


class PatientClient:
    """An MLflow client whose methods are called with patience.

    Args:
        client: An ``MlflowClient``.
        patience: For its store.
    """

    def __init__(self, client: Any, patience: Patience) -> None:
        self._client, self._patience = client, patience

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return functools.partial(self._patience, found) if callable(found) else found


def patiently(client: Any, call: Callable[..., T], *arguments: Any) -> T:
    """Returns what a call returns that is not a method of a client, and waits for the server if the client does."""
    return client._patience(call, *arguments) if isinstance(client, PatientClient) else call(*arguments)


def is_away(error: BaseException | None) -> bool:
    """Whether an error says that a store cannot be reached just now, and not that it refuses what was asked."""
    from mlflow.exceptions import MlflowException
    from optuna.exceptions import StorageInternalError
    from requests.exceptions import ConnectionError, HTTPError, Timeout  # type: ignore[import-untyped]
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, StorageInternalError):  # which Optuna makes of any error of SQLAlchemy
        return is_away(error.__cause__)
    if isinstance(error, MlflowException):
        return error.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR")
    if isinstance(error, HTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, (OperationalError, InterfaceError, ConnectionError, Timeout))
