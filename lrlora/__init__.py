"""Learnable-Rank LoRA."""
