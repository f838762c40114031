"""The command line ``lrlora``. Its modules import nothing heavy before a command runs, so that help comes at once."""

from __future__ import annotations

import sys

try:
    from lrlora.studies.cli.main import main
except KeyboardInterrupt:  # Ctrl-C before the command begins
    sys.stderr.write("lrlora: interrupted: run the same command again to continue\n")
    sys.exit(130)

__all__ = ["main"]
