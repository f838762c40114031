"""The conformance kit of studies: what a method or a task of one's own must satisfy.

Importing it makes :func:`lrlora.testing.checks_of` know methods and tasks.
"""

from lrlora.studies.testing.methods import check_method
from lrlora.studies.testing.tasks import TaskByName, check_task

__all__ = ["TaskByName", "check_method", "check_task"]
