"""What a study declares, and the cells that follow from it."""
