"""``python -m lrlora.studies.cli`` is ``lrlora``."""

from lrlora.studies.cli import main

main()
