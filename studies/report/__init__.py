"""The report of a study: its question, its results with their uncertainty, and the runs behind each number.

``summary.md``, ``results.csv``, ``results.json``, ``results.tex`` and one self-contained ``index.html``. This package
imports nothing by itself: scipy, matplotlib and jinja2 load when a report is made.
"""
