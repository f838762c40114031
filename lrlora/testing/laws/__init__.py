"""The laws of rank relaxation, as functions that anyone can call on a basis of his own."""
