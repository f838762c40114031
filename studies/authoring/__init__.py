"""Tools for authors of bases and policies: a package to start from, a benchmark and a figure.

The checks themselves are :mod:`lrlora.testing`, which needs nothing of the studies.
"""
