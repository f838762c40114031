"""Addresses of stores: how they are written for SQLite, and without the secrets in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lrlora.studies.errors import StudyError

FROM_SHELL = "env"
"""What ``--tracking-uri`` is given to use the address in the shell's ``MLFLOW_TRACKING_URI``."""

_USER = re.compile(r"(?<=://)[^\s/'\"]*@")
_QUERY = re.compile(r"(?i)((?:password|passwd|pwd|token|secret|key)[\w-]*=)[^&\s'\"]+")


def sqlite_address(path: Path) -> str:
    """The address of an SQLite file for SQLAlchemy, and so for MLflow and Optuna, whatever characters are in its path.

    >>> sqlite_address(Path("/runs/basis/mlflow.db"))
    'sqlite:////runs/basis/mlflow.db'
    """
    if not re.search(r"[?%#]", str(path)):
        return f"sqlite:///{path}"
    import sqlalchemy

    # SQLite's own URI form has a way to write them. Named with its driver, MLflow takes it for no plain path.
    address = sqlalchemy.URL.create("sqlite+pysqlite", database=f"file:{quote(str(path))}", query={"uri": "true"})
    return address.render_as_string(hide_password=False)


def chosen_address(given: str | None) -> str | None:
    """The address of the tracking store that a user asked for; None is the study's own folder.

    Raises:
        StudyError: It is to come from the shell, which does not say one.
    """
    if given != FROM_SHELL:
        return given or None
    found = os.environ.get("MLFLOW_TRACKING_URI")
    if not found:
        raise StudyError("--tracking-uri env: MLFLOW_TRACKING_URI is not set in this shell")
    return found


def is_served(address: str | None) -> bool:
    """Whether a store is behind a server, which may be away for a moment.

    >>> is_served("postgresql://db/x"), is_served("sqlite:///x.db"), is_served(None)
    (True, False, False)
    """
    return address is not None and not address.startswith(("sqlite", "file"))


def masked(text: str) -> str:
    """A text with user names, passwords and tokens in the addresses in it replaced.

    >>> masked("cannot reach postgresql://me:secret@db/x?sslpassword=abc")
    'cannot reach postgresql://***@db/x?sslpassword=***'
    """
    return _QUERY.sub(r"\1***", _USER.sub("***@", text))


def public(address: str) -> str:
    """An address without user name, password and query, as it is written into a folder.

    >>> public("https://me:secret@tracking.org:5000/x")
    'https://tracking.org:5000/x'
    """
    parts = urlsplit(address)
    if parts.scheme.startswith("sqlite") or ("@" not in parts.netloc and not parts.query):
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def artifacts_in(out: Path) -> str:
    """The address of a folder's artifacts."""
    return (out.resolve() / "artifacts").as_uri()


def path_of(uri: str) -> Path:
    """The path of a ``file:`` address."""
    return Path(unquote(urlsplit(uri).path))
