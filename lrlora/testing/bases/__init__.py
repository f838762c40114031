"""The checks of a basis."""
