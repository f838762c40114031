"""One run: a cell's training loop, its history and its limits."""
