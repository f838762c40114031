"""Tuning: the settings of each variant are searched for on the validation split, with the same budget for all."""
