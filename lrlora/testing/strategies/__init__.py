"""Hypothesis strategies for low-rank pairs, grids, parameters, tiny models and whole variants."""
