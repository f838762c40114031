"""Addresses of stores: how they are written for SQLite, and without the secrets in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lrlora.studies.errors import StudyError

FROM_SHELL = "env"
"""What ``--tracking-uri`` is given to use the address in the shell's ``MLFLOW_TRACKING_URI``."""

_USER = re.compile(r"(?<=://)[^\s'\"]*@")
_PLAIN = re.compile(r"[\w+.-]+://([!$-&(-.0->A-Z\\^-~]*@)?[!#-&(-?A-~]*")
"""An address of printable ASCII: user name and password have no quotes / ? # @ [ ], and what follows no quotes @."""
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
        StudyError: It is to come from the shell, which does not say one, or it is malformed.
    """
    found = os.environ.get("MLFLOW_TRACKING_URI") if given == FROM_SHELL else given
    if given == FROM_SHELL and not found:
        raise StudyError("--tracking-uri env: MLFLOW_TRACKING_URI is not set in this shell")
    if found:
        check_address("--tracking-uri", found)
    return found or None


def check_address(option: str, address: str) -> None:
    """Check that the address of a server is one in which user name and password can be told from the rest.

    Args:
        option: The option that has it.
        address: May hold a password.

    Raises:
        StudyError: If characters of it have to be percent-encoded; the message does not hold the address.

    >>> check_address("--storage", "postgresql://me:se/cret@db/x")
    Traceback (most recent call last):
    lrlora.studies.errors.StudyError: --storage: percent-encode all but letters, digits and -._~ in the password
    """
    if is_served(address) and ("@" in address or _QUERY.search(address)) and not _PLAIN.fullmatch(address):
        raise StudyError(f"{option}: percent-encode all but letters, digits and -._~ in the password")


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
