"""The version of the code that makes the numbers of a run."""

TRAINING_VERSION = 1
"""Raise it when the same settings give other numbers than before: then recorded cells are not reused.

It stands for everything of lrlora itself that a run executes: training, kinds, methods, bases, policies and engines.
``tests/integration/test_training_version.py`` compares a short run with pinned losses.
"""
