"""The command line ``lrlora``. Its modules import nothing heavy before a command runs, so that help comes at once."""

from __future__ import annotations

from lrlora.studies.cli.main import main

__all__ = ["main"]
